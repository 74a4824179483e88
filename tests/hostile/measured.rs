//! Running the binary with an eye on its time and its memory.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Scratch;

/// The most memory a refusal may take, in KiB.
const MEMORY: u64 = 64 << 10;
/// The most time; what is expected is a fraction of it, on a machine that does nothing else.
const TIME: Duration = Duration::from_secs(60);

/// Pushes `source` to `to`, which must be refused (3) with a message that holds all of `words`.
pub(crate) fn refused(source: &str, to: &str, options: &[&str], words: &[&str]) {
    let document = push(source, to, options);
    let message = document["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(document["exit_code"], 3, "{source}: {document}");
    for word in words {
        assert!(message.contains(word), "{source}: {word:?} is not in {message:?}");
    }
    assert!(message.len() < 2_000, "{source}: a message of {} bytes", message.len());
}

/// Pushes `source` to `to`, which must fail, and returns why.
pub(crate) fn failed(source: &str, to: &str, options: &[&str]) -> String {
    let document = push(source, to, options);
    assert_ne!(document["exit_code"], 0, "{source}: {document}");
    document["error"]["message"].as_str().unwrap_or_default().to_owned()
}

fn push(source: &str, to: &str, options: &[&str]) -> Value {
    let scratch = Scratch::empty();
    let mut words = vec!["push", source, to, "--output", "json"];
    words.extend(options);
    let mut command = scratch.command(&words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // What it spools and unpacks goes to its own folder, which is empty again afterwards.
    let spool = scratch.path().join("tmp");
    std::fs::create_dir(&spool).expect("a folder");
    let mut child = command.env("TMPDIR", &spool).spawn().expect("the binary starts");
    let (stdout, stderr) = (drained(child.stdout.take()), drained(child.stderr.take()));
    let (peak, took) = watch(&mut child, source);
    let stdout = stdout.join().expect("it is read");
    let stderr = stderr.join().expect("it is read");
    assert!(peak < MEMORY, "{source}: {peak} KiB of memory");
    assert!(took < TIME, "{source}: {took:?}");
    assert_eq!(
        std::fs::read_dir(&spool).expect("it is there").count(),
        0,
        "{source}: something is left over"
    );
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{source}: {error}\n{stdout}\n{stderr}"))
}

/// Reads a pipe to its end, so that nobody waits for it.
fn drained(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.expect("it is piped");
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

/// Waits for the child's end, ending it when it takes far too long; the most memory it had, in KiB, and how long it took.
/// The kernel keeps the peak and forgets it with the process, so it is looked at every millisecond.
fn watch(child: &mut Child, source: &str) -> (u64, Duration) {
    let (began, mut peak) = (Instant::now(), 0);
    let status = format!("/proc/{}/status", child.id());
    while child.try_wait().expect("it is ours").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0).max(peak);
        if peak > 4 * MEMORY || began.elapsed() > TIME {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{source}: ended by the test with {peak} KiB after {:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (peak, began.elapsed())
}
