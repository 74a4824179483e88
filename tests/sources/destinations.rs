//! The registries that images are pushed to, each with what a person would have set up to use it.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::daemons::Daemon;
use crate::push_support::double::Double;
use crate::push_support::registry::{Auth, Registry, Transport, certificate};
use crate::push_support::tokens::{READER, token_service};
use crate::support::{Ran, Scratch, have};

/// Which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// docker-registry, for everybody.
    Open,
    /// docker-registry with a password.
    Basic,
    /// docker-registry with tokens that last a second.
    Token,
    /// docker-registry with a certificate of an authority of its own.
    Tls,
    /// The registry of our own local cloud.
    Local,
}

/// A registry that is running, and the home of a person who is logged in to it.
pub(crate) struct Destination {
    pub(crate) host: String,
    kind: Kind,
    /// As whom skopeo reads.
    reader: Option<&'static str>,
    logins: Vec<(String, &'static str)>,
    environment: Vec<(String, String)>,
    home: Scratch,
    _registry: Option<Registry>,
    _tokens: Option<Double>,
}

impl Destination {
    /// Starts one; `None` where a program for it is missing.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        for program in ["skopeo", "docker-registry", "htpasswd"] {
            if !have(program) {
                return None;
            }
        }
        let home = Scratch::empty();
        let (mut registry, mut tokens, mut login, mut reader) = (None, None, None, None);
        let mut environment = Vec::new();
        let host = match kind {
            Kind::Open => registry.insert(Registry::start(&Auth::Open, &Transport::Http)).host.clone(),
            Kind::Basic => {
                (login, reader) = (Some("bob:correct horse"), Some("bob:correct horse"));
                registry
                    .insert(Registry::start(&Auth::Basic("bob", "correct horse"), &Transport::Http))
                    .host
                    .clone()
            }
            Kind::Token => {
                (login, reader) = (Some("ann:p"), Some(READER));
                let realm = format!(
                    "http://{}/token",
                    tokens.insert(token_service(Duration::from_secs(1)).await).address
                );
                registry.insert(Registry::start(&Auth::Token(realm), &Transport::Http)).host.clone()
            }
            Kind::Tls => {
                let authority = certificate("ca.pem").display().to_string();
                environment.push(("SSL_CERT_FILE".to_owned(), authority));
                registry.insert(Registry::start(&Auth::Open, &Transport::Https)).host.clone()
            }
            Kind::Local => {
                let state = home.path().join(".longshore/local");
                let state = state.to_str().expect("a text");
                let up = home.json(0, &["local", "up", "--state", state]);
                let url = up["endpoints"]["registry"].as_str().expect("an address").to_owned();
                url.trim_start_matches("http://").trim_end_matches('/').to_owned()
            }
        };
        let logins = login.iter().map(|login| (host.clone(), *login)).collect();
        let destination =
            Self { host, kind, reader, logins, environment, home, _registry: registry, _tokens: tokens };
        destination.save_logins();
        Some(destination)
    }

    /// Logs in where somebody else is logged in, too.
    pub(crate) fn log_in_like(&mut self, other: &Self) {
        self.logins.extend(other.logins.iter().cloned());
        self.save_logins();
    }

    /// Points the person to a container engine.
    pub(crate) fn reach(&mut self, daemon: &Daemon) {
        self.environment.push(("DOCKER_HOST".to_owned(), daemon.host()));
    }

    fn save_logins(&self) {
        let encode = |login: &str| base64::engine::general_purpose::STANDARD.encode(login);
        let auths: serde_json::Map<String, Value> =
            self.logins.iter().map(|(host, login)| (host.clone(), json!({"auth": encode(login)}))).collect();
        std::fs::create_dir_all(self.home.path().join(".docker")).expect("a folder");
        self.home.write(".docker/config.json", &json!({"auths": auths}).to_string());
    }

    /// Runs `push` and returns the one row of its answer.
    pub(crate) fn push(&self, words: &[&str]) -> Result<Value, String> {
        let mut command = self.home.command(words);
        command.args(["--output", "json"]).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let ran = Ran::of(&mut command);
        let document: Value = serde_json::from_str(&ran.stdout).map_err(|_| ran.stderr.clone())?;
        match ran.code {
            0 => Ok(document["images"][0].clone()),
            code => Err(format!("code {code}: {}", document["error"])),
        }
    }

    fn skopeo(&self, verb: &str, side: &str) -> Command {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", verb]).env("HOME", self.home.path());
        match self.kind {
            Kind::Tls => {
                let folder = self.home.path().join("authority");
                std::fs::create_dir_all(&folder).expect("a folder");
                std::fs::copy(certificate("ca.pem"), folder.join("ca.crt")).expect("a certificate");
                command.arg(format!("--{side}cert-dir")).arg(folder);
            }
            _ => {
                command.arg(format!("--{side}tls-verify=false"));
            }
        }
        if let Some(login) = self.reader {
            command.args([&format!("--{side}creds"), login]);
        }
        command
    }

    /// What skopeo copies out of the registry, after it has read the manifest with the digest that is expected.
    pub(crate) fn copied_by_skopeo(
        &self,
        reference: &str,
        digest: &str,
    ) -> Result<tempfile::TempDir, String> {
        let mut inspect = self.skopeo("inspect", "");
        let raw = run(inspect.args(["--raw", &format!("docker://{reference}")]))?;
        let found = longshore::image::digest_of(&raw).to_string();
        if found != digest {
            return Err(format!("skopeo reads {found} where {digest} was pushed"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut copy = self.skopeo("copy", "src-");
        copy.args(["--all", &format!("docker://{reference}")])
            .arg(format!("dir:{}", folder.path().display()));
        run(&mut copy)?;
        Ok(folder)
    }

    /// Has skopeo put an image into the registry.
    pub(crate) fn filled_by_skopeo(&self, source: &str, reference: &str) {
        let mut copy = self.skopeo("copy", "dest-");
        copy.args(["--all", source]).arg(format!("docker://{reference}"));
        run(&mut copy).expect("skopeo copies");
    }
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("skopeo: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
