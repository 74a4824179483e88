//! Images out of container engines: docker's daemon, podman's service, and one that says what a test wants.

mod push_support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use push_support::have;
use push_support::layout::noise;
use push_support::registry::{Auth, Registry, Transport};
use serde_json::{Value, json};

/// The binary, with an engine, a home and a cache of its own.
fn longshore(engine: &str, home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DOCKER_HOST", engine)
        .env("LONGSHORE_CACHE_DIR", home.join("cache"))
        .current_dir(home)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A program that serves until it is dropped.
struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    /// Starts `command`, which is to listen on `socket`, and waits until somebody answers there.
    fn start(mut command: Command, socket: PathBuf, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        command.stdout(Stdio::null()).stderr(file);
        let mut service = Self { child: command.spawn().unwrap(), socket };
        let since = Instant::now();
        while !service.answers() {
            let ended = service.child.try_wait().unwrap();
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none() && since.elapsed() < Duration::from_secs(60), "{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&self.socket) else { return false };
        let asked = stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Asked to end, it takes its own children and mounts with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A tar with one file, as a layer.
fn layer(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, bytes).unwrap();
    builder.into_inner().unwrap()
}

/// Pushes what the engine calls `name`, twice, by its name and by its id, and compares what skopeo reads back.
fn pushes_and_reads_back(engine: &str, home: &Path, name: &str, id: &str) {
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let mut digests = Vec::new();
    for (source, outcome) in [(name, "arrived"), (id, "unchanged")] {
        let destination = format!("{}/app:v1", registry.host);
        let pushed = longshore(
            engine,
            home,
            &["push", &format!("docker-daemon:{source}"), &destination, "--output", "json"],
        );
        let told = document(&pushed);
        assert_eq!(told["images"][0]["outcome"], outcome, "{told:#}");
        digests.push(told["images"][0]["image"]["digest"].as_str().unwrap().to_owned());
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(registry.digest_by_skopeo("app:v1", None), digests[0]);
    let copied = tempfile::tempdir().unwrap();
    registry.copy_out("app:v1", copied.path());
    let spools = std::fs::read_dir(home.join("cache")).into_iter().flatten().flatten();
    let left: Vec<_> = spools.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "CACHEDIR.TAG" || name == "lock"), "{left:?}");
}

#[test]
fn an_image_in_dockers_daemon_arrives() {
    if !have("dockerd") || !have("curl") || !have("docker-registry") || !have("skopeo") || !may_mount() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let mut command = Command::new("dockerd");
    command.args(["--bridge=none", "--iptables=false"]);
    command.arg("--data-root").arg(at("root")).arg("--exec-root").arg(at("exec"));
    command.arg("--pidfile").arg(at("pid")).arg("-H").arg(format!("unix://{}", at("d.sock").display()));
    let engine = Service::start(command, at("d.sock"), &at("log"));
    // Without docker's own client: an image is what a tar is made into.
    let tar = layer("greeting", b"hello");
    let mut import = Command::new("curl");
    import.args(["--silent", "--fail", "--unix-socket"]).arg(at("d.sock"));
    import.args(["-H", "content-type: application/x-tar", "--data-binary", "@-"]);
    import.arg("http://engine/images/create?fromSrc=-&repo=shop/app&tag=1");
    let answer = fed(&mut import, &tar);
    let id: Value = serde_json::from_str(answer.lines().last().unwrap()).unwrap();
    let id = id["status"].as_str().unwrap().to_owned();
    pushes_and_reads_back(&engine.host(), home.path(), "shop/app:1", &id);
    pushes_and_reads_back(&engine.host(), home.path(), "shop/app:1", &id[7..19]);
}

#[test]
fn an_image_in_podmans_service_arrives() {
    if !have("podman") || !have("docker-registry") || !have("skopeo") || !may_mount() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let podman = || {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--cgroup-manager=cgroupfs");
        command.arg("--storage-driver=vfs");
        command
    };
    std::fs::write(at("layer.tar"), layer("greeting", b"hello")).unwrap();
    let id = run(podman().args(["import", "--quiet"]).arg(at("layer.tar")).arg("shop/app:1"));
    let mut service = podman();
    service.args(["system", "service", "--time=0"]).arg(format!("unix://{}", at("p.sock").display()));
    let engine = Service::start(service, at("p.sock"), &at("log"));
    pushes_and_reads_back(&engine.host(), home.path(), "shop/app:1", id.trim());
}

/// Whether an engine can work here at all: it needs to mount.
fn may_mount() -> bool {
    let works = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    assert!(
        works || std::env::var_os("CI").is_none(),
        "nothing can be mounted, and in CI no test is skipped"
    );
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    if !works {
        eprintln!("skipped: nothing can be mounted here");
    }
    works
}

fn fed(command: &mut Command, input: &[u8]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// An engine that says what a test wants.
struct Scripted {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl Scripted {
    fn start(says: impl Fn(&str) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    continue;
                }
                let path = line.split(' ').nth(1).unwrap().to_owned();
                while line.trim() != "" {
                    line.clear();
                    let _ = reader.read_line(&mut line);
                }
                let (status, body) = says(&path);
                seen.lock().unwrap().push(path);
                // No length: the end of the connection is the end of the body, as when a daemon dies.
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { host: format!("unix://{}", socket.display()), asked, _directory: directory }
    }
}

fn inspected() -> Vec<u8> {
    let id = format!("sha256:{}", "1".repeat(64));
    serde_json::to_vec(&json!({"Id": id, "Size": 5})).unwrap()
}

/// How an engine names the files of an image that it saves.
#[derive(Clone, Copy)]
enum Saves {
    /// Since Docker 25.
    ByDigest,
    /// Before.
    ByFolder,
}

/// What `docker save` writes of an image of these plain layers; each is stored as the second of its pair.
fn saved(how: Saves, layers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let hex = |bytes: &[u8]| longshore::image::digest_of(bytes).hex().to_owned();
    let diff_ids: Vec<_> = layers.iter().map(|(layer, _)| format!("sha256:{}", hex(layer))).collect();
    let config = json!({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["/run"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = serde_json::to_vec(&config).unwrap();
    let (config_at, layer_at): (String, fn(&str) -> String) = match how {
        Saves::ByDigest => (format!("blobs/sha256/{}", hex(&config)), |hex| format!("blobs/sha256/{hex}")),
        Saves::ByFolder => (format!("{}.json", hex(&config)), |hex| format!("{hex}/layer.tar")),
    };
    let paths: Vec<_> = layers.iter().map(|(layer, _)| layer_at(&hex(layer))).collect();
    let manifest = json!([{"Config": config_at, "RepoTags": ["shop/app:1"], "Layers": paths}]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut files = vec![(config_at.as_str(), &config[..]), ("manifest.json", &manifest[..])];
    files.extend(paths.iter().map(String::as_str).zip(layers.iter().map(|(_, stored)| *stored)));
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn of_an_image_whose_top_layer_changed_only_that_layer_is_compressed_and_sent() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    for how in [Saves::ByDigest, Saves::ByFolder] {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::start(&Auth::Open, &Transport::Http);
        let base = layer("base", &noise(3 << 20, 1));
        let (old, new) = (layer("top", b"one"), layer("top", b"two"));
        // The second time the base holds other bytes: whoever compressed or sent them would be found out.
        let scribbled = vec![0; base.len()];
        let first = saved(how, &[(&base, &base), (&old, &old)]);
        let second = saved(how, &[(&base, &scribbled), (&new, &new)]);
        let mut told = Vec::new();
        for (archive, tag) in [(first, "v1"), (second, "v2")] {
            let engine = Scripted::start(move |path| {
                if path.contains("/json") { (200, inspected()) } else { (200, archive.clone()) }
            });
            let to = format!("{}/app:{tag}", registry.host);
            let pushed = longshore(
                &engine.host,
                home.path(),
                &["push", "docker-daemon:shop/app:1", &to, "--output", "json"],
            );
            let row = document(&pushed)["images"][0].clone();
            assert_eq!(row["outcome"], "arrived", "{row:#}");
            told.push((row["blobs"].clone(), row["bytes_sent"].as_u64().unwrap()));
        }
        assert_eq!(told[0].0, json!({"sent": 3, "mounted": 0, "present": 0}));
        assert_eq!(
            told[1].0,
            json!({"sent": 2, "mounted": 0, "present": 1}),
            "the top and the configuration"
        );
        assert!(told[0].1 > 3 << 20 && told[1].1 < 4096, "{told:?}");
        // Whole, and with the base's own bytes: skopeo compares every digest.
        let copied = tempfile::tempdir().unwrap();
        registry.copy_out("app:v2", copied.path());
    }
}

#[test]
fn what_an_engine_refuses_is_told_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let push = |engine: &str| {
        let told = document(&longshore(
            engine,
            home.path(),
            &["push", "docker-daemon:shop/app:1", "127.0.0.1:1/a:1", "--output", "json"],
        ));
        (told["exit_code"].as_i64().unwrap(), told["error"]["kind"].to_string(), told["error"].to_string())
    };
    let none = Scripted::start(|_| (404, br#"{"message": "No such image: shop/app:1"}"#.to_vec()));
    let (code, kind, text) = push(&none.host);
    assert_eq!((code, kind.as_str()), (3, "\"image_missing\""), "{text}");
    assert!(
        text.contains("has no such image (No such image: shop/app:1)") && text.contains("docker images"),
        "{text}"
    );

    let sick = Scripted::start(|path| {
        if path.contains("/json") { (200, inspected()) } else { (500, b"no space left".to_vec()) }
    });
    let (code, kind, text) = push(&sick.host);
    assert_eq!((code, kind.as_str()), (1, "\"unavailable\""), "{text}");
    assert!(text.contains("answered 500: no space left"), "{text}");

    let gone = home.path().join("gone.sock");
    let (code, kind, text) = push(&format!("unix://{}", gone.display()));
    assert_eq!((code, kind.as_str()), (1, "\"unreachable\""), "{text}");
    assert!(text.contains("start it, or say with DOCKER_HOST where it is"), "{text}");

    let (code, _, text) = push("ssh://ann@far");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("ssh -nNT -L"), "{text}");
}

#[test]
fn an_engine_that_dies_in_the_middle_is_an_error_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut archive = layer("0a/layer.tar", &[7; 100_000]);
    archive.truncate(50_000);
    let engine =
        Scripted::start(
            move |path| {
                if path.contains("/json") { (200, inspected()) } else { (200, archive.clone()) }
            },
        );
    let output = longshore(
        &engine.host,
        home.path(),
        &["push", "docker-daemon:shop/app:1", "127.0.0.1:1/a:1", "--output", "json"],
    );
    let told = document(&output);
    assert_eq!(told["exit_code"], 3, "{told:#}");
    assert!(told["error"]["message"].as_str().unwrap().contains("bytes early"), "{told:#}");
    assert_eq!(
        *engine.asked.lock().unwrap(),
        ["/images/shop/app:1/json".to_owned(), format!("/images/get?names=sha256:{}", "1".repeat(64))]
    );
}

#[test]
fn a_context_of_dockers_client_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let engine = Scripted::start(|_| (404, br#"{"message": "here I am"}"#.to_vec()));
    let docker = home.path().join(".docker");
    let id = longshore::image::digest_of(b"far");
    let meta = docker.join("contexts/meta").join(id.hex());
    std::fs::create_dir_all(&meta).unwrap();
    let text = json!({"Name": "far", "Endpoints": {"docker": {"Host": engine.host}}});
    std::fs::write(meta.join("meta.json"), serde_json::to_vec(&text).unwrap()).unwrap();
    std::fs::write(docker.join("config.json"), r#"{"currentContext": "far"}"#).unwrap();
    let output = longshore("", home.path(), &["push", "docker-daemon:app", "127.0.0.1:1/a:1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the engine of the context far has no such image (here I am)"), "{said}");
}
