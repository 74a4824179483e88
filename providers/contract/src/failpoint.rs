//! Named places where a test can kill this process, lose an answer or plant a fault.
//!
//! Without the cargo feature `failpoints` every function here does nothing and is optimised away. With it the
//! environment decides:
//!
//! - `LONGSHORE_FAILPOINT=NAME=kill` kills the process with SIGKILL the first time it comes to `NAME`; `NAME=kill@3` the
//!   third time; `NAME=lose` loses the answer that `NAME` stands for. Several are separated by commas.
//! - `LONGSHORE_PLANT=NAME` plants the fault `NAME`, so that a test can show that it would be caught.
//! - `LONGSHORE_FAILPOINT_LOG=FILE` appends the name of every failpoint that was come to, a line each.

/// The answer to a request that was carried out was lost on its way, because a test said so.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

#[cfg(not(feature = "failpoints"))]
mod imp {
    use super::Lost;

    /// Comes to the failpoint `name`: kills the process if the environment says so.
    pub fn hit(_name: &str) {}

    /// Comes to the place where the answer called `name` arrives: `Err` if the environment says that it is lost.
    pub fn answer(_name: &str) -> Result<(), Lost> {
        Ok(())
    }

    /// Whether the fault `name` is planted.
    pub fn planted(_name: &str) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod imp {
    use std::collections::HashMap;
    use std::io::Write as _;
    use std::sync::{LazyLock, Mutex};

    use super::Lost;

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Kill,
        Lose,
    }

    struct Armed {
        name: String,
        action: Action,
        nth: u32,
    }

    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
        let text = std::env::var("LONGSHORE_FAILPOINT").unwrap_or_default();
        text.split(',').filter(|part| !part.is_empty()).map(parse).collect()
    });
    static COUNTS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

    fn parse(part: &str) -> Armed {
        let (name, action) = part.split_once('=').unwrap_or((part, "kill"));
        let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
        let action = match action {
            "kill" => Action::Kill,
            "lose" => Action::Lose,
            other => panic!("LONGSHORE_FAILPOINT: {other:?} is neither kill nor lose"),
        };
        Armed {
            name: name.to_owned(),
            action,
            nth: nth.parse().expect("LONGSHORE_FAILPOINT: a number behind @"),
        }
    }

    fn come_to(name: &str) -> Option<Action> {
        if let Some(path) = std::env::var_os("LONGSHORE_FAILPOINT_LOG") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{name}"));
        }
        let mut counts = COUNTS.lock().expect("no panic while counting");
        let count = counts.entry(name.to_owned()).and_modify(|count| *count += 1).or_insert(1);
        ARMED.iter().find(|armed| armed.name == name && armed.nth == *count).map(|armed| armed.action)
    }

    /// Comes to the failpoint `name`: kills the process if the environment says so.
    pub fn hit(name: &str) {
        if come_to(name) == Some(Action::Kill) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    /// Comes to the place where the answer called `name` arrives: `Err` if the environment says that it is lost.
    pub fn answer(name: &str) -> Result<(), Lost> {
        match come_to(name) {
            Some(Action::Kill) => {
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                Ok(())
            }
            Some(Action::Lose) => Err(Lost),
            None => Ok(()),
        }
    }

    /// Whether the fault `name` is planted.
    pub fn planted(name: &str) -> bool {
        std::env::var("LONGSHORE_PLANT").is_ok_and(|planted| planted == name)
    }
}

pub use imp::{answer, hit, planted};
