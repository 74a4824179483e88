//! What the ledger keeps of a wish, so that a resume can tell whether the manifest still asks for the same: pure.

use longshore_contract::{Config, RunId};
use sha2::{Digest as _, Sha256};

use super::deploy::Wish;
use crate::ledger::ConfigFacts;

/// The names of what `wish` states and a digest of names and values, salted with the run: enough to find out on a resume
/// whether the manifest still says the same, and no help in guessing a value.
pub(super) fn of(wish: &Wish, run: RunId) -> ConfigFacts {
    let Config { role, memory, timeout, port, handler, command, environment, raw } = &wish.config;
    let mut facts = Facts { keys: Vec::new(), hash: Sha256::new() };
    facts.hash.update(run.to_string());
    let stated = [
        ("role", role.clone()),
        ("memory", memory.map(|bytes| bytes.to_string())),
        ("timeout", timeout.map(|timeout| format!("{timeout:?}"))),
        ("port", port.map(|port| port.to_string())),
        ("handler", handler.clone()),
        ("command", command.as_ref().map(|words| format!("{words:?}"))),
    ];
    for (key, value) in stated {
        if let Some(value) = value {
            facts.take(key, &value);
        }
    }
    if let Some(environment) = environment {
        facts.take("environment", &environment.len().to_string());
        for (name, value) in environment {
            facts.take(&format!("environment.{name}"), value.expose());
        }
    }
    for (key, value) in raw {
        facts.take(&format!("raw.{key}"), &value.to_string());
    }
    facts.take("repository", &wish.repository);
    if let Some(platform) = &wish.platform {
        facts.take("platform", &platform.to_string());
    }
    if let Some(tag) = &wish.tag {
        facts.take("tag", tag.as_str());
    }
    if let Some(scan) = &wish.scan {
        facts.take("scan", &format!("{:?}", scan.policy));
    }
    if !wish.smoke.is_empty() {
        facts.take("smoke", &format!("{:?}", wish.smoke));
    }
    ConfigFacts { keys: facts.keys, hash: hex::encode(facts.hash.finalize()) }
}

struct Facts {
    keys: Vec<String>,
    hash: Sha256,
}

impl Facts {
    fn take(&mut self, key: &str, value: &str) {
        // Lengths keep `a=b` apart from `a` with another value.
        self.hash.update(format!("{}:{key}{}:", key.len(), value.len()));
        self.hash.update(value);
        self.keys.push(key.to_owned());
    }
}
