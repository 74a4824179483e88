//! Daemons, pipes, ports and disks: what ends badly elsewhere.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Ran, Scratch, can_mount, http, until};

#[test]
fn the_daemon_holds_no_pipe_of_whoever_started_it() {
    let scratch = Scratch::new();
    // A pipe that is not closed on exec, as careless parents leave them open to their children.
    let careless = rustix::pipe::pipe().unwrap();
    // As in $(longshore deploy): the pipes end when the command does, though the daemon lives on.
    let mut child =
        scratch.command(&["deploy"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let parents = [target(&stdout), target(&stderr), target(&careless.0)];
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        stderr.read_to_string(&mut text).unwrap();
    });
    assert!(child.wait().unwrap().success());
    until("both pipes to end", || reading.is_finished().then_some(()));

    let status = scratch.json(0, &["local", "status"]);
    let folder = format!("/proc/{}/fd", status["pid"].as_u64().expect("it runs"));
    for entry in std::fs::read_dir(folder).unwrap() {
        // A descriptor may be closed while we look.
        let Ok(open) = std::fs::read_link(entry.unwrap().path()) else { continue };
        assert!(!parents.contains(&open), "the daemon holds {} of its parent", open.display());
    }
}

/// What a descriptor of ours is open to, as the kernel names it.
fn target(descriptor: &impl AsRawFd) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap()
}

#[test]
fn two_verbs_at_once_start_one_daemon() {
    let scratch = Scratch::new();
    let starting: Vec<_> = (0..4).map(|_| scratch.start(&["local", "up"])).collect();
    let pids: Vec<_> = starting.into_iter().map(|running| running.finish()["pid"].clone()).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0] && pid.is_u64()), "{pids:?}");
}

#[test]
fn a_second_daemon_on_one_directory_is_refused() {
    let scratch = Scratch::new();
    scratch.json(0, &["local", "up"]);
    let state = scratch.path().join(".longshore/local");
    let second = Ran::of(scratch.command(&["local", "serve", "--state"]).arg(&state));
    let said = second.stdout + &second.stderr;
    assert_eq!(second.code, 6, "another daemon is in the way: {said}");
    assert!(said.contains("another daemon runs on this directory"), "{said}");
    assert!(scratch.json(0, &["local", "status"])["running"].as_bool().unwrap(), "the first goes on");
}

#[test]
fn a_taken_port_is_named_and_the_code_is_3() {
    let scratch = Scratch::new();
    let status = scratch.json(0, &["local", "up"]);
    let functions =
        status["endpoints"]["functions"].as_str().unwrap().trim_start_matches("http://").to_owned();
    scratch.json(0, &["local", "down"]);
    let taken = TcpListener::bind(&functions).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for words in [&["local", "up"][..], &["deploy"]] {
        let refused = scratch.json(3, words);
        assert!(refused["error"]["message"].as_str().unwrap().contains(&port), "{refused}");
    }
    drop(taken);
    assert_eq!(scratch.json(0, &["local", "up"])["endpoints"], status["endpoints"], "the ports are kept");
}

#[test]
fn a_target_that_cannot_be_reached_stops_nobody_else() {
    let scratch = Scratch::new();
    let two = scratch.read("deploy.yaml").replace(
        "  here: { provider: local }",
        "  here: { provider: local }\n  there: { provider: local, state: .longshore/there }",
    );
    let two = two.replace("    tag: ", "    targets: [here, there]\n    tag: ");
    scratch.write("deploy.yaml", &two);
    scratch.json(0, &["deploy"]);
    scratch.json(0, &["deploy", "--set", "vars.version=v2"]);
    let there = ["--state", ".longshore/there"];
    let status = scratch.json(0, &[&["local", "status"][..], &there].concat());
    scratch.json(0, &[&["local", "down"][..], &there].concat());
    let port = status["endpoints"]["functions"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let taken = TcpListener::bind(port).unwrap();

    let outcomes = |document: &serde_json::Value| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        document["functions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (text(&row["target"]), text(&row["outcome"])))
            .collect()
    };
    let rows = |here: &str, there: &str| {
        vec![("here".to_owned(), here.to_owned()), ("there".to_owned(), there.to_owned())]
    };
    let deployed = scratch.json(7, &["deploy", "--set", "vars.version=v3"]);
    assert_eq!(outcomes(&deployed), rows("arrived", "refused"));
    assert!(deployed["run"].is_string());
    assert_eq!(outcomes(&scratch.json(7, &["rollback"])), rows("returned", "refused"));
    assert_eq!(outcomes(&scratch.json(7, &["status"])), rows("done", "refused"));
    drop(taken);
    assert_eq!(outcomes(&scratch.json(0, &["rollback"])), rows("returned", "returned"));
    scratch.json(0, &[&["local", "down"][..], &there].concat());
}

#[test]
fn a_signal_at_any_moment_holds_or_comes_too_late() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    for moment in 0..24_u64 {
        let version = if moment % 2 == 0 { "v2" } else { "v3" };
        let set = format!("vars.version={version}");
        let running = scratch.start(&["deploy", "--set", &set]);
        std::thread::sleep(std::time::Duration::from_millis(moment * 7));
        running.interrupt();
        let document = running.finish_any();
        let Some(document) = document else { continue };
        let code = document["exit_code"].as_i64().unwrap();
        assert!(code == 0 || code == 5, "after {} ms: {document}", moment * 7);
        let open = scratch.json(0, &["status"])["functions"][0]["open"].clone();
        assert!(open.is_null() || code == 5, "after {} ms: {open}", moment * 7);
        if !open.is_null() {
            let resumed = scratch.json(0, &["resume", "--set", &set]);
            assert_eq!(resumed["run"], open["run"]);
        }
    }
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let scratch = Scratch::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = scratch.command(&["plan", "--output", "json"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn state_survives_down_up_and_kill() {
    let scratch = Scratch::new();
    let url = scratch.deploy("v1")["url"].as_str().unwrap().to_owned();
    scratch.deploy("v2");
    scratch.json(0, &["local", "down"]);
    assert!(http("GET", &url, "").is_err(), "nobody listens any more");
    let down = scratch.json(0, &["local", "status"]);
    assert_eq!((&down["running"], &down["endpoints"]), (&json!(false), &json!(null)));
    scratch.json(0, &["local", "down"]);

    // Any verb that needs it wakes it up.
    assert_eq!(scratch.json(0, &["status"])["functions"][0]["routing"]["stable"], "2");
    assert_eq!(http("GET", &url, "").unwrap().body, "<h1>v2</h1>\n");

    let pid = scratch.json(0, &["local", "status"])["pid"].as_u64().unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    until("the daemon to be gone", || http("GET", &url, "").is_err().then_some(()));
    assert_eq!(scratch.json(0, &["rollback"])["functions"][0]["to"], "1");
    assert_eq!(http("GET", &url, "").unwrap().body, "<h1>v1</h1>\n");
}

#[test]
fn logs_show_what_a_function_wrote() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    scratch.json(0, &["invoke", "--path", "/health"]);
    let log = scratch.run(&["local", "logs", "shop-hello:1"]);
    assert!(
        log.stdout.contains("hello v1 listens") && log.stdout.contains("GET /health 200 OK"),
        "{}",
        log.stdout
    );
    assert_eq!(scratch.run(&["local", "logs"]).code, 0);
}

#[test]
fn a_ledger_that_cannot_be_written_moves_no_traffic() {
    if !can_mount() {
        return;
    }
    let scratch = Scratch::new();
    scratch.deploy("v1");
    scratch.deploy("v2");
    let writes = scratch.writes();
    let refused = with_full_disk(&scratch, &["rollback", "--output", "json"]);
    let document = refused.document();
    assert_eq!((refused.code, &document["outcome"]), (6, &json!("preempted")), "{}", refused.stderr);
    assert_eq!(document["error"]["kind"], "ledger");
    assert!(document["error"]["message"].as_str().unwrap().contains("No space left"), "{document}");
    assert_eq!(scratch.writes(), writes, "nothing was sent");
    // With room again the same verb works.
    assert_eq!(scratch.json(0, &["rollback"])["functions"][0]["to"], "1");
}

/// Runs the binary with the ledger on a file system that is full: a small tmpfs over its folder, in a mount namespace of
/// its own, with the ledger's entries copied in and the rest filled.
fn with_full_disk(scratch: &Scratch, words: &[&str]) -> Ran {
    let script = "set -e
        ledger=$PWD/.longshore/ledger
        cp -r $ledger $PWD/kept
        mount -t tmpfs -o size=512k tmpfs $ledger
        cp -r $PWD/kept/. $ledger/
        dd if=/dev/zero of=$ledger/filler bs=4k 2>/dev/null || true
        rm -r $PWD/kept
        exec \"$@\"";
    let path = scratch.path().join("full.sh");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let longshore = scratch.command(words);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-e"])
        .arg(&path)
        .arg(longshore.get_program());
    command.args(longshore.get_args()).current_dir(scratch.path()).stdin(Stdio::null());
    for (name, value) in longshore.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(&mut command)
}
