//! The runner with real programs in real images.

use std::net::Ipv6Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::{Image, Served, Tar, eventually, function, gzip};

pub(super) struct Ground {
    pub(super) served: Served,
    pub(super) runner: Runner,
}

impl Ground {
    pub(super) async fn new() -> Self {
        let served = Served::new().await;
        let roots = served.directory.path().join("roots");
        let runner = Runner::open(&roots, served.registry.clone()).await.unwrap();
        Self { served, runner }
    }

    async fn with(isolation: Isolation) -> Self {
        let served = Served::new().await;
        let roots = served.directory.path().join("roots");
        let runner = Runner::with(isolation, &roots, served.registry.clone()).await.unwrap();
        Self { served, runner }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.served.directory.path().join(name)
    }

    pub(super) async fn launch(&self, image: &Image) -> Launch {
        let digest = self.served.push("shop", image).await;
        Launch {
            image: self.served.registry.image("shop", &digest).await.unwrap(),
            label: "shop/1".to_owned(),
            command: None,
            environment: BTreeMap::new(),
            secrets: Vec::new(),
            port: Port::Free,
            memory: None,
            runtime: Runtime::Own,
            log: self.path("logs/shop/1.log"),
            patience: Runner::PATIENCE,
        }
    }

    async fn start(&self, image: &Image) -> Result<Instance, StartError> {
        self.runner.start(&self.launch(image).await).await
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.path("logs/shop/1.log")).unwrap()
    }
}

pub(super) async fn get(instance: &Instance, path: &str) -> String {
    let mut stream = instance.connect().await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Accepts once, reads a request's head and sends `answer`.
pub(super) async fn answer_once(listener: TcpListener, answer: &str) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // What is dead and not reaped yet runs no more.
    !status.is_empty() && !status.contains(") Z ")
}

/// Whether this machine gives namespaces to us. Where it must, as in continuous integration, tests of them do not pass
/// over their absence.
fn isolated(ground: &Ground) -> bool {
    let own = matches!(ground.runner.isolation(), Isolation::Own { .. });
    if !own {
        assert!(std::env::var_os("CI").is_none(), "no namespaces: {:?}", ground.runner.isolation());
        let mut stderr = std::io::stderr();
        std::io::Write::write_all(&mut stderr, b"skipped: the kernel gives us no namespaces\n").unwrap();
    }
    own
}

#[tokio::test]
async fn a_function_answers_and_is_stopped() {
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve"])).await.unwrap();
    assert_eq!(get(&instance, "/").await, "ok");
    assert!(alive(instance.pid()));
    assert_eq!(instance.stop(Duration::from_secs(5)).await, Exit::Signal(15));
    assert_eq!(instance.exited().await, Exit::Signal(15));
    assert!(!alive(instance.pid()));
    assert!(ground.log().starts_with("listening on "), "{}", ground.log());
}

#[tokio::test]
async fn a_function_sees_its_image_and_little_else() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let tar = Tar::new().program("function").file("srv/data", "from the image").directory("home");
    let mut image = Image::new(
        tar.done(),
        json!({
            "Entrypoint": ["/function"], "Cmd": ["serve"], "WorkingDir": "/made/for/it", "User": "1234:567",
            "Env": ["A=image", "B=image"],
        }),
    );
    image.layers[0] = (gzip(&image.layers[0].0), "application/vnd.oci.image.layer.v1.tar+gzip");
    let mut launch = ground.launch(&image).await;
    launch.environment =
        [("B".to_owned(), Secret::new("function")), ("PORT".to_owned(), Secret::new("1"))].into();
    let instance = ground.runner.start(&launch).await.unwrap();

    assert_eq!(get(&instance, "/list/").await, "dev etc function home made proc srv tmp");
    assert_eq!(get(&instance, "/directory").await, "/made/for/it");
    assert_eq!(get(&instance, "/read/srv/data").await, "from the image");
    assert_eq!(get(&instance, "/owner/proc/self").await, "1234:567");
    // Where there is but one user, all files are that one's.
    let many = matches!(ground.runner.isolation(), Isolation::Own { users: Users::Many, .. });
    let owner = if many { "0:0" } else { "1234:567" };
    assert_eq!(get(&instance, "/owner/srv/data").await, owner);
    assert_eq!(get(&instance, "/env/A").await, "image");
    assert_eq!(get(&instance, "/env/B").await, "function");
    assert_eq!(get(&instance, "/env/PORT").await, instance.port().to_string());
    assert_eq!(get(&instance, "/env/HOME").await, "/");
    assert!(get(&instance, "/env/PATH").await.contains("/usr/bin"));

    assert_eq!(get(&instance, "/write/tmp/a").await, "written");
    assert_eq!(get(&instance, "/write/dev/shm/a").await, "written");
    assert_eq!(get(&instance, "/write/dev/null").await, "written");
    assert_eq!(get(&instance, "/random").await, "true");
    for place in ["a", "srv/data", "etc/hosts", "proc/sys/kernel/core_pattern", "proc/self/oom_score_adj"] {
        let answer = get(&instance, &format!("/write/{place}")).await;
        assert!(
            answer.contains("Read-only file system") || answer.contains("ermission denied"),
            "{place}: {answer}"
        );
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert_eq!(get(&instance, "/read/etc/hosts").await, hosts);
    assert_eq!(get(&instance, "/link/dev/fd").await, "/proc/self/fd");

    let status = get(&instance, "/read/proc/self/status").await;
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    for key in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(key), "0000000000000000", "{key}");
    }
    assert_eq!(line("NoNewPrivs:"), "1");
    // Nothing of ours is open in it: its three, its listener, this connection and the directory being read.
    assert_eq!(get(&instance, "/list/proc/self/fd").await, "0 1 2 3 4 5");
    // It sees its init and itself, and of its init nothing: that has a copy of our memory.
    let processes = get(&instance, "/list/proc").await;
    let numbers: Vec<&str> = processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["1", "2"]);
    for place in ["/link/proc/1/root", "/read/proc/1/mem", "/read/proc/1/environ", "/list/proc/1/fd"] {
        assert!(get(&instance, place).await.contains("ermission denied"), "{place}");
    }
    for (limit, most) in [("Max open files", "1024"), ("Max core file size", "0"), ("Max processes", "1024")]
    {
        let limits = get(&instance, "/read/proc/self/limits").await;
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert!(line.contains(most), "{line}");
    }
    // A second instance has its own scratch space, and the same files.
    let second = ground.runner.start(&launch).await.unwrap();
    assert!(get(&second, "/read/tmp/a").await.starts_with("error"));
}

#[tokio::test]
async fn a_program_with_libraries_runs_in_its_own_root() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    // A shell of this machine runs the function, found through PATH and a link.
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    let tar =
        Tar::new().linked(&shell).symlink("bin/shell", shell.to_str().unwrap()).program("function").done();
    let image =
        Image::new(tar, json!({ "Cmd": ["shell", "-c", "echo from the shell; exec /function serve"] }));
    let instance = ground.start(&image).await.unwrap();
    assert_eq!(get(&instance, "/").await, "ok");
    // What it writes comes by another way than what it answers.
    eventually("the shell has spoken", || ground.log().starts_with("from the shell\n")).await;
}

#[tokio::test]
async fn a_script_runs_by_its_first_line() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    let script = format!("#!{}\nexec /function \"$1\"\n", shell.display());
    let tar = Tar::new().linked(&shell).program("function").file_with("run", 0o755, script.as_bytes()).done();
    let image = Image::new(tar, json!({ "Entrypoint": ["./run"], "Cmd": ["serve"] }));
    let instance = ground.start(&image).await.unwrap();
    assert_eq!(get(&instance, "/arguments").await, "/function serve");
}

#[tokio::test]
async fn where_the_kernel_refuses_namespaces_a_static_program_runs_without() {
    let refused = Isolation::None { why: "refused for this test".to_owned() };
    let ground = Ground::with(refused).await;
    let image = Image::new(
        Tar::new().program("srv/function").done(),
        json!({ "Cmd": ["./function", "serve"], "WorkingDir": "/srv" }),
    );
    let instance = ground.start(&image).await.unwrap();
    let directory = get(&instance, "/directory").await;
    assert!(directory.ends_with("/root/srv"), "{directory}");
    assert_eq!(get(&instance, "/arguments").await, "./function serve");
    assert!(ground.log().contains("without namespaces"), "{}", ground.log());
    assert_eq!(instance.stop(Duration::from_secs(5)).await, Exit::Signal(15));

    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    let image = Image::new(Tar::new().linked(&shell).done(), json!({ "Cmd": [shell.to_str().unwrap()] }));
    let text = ground.start(&image).await.unwrap_err().to_string();
    assert!(
        text.contains("kernel.unprivileged_userns_clone=1") && text.contains("refused for this test"),
        "{text}"
    );
}

#[tokio::test]
async fn a_function_that_exits_says_how_and_what_it_wrote() {
    let ground = Ground::new().await;
    let begun = Instant::now();
    let error = ground.start(&Image::function(&["exit", "3"])).await.unwrap_err();
    assert!(begun.elapsed() < Runner::PATIENCE);
    let text = error.to_string();
    assert!(text.contains("exited with status 3 before it listened"), "{text}");
    assert!(text.contains("the last word") && text.contains("line 39"), "{text}");
    let StartError::Exited { tail, .. } = error else { panic!("{text}") };
    assert_eq!(tail, ["line 36", "line 37", "line 38", "line 39", "the last word"]);
    assert_eq!(ground.log().lines().count(), 41);
}

#[tokio::test]
async fn a_function_that_never_listens_is_given_up_and_gone() {
    let ground = Ground::new().await;
    let mut launch = ground.launch(&Image::function(&["silent"])).await;
    launch.patience = Duration::from_millis(200);
    let text = ground.runner.start(&launch).await.unwrap_err().to_string();
    assert!(text.contains("within 200 ms") && text.contains("PORT"), "{text}");
    assert!(text.contains("I say nothing more"), "{text}");
}

#[tokio::test]
async fn one_that_ignores_the_request_to_end_is_killed_after_its_grace() {
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve-stubborn"])).await.unwrap();
    let begun = Instant::now();
    assert_eq!(instance.stop(Duration::from_millis(100)).await, Exit::Signal(9));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let impatient = ground.start(&Image::function(&["serve-stubborn"])).await.unwrap();
    let (patient, hurried) =
        tokio::join!(impatient.stop(Duration::from_secs(60)), impatient.stop(Duration::from_millis(10)));
    assert_eq!((patient, hurried), (Exit::Signal(9), Exit::Signal(9)));
}

#[tokio::test]
async fn what_a_function_started_ends_with_it() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    for asked in [true, false] {
        let instance = ground.start(&Image::function(&["serve-with-child"])).await.unwrap();
        let pid = instance.pid();
        let below = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let function: u32 = below.trim().parse().unwrap();
        let below = std::fs::read_to_string(format!("/proc/{function}/task/{function}/children")).unwrap();
        let child: u32 = below.trim().parse().unwrap();
        assert!(alive(child));
        if asked {
            instance.stop(Duration::from_secs(5)).await;
        } else {
            let mut stream = instance.connect().await.unwrap();
            stream.write_all(b"GET /exit/7 HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(instance.exited().await, Exit::Status(7));
        }
        assert!(!alive(child) && !alive(function), "all are gone when the end is told");
    }
}

#[tokio::test]
async fn a_dropped_instance_is_killed() {
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve-stubborn"])).await.unwrap();
    let pid = instance.pid();
    drop(instance);
    eventually("the process has ended", || !alive(pid)).await;
}

#[tokio::test]
async fn an_end_nobody_asked_for_is_noticed() {
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve"])).await.unwrap();
    let mut stream = instance.connect().await.unwrap();
    stream.write_all(b"GET /exit/7 HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(instance.exited().await, Exit::Status(7));
    assert_eq!(instance.stop(Duration::from_secs(5)).await, Exit::Status(7));
}

#[tokio::test]
async fn versions_that_listen_on_one_port_run_side_by_side() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    // Port 80 is nobody's but root's on the host.
    for (port, mode) in [(80, "serve"), (9000, "serve-six")] {
        let mut launch = ground.launch(&Image::function(&[mode])).await;
        launch.port = Port::Fixed(port);
        let mut instances = Vec::new();
        for version in ["1", "2"] {
            launch.environment.insert("VERSION".to_owned(), Secret::new(version));
            instances.push(ground.runner.start(&launch).await.unwrap());
        }
        assert_eq!(get(&instances[0], "/env/VERSION").await, "1");
        assert_eq!(get(&instances[1], "/env/VERSION").await, "2");
        assert_eq!(get(&instances[0], "/env/PORT").await, port.to_string());
        // Many at once, each with its own answer.
        let many = (0..32).map(|_| get(&instances[1], "/env/VERSION"));
        assert!(futures::future::join_all(many).await.iter().all(|answer| answer == "2"));
        assert_eq!(instances.remove(0).stop(Duration::from_secs(5)).await, Exit::Signal(15));
        assert_eq!(get(&instances[0], "/env/VERSION").await, "2");
    }
}

#[tokio::test]
async fn a_function_in_a_network_of_its_own_has_its_api_and_a_way_out() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let mut launch = ground.launch(&Image::function(&["serve"])).await;
    launch.port = Port::Fixed(8080);
    let Spawned { instance, api } = ground.runner.spawn(&launch).await.unwrap();
    instance.listens().await;
    assert_eq!(get(&instance, "/env/AWS_LAMBDA_RUNTIME_API").await, "127.0.0.1:9001");
    let asked = tokio::spawn(answer_once(api, "HTTP/1.1 200 OK\r\n\r\nan event"));
    assert!(get(&instance, "/fetch/127.0.0.1:9001/next").await.ends_with("an event"));
    asked.await.unwrap();

    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = outside.local_addr().unwrap();
    // Nothing of the host's is reached directly; all of it is through the way out.
    assert!(get(&instance, &format!("/fetch/{address}/")).await.starts_with("error"));
    let answered = tokio::spawn(answer_once(outside, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworld"));
    let proxy = get(&instance, "/env/HTTPS_PROXY").await;
    let proxy = proxy.strip_prefix("http://").unwrap();
    assert!(get(&instance, &format!("/fetch/{proxy}/http://{address}/")).await.ends_with("world"));
    answered.await.unwrap();
}

#[tokio::test]
async fn without_networks_a_fixed_port_belongs_to_one_version() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let ground = Ground::with(Isolation::Own { users: Users::One, network: Networks::Host }).await;
    let mut launch = ground.launch(&Image::function(&["serve"])).await;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    launch.port = Port::Fixed(port);
    let instance = ground.runner.start(&launch).await.unwrap();
    assert_eq!(instance.port(), port);
    let second = Launch { label: "shop/2".to_owned(), ..launch.clone() };
    let text = ground.runner.start(&second).await.unwrap_err().to_string();
    assert!(text.contains(&format!("port {port} is taken by shop/1")), "{text}");
    instance.stop(Duration::from_secs(5)).await;
    assert_eq!(ground.runner.start(&second).await.unwrap().port(), port);
}

#[tokio::test]
async fn a_function_that_uses_too_much_memory_is_killed_and_says_so() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let mut launch = ground.launch(&Image::function(&["serve"])).await;
    launch.memory = Some(64 << 20);
    let instance = ground.runner.start(&launch).await.unwrap();
    assert!(get(&instance, "/use/32").await.ends_with("ok"));
    let mut stream = instance.connect().await.unwrap();
    stream.write_all(b"GET /use/200 HTTP/1.1\r\n\r\n").await.unwrap();
    let exit = instance.exited().await;
    assert_eq!(exit, Exit::Memory(64 << 20));
    assert_eq!(exit.to_string(), "used more than 64 MiB of memory and was killed");
}

#[tokio::test]
async fn users_of_an_image_own_their_files_where_a_range_is_mapped() {
    let ground = Ground::new().await;
    let many = Isolation::Own { users: Users::Many, network: Networks::Own };
    if !isolated(&ground) || *ground.runner.isolation() != many {
        assert!(!rustix::process::geteuid().is_root() || std::env::var_os("CI").is_none());
        return;
    }
    let tar = Tar::new()
        .program("function")
        .file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .file("etc/group", "www:x:33:app\n")
        .owned("srv/app", 1000, 1000, 0o600, "mine")
        .owned("srv/www", 0, 33, 0o640, "my group's")
        .owned("srv/root", 0, 0, 0o600, "not mine")
        .done();
    let process = |user: &str| json!({ "Entrypoint": ["/function"], "User": user });
    let instance = ground.start(&Image::new(tar.clone(), process("app"))).await.unwrap();
    assert_eq!(get(&instance, "/owner/proc/self").await, "1000:1000");
    assert_eq!(get(&instance, "/owner/srv/app").await, "1000:1000");
    assert_eq!(get(&instance, "/owner/srv").await, "0:0");
    assert_eq!(get(&instance, "/read/srv/app").await, "mine");
    assert_eq!(get(&instance, "/read/srv/www").await, "my group's");
    assert!(get(&instance, "/read/srv/root").await.contains("ermission denied"));
    assert_eq!(get(&instance, "/env/HOME").await, "/home/app");
    assert_eq!(get(&instance, "/write/dev/stdout").await, "written");
    // On the host it is nobody, whoever it is in there; also one with a number beyond the range.
    for (user, seen) in [("", "0:0"), ("1000640000", "1000640000:0")] {
        let instance = ground.start(&Image::new(tar.clone(), process(user))).await.unwrap();
        assert_eq!(get(&instance, "/owner/proc/self").await, seen);
        let children = format!("/proc/{0}/task/{0}/children", instance.pid());
        let function = std::fs::read_to_string(children).unwrap().trim().to_owned();
        let status = std::fs::read_to_string(format!("/proc/{function}/status")).unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        let uid: u32 = uid.split_whitespace().next().unwrap().parse().unwrap();
        assert!(uid >= 0x7000_0000, "{uid}");
    }
}

#[tokio::test]
async fn init_reaps_what_its_children_left_and_hands_on_signals() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    let instance = ground.start(&Image::function(&["serve"])).await.unwrap();
    assert_eq!(get(&instance, "/orphan").await, "ok");
    let mut processes = String::new();
    for _ in 0..500 {
        processes = get(&instance, "/list/proc").await;
        if !processes.split(' ').any(|name| name.parse::<u32>().is_ok_and(|number| number > 2)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).count();
    assert_eq!(left, 2, "{processes}");
    let init = rustix::process::Pid::from_raw(instance.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::TERM).unwrap();
    assert_eq!(instance.exited().await, Exit::Signal(15));
    // Whoever kills init kills all.
    let instance = ground.start(&Image::function(&["serve-with-child"])).await.unwrap();
    let init = rustix::process::Pid::from_raw(instance.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    assert_eq!(instance.exited().await, Exit::Signal(9));
    assert!(instance.connect().await.is_err());
}

#[tokio::test]
async fn a_function_on_the_other_loopback_is_found() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve-six"])).await.unwrap();
    assert_eq!(get(&instance, "/").await, "ok");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let ground = Ground::new().await;
    let program = std::fs::read(function()).unwrap();
    let mut foreign = program.clone();
    foreign[18] = 22;
    let mut dynamic = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    dynamic.truncate(1 << 20);
    let tar = Tar::new()
        .file_with("plain", 0o644, &program)
        .file_with("foreign", 0o755, &foreign)
        .file_with("dynamic", 0o755, &dynamic)
        .file_with("text", 0o755, b"hello")
        .file_with("script", 0o755, b"#!/no/such/shell\n")
        .file_with("program", 0o755, &program)
        .file("etc/passwd", "app:x:7:7::/:\n")
        .directory("bin")
        .done();
    for (process, words) in [
        (json!({}), "neither an entrypoint nor a command"),
        (json!({ "Cmd": [] }), "neither an entrypoint nor a command"),
        (json!({ "Cmd": ["ghost"] }), "\"ghost\" is not in the image (PATH is"),
        (json!({ "Cmd": ["/bin"] }), "\"/bin\" is not in the image"),
        (json!({ "Cmd": ["/ghost"] }), "\"/ghost\" is not in the image"),
        (json!({ "Cmd": ["/plain"] }), "/plain in the image is not executable"),
        (json!({ "Cmd": ["/foreign"] }), "exec format error: /foreign in the image is built for s390x"),
        (json!({ "Cmd": ["/text"] }), "exec format error: /text in the image is neither"),
        (json!({ "Cmd": ["/script"] }), "/script in the image needs /no/such/shell"),
        (json!({ "Cmd": ["/dynamic"] }), "/dynamic in the image needs /lib"),
        (json!({ "Cmd": ["/program"], "User": "ghost" }), "runs as \"ghost\""),
        (json!({ "Cmd": ["/program"], "WorkingDir": "/plain" }), "\"/plain\" is not a directory"),
        (json!({ "Cmd": ["/program", "a\0b"] }), "word 2 of the command line"),
        (json!({ "Cmd": ["/program"], "Env": ["A=a\0b"] }), "the variable \"A\""),
    ] {
        let text = ground.start(&Image::new(tar.clone(), process)).await.unwrap_err().to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
    let mut launch = ground.launch(&Image::new(tar, json!({ "Cmd": ["/ghost"] }))).await;
    launch.command = Some(vec!["/plain".to_owned()]);
    let text = ground.runner.start(&launch).await.unwrap_err().to_string();
    assert!(text.contains("chmod +x"), "{text}");
}

#[tokio::test]
async fn a_secret_in_the_environment_is_never_in_an_error() {
    let ground = Ground::new().await;
    let mut launch = ground.launch(&Image::function(&["exit", "1"])).await;
    launch.environment =
        [("TOKEN".to_owned(), Secret::new("hunter2")), ("BAD".to_owned(), Secret::new("hunter2\0"))].into();
    let error = ground.runner.start(&launch).await.unwrap_err();
    assert!(!format!("{error} {error:?} {launch:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_hostile_layer_leaves_no_root() {
    let ground = Ground::new().await;
    let image = Image::new(Tar::new().file("../escaped", "x").done(), json!({ "Cmd": ["/a"] }));
    let text = ground.start(&image).await.unwrap_err().to_string();
    assert!(text.contains("leads upwards"), "{text}");
    for (place, entries) in [("roots", 3), ("roots/images", 0), ("roots/layers", 0)] {
        assert_eq!(std::fs::read_dir(ground.path(place)).unwrap().count(), entries, "{place}");
    }
}

#[tokio::test]
async fn a_root_is_unpacked_once_and_again_after_another_boot() {
    let ground = Ground::new().await;
    let launch = ground.launch(&Image::function(&["serve"])).await;
    let starts = (0..4).map(|_| ground.runner.start(&launch));
    let instances = futures::future::try_join_all(starts).await.unwrap();
    drop(instances);
    let home = ground.path("roots/images").join(launch.image.digest.hex());
    assert_eq!(std::fs::read_dir(ground.path("roots/images")).unwrap().count(), 1);
    std::fs::create_dir(ground.path("roots/partial-9")).unwrap();
    Runner::open(&ground.path("roots"), ground.served.registry.clone()).await.unwrap();
    assert!(home.exists() && !ground.path("roots/partial-9").exists());
    std::fs::write(ground.path("roots/boot"), "another").unwrap();
    let runner = Runner::open(&ground.path("roots"), ground.served.registry.clone()).await.unwrap();
    assert!(!home.exists());
    runner.start(&launch).await.unwrap().stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn images_share_the_layers_that_they_have_in_common() {
    let ground = Ground::new().await;
    let base = Tar::new().program("function").file("base", "shared").done();
    let image = |top: &str| {
        let mut image = Image::new(base.clone(), json!({ "Entrypoint": ["/function"] }));
        let top = Tar::new().file("top", top).done();
        image.diff_ids.push(crate::testing::digest_of(&top));
        image.layers.push((top, crate::testing::LAYER));
        image
    };
    let (first, second) = (ground.launch(&image("one")).await, ground.launch(&image("two")).await);
    let one = ground.runner.start(&first).await.unwrap();
    let count = |place: &str| std::fs::read_dir(ground.path("roots").join(place)).unwrap().count();
    assert_eq!((count("images"), count("layers")), (1, 2));
    // Gone from the registry, the shared layer can only come from what was unpacked.
    let blob = format!("registry/blobs/sha256/{}", first.image.layers[0].digest.hex());
    std::fs::remove_file(ground.path(&blob)).unwrap();
    let two = ground.runner.start(&second).await.unwrap();
    assert_eq!((count("images"), count("layers")), (2, 3));
    let inode = |launch: &Launch, name: &str| {
        let path = ground.path("roots/images").join(launch.image.digest.hex()).join("root").join(name);
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
    };
    assert_eq!(inode(&first, "base"), inode(&second, "base"));
    assert_ne!(inode(&first, "top"), inode(&second, "top"));

    // Nobody wants either, and one still runs.
    two.stop(Duration::from_secs(5)).await;
    ground.runner.retain(HashSet::new()).await.unwrap();
    assert_eq!((count("images"), count("layers"), count(".")), (1, 2, 3));
    assert_eq!(get(&one, "/").await, "ok");
    one.stop(Duration::from_secs(5)).await;
    ground.runner.retain(HashSet::from([first.image.digest.clone()])).await.unwrap();
    assert_eq!((count("images"), count("layers")), (1, 2));
    ground.runner.retain(HashSet::new()).await.unwrap();
    assert_eq!((count("images"), count("layers"), count(".")), (0, 0, 3));
}

/// Where [`a_process_that_runs_functions`] is told to work, and as what.
const WORK: &str = "LONGSHORE_TEST_RUNNER";

/// Not a test by itself: the others run this program again with a directory, and it starts a function there.
#[tokio::test]
async fn a_process_that_runs_functions() {
    let Some(directory) = std::env::var_os(WORK) else { return };
    let ground = Ground::new().await;
    let instance = ground.start(&Image::function(&["serve"])).await.unwrap();
    let report = format!(
        "{} {:?} {}",
        instance.pid(),
        ground.runner.isolation(),
        get(&instance, "/owner/function").await
    );
    let (made, report_path) = (Path::new(&directory).join("made"), Path::new(&directory).join("report"));
    std::fs::write(&made, report).unwrap();
    std::fs::rename(made, report_path).unwrap();
    // Until it is killed.
    std::future::pending::<()>().await;
}

/// Runs [`a_process_that_runs_functions`], after `with`, and waits for its report; answers with both.
async fn another_process(directory: &Path, with: impl FnOnce(&mut Command)) -> (std::process::Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "runner::tests::a_process_that_runs_functions"]).env(WORK, directory);
    command.env("TMPDIR", directory).stdout(Stdio::null()).stderr(Stdio::null());
    with(&mut command);
    let child = command.spawn().unwrap();
    let report = directory.join("report");
    eventually("the other process reports", || report.exists()).await;
    (child, std::fs::read_to_string(report).unwrap())
}

fn pid_in(report: &str) -> u32 {
    report.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_function_dies_with_who_runs_it() {
    function();
    let directory = tempfile::tempdir().unwrap();
    let (mut child, report) = another_process(directory.path(), |_| {}).await;
    assert!(alive(pid_in(&report)));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the function has ended", || !alive(pid_in(&report))).await;
}

#[tokio::test]
async fn an_ordinary_user_runs_functions_too() {
    // Whoever is not root has shown it with every other test.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    function();
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let (mut child, report) = another_process(directory.path(), |command| {
        command.uid(65534).gid(65534);
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    // Where ordinary users get no namespaces, a static function runs all the same.
    assert!(report.contains("One") && report.ends_with("0:0") || report.contains("None"), "{report}");
}

#[tokio::test]
async fn what_was_open_in_us_is_not_open_in_a_function() {
    let ground = Ground::new().await;
    if !isolated(&ground) {
        return;
    }
    // As somebody would leave it to us who does not know of close-on-exec.
    let leaked = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let instance = ground.start(&Image::function(&["serve"])).await.unwrap();
    assert_eq!(get(&instance, "/list/proc/self/fd").await, "0 1 2 3 4 5");
    drop(leaked);
}

/// The fastest of ten cold starts of what was unpacked before: from the order until it accepts a connection.
async fn fastest_start(image: &Image) -> Duration {
    let ground = Ground::new().await;
    let launch = ground.launch(image).await;
    ground.runner.start(&launch).await.unwrap().stop(Duration::from_secs(5)).await;
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let instance = ground.runner.start(&launch).await.unwrap();
        fastest = fastest.min(begun.elapsed());
        instance.stop(Duration::from_secs(5)).await;
    }
    fastest
}

#[tokio::test]
async fn a_small_image_starts_in_milliseconds() {
    let fastest = fastest_start(&Image::function(&["serve"])).await;
    // Far above what it takes, far below what a person notices.
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}

#[tokio::test]
#[ignore = "takes seconds; .ci/run runs it"]
async fn an_image_of_fifty_mebibytes_starts_in_150_milliseconds() {
    let mut image = Image::function(&["serve"]);
    for layer in 0..5_u32 {
        let mut tar = Tar::new();
        for file in 0..160_u32 {
            // Bytes that are no holes and that no two files share.
            let content: Vec<u8> =
                (0..16_384_u32).flat_map(|n| (n ^ file << 20 ^ layer << 28 | 1).to_le_bytes()).collect();
            tar = tar.file_with(&format!("lib/{layer}/{file}"), 0o644, &content);
        }
        let tar = tar.done();
        image.diff_ids.push(crate::testing::digest_of(&tar));
        image.layers.push((gzip(&tar), "application/vnd.oci.image.layer.v1.tar+gzip"));
    }
    let fastest = fastest_start(&image).await;
    let mut stderr = std::io::stderr();
    let told = format!("the fastest of ten cold starts of 50 MiB: {fastest:?}\n");
    std::io::Write::write_all(&mut stderr, told.as_bytes()).unwrap();
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}
