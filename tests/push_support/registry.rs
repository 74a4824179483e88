//! Debian's `docker-registry` on a free port, for as long as a test runs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A registry that runs; it is ended and its files are gone when it is dropped.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    directory: tempfile::TempDir,
}

/// Who may push.
pub(crate) enum Auth {
    Open,
    /// This user with this password.
    Basic(&'static str, &'static str),
    /// Whoever shows a token of the realm at this URL, signed by the test certificate.
    Token(String),
}

/// What is spoken.
pub(crate) enum Transport {
    Http,
    /// With the test certificate.
    Https,
}

pub(crate) fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

impl Registry {
    /// Starts one and waits until it says where it listens.
    pub(crate) fn start(auth: &Auth, transport: &Transport) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: 127.0.0.1:0\n",
            directory.path().join("data").display()
        );
        if matches!(transport, Transport::Https) {
            let (certificate, key) = (certificate("server.pem"), certificate("server.key"));
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
        }
        match auth {
            Auth::Open => {}
            Auth::Basic(user, password) => {
                let file = directory.path().join("htpasswd");
                std::fs::write(&file, htpasswd(user, password)).unwrap();
                config += &format!("auth: {{htpasswd: {{realm: Test Realm, path: {}}}}}\n", file.display());
            }
            Auth::Token(realm) => {
                config += &format!(
                    "auth: {{token: {{realm: \"{realm}\", service: test, issuer: test-issuer, rootcertbundle: {}}}}}\n",
                    certificate("ca.pem").display()
                );
            }
        }
        let file = directory.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let host = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "docker-registry ended:\n{seen}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', ',', '"']).next().unwrap().to_owned();
            }
            seen += &line;
        };
        // It must be able to go on writing its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, host, directory }
    }

    /// The digest that skopeo reads at `name`, and with it that the image is whole for somebody else.
    pub(crate) fn digest_by_skopeo(&self, name: &str, credentials: Option<&str>) -> String {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw", "--tls-verify=false"]);
        if let Some(credentials) = credentials {
            command.args(["--creds", credentials]);
        }
        let output = command.arg(format!("docker://{}/{name}", self.host)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        longshore::image::digest_of(&output.stdout).to_string()
    }

    /// Copies `name` out with skopeo, every blob of it.
    pub(crate) fn copy_out(&self, name: &str, to: &Path) {
        copy_out(&self.host, name, None, to);
    }

    /// How many of the blob's bytes the registry keeps.
    pub(crate) fn stored(&self, digest: &str) -> Option<u64> {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let path = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        Some(std::fs::metadata(self.directory.path().join(path)).ok()?.len())
    }
}

/// Copies `name` out of the registry at `host` with skopeo, every blob of it compared with its digest, and answers with
/// the digest of the whole.
pub(crate) fn copy_out(host: &str, name: &str, credentials: Option<&str>, to: &Path) -> String {
    let mut command = Command::new("skopeo");
    command.args(["copy", "--all", "--preserve-digests", "--src-tls-verify=false"]);
    if let Some(credentials) = credentials {
        command.args(["--src-creds", credentials]);
    }
    let source = format!("docker://{host}/{name}");
    let output = command.arg(source).arg(format!("dir:{}", to.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    longshore::image::digest_of(&std::fs::read(to.join("manifest.json")).unwrap()).to_string()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn htpasswd(user: &str, password: &str) -> Vec<u8> {
    let mut child = Command::new("htpasswd")
        .args(["-niB", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
