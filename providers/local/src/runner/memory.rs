//! How much memory a function uses: all processes of its namespace together.
//!
//! It is looked at from outside, several times a second, because limits that the kernel keeps need a control group that is
//! ours to write, which an ordinary user mostly has not. So a function can go beyond its limit for a moment.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// How often a function is looked at that is far from its limit, and one that is near.
const CALM: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(20);

/// A look that takes long, as at a thousand processes, is followed by a rest of so many times that.
const REST: u32 = 9;

/// The most processes that are looked at: more than a function may have.
const PROCESSES: usize = 4096;

/// What a look at a function showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It uses more than it may.
    Beyond,
    /// It does not; look again after this time.
    Within(Duration),
}

/// Looks at all that descends from `init`, which itself does not count.
pub(super) fn look(init: Pid, limit: u64) -> Look {
    let begun = Instant::now();
    let processes = descendants(init);
    let sum = |of: fn(Pid) -> u64| processes.iter().map(|process| of(*process)).sum::<u64>();
    let resident = sum(resident);
    // Pages that several processes share count for each of them here; that is found out only where it matters.
    if resident > limit && sum(share) > limit {
        return Look::Beyond;
    }
    Look::Within(pause(resident, limit, begun.elapsed()))
}

/// How long to wait after a look that took so long.
fn pause(resident: u64, limit: u64, took: Duration) -> Duration {
    let pause = if resident > limit / 2 { CLOSE } else { CALM };
    pause.max(took * REST)
}

/// Every process below `init`. One that comes or goes meanwhile may be missed.
fn descendants(init: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![init];
    while let Some(parent) = parents.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children =
                children.split_whitespace().filter_map(|number| number.parse().ok().and_then(Pid::from_raw));
            for child in children {
                if found.len() == PROCESSES {
                    return found;
                }
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

/// The memory that a process has, without the files it maps.
fn resident(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    sum_of(&status.unwrap_or_default(), &["RssAnon:", "RssShmem:"])
}

/// The same, with pages that several processes have counted once among them; slower.
fn share(process: Pid) -> u64 {
    match fs::read_to_string(format!("/proc/{}/smaps_rollup", process.as_raw_nonzero())) {
        Ok(text) => sum_of(&text, &["Pss_Anon:", "Pss_Shmem:"]),
        Err(_) => resident(process),
    }
}

/// The sum of the lines that begin with one of `keys`, in bytes.
fn sum_of(text: &str, keys: &[&str]) -> u64 {
    let values = text.lines().filter_map(|line| keys.iter().find_map(|key| line.strip_prefix(key)));
    let kibibytes = values.filter_map(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_count_are_summed() {
        let status = "VmRSS:\t 9999 kB\nRssAnon:\t    100 kB\nRssFile:\t 50 kB\nRssShmem:\t 20 kB\n";
        assert_eq!(sum_of(status, &["RssAnon:", "RssShmem:"]), 120 * 1024);
        assert_eq!(sum_of("RssAnon: many\n", &["RssAnon:"]), 0);
    }

    #[test]
    fn a_look_that_takes_long_does_not_come_often() {
        assert_eq!(pause(1, 100, Duration::from_millis(1)), CALM);
        assert_eq!(pause(60, 100, Duration::from_millis(1)), CLOSE);
        assert_eq!(pause(60, 100, Duration::from_millis(30)), Duration::from_millis(270));
    }

    #[test]
    fn a_child_is_found_and_weighed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(descendants(rustix::process::getpid()).contains(&pid));
        assert!(resident(pid) > 0 && share(pid) > 0);
        assert_eq!(look(rustix::process::getpid(), 1), Look::Beyond);
        assert!(matches!(look(rustix::process::getpid(), u64::MAX), Look::Within(_)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
