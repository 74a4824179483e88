//! What is wanted against what was found: pure.

use longshore_contract::Config;

/// A setting that the manifest states and that is not so yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The manifest's key, as in `memory` or `environment.LOG`; never a value of the environment.
    pub key: String,
}

/// The settings that `wanted` states and `found` has otherwise, in the manifest's order. What `wanted` does not state is
/// left as it is and is no difference.
pub fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let Config { role, memory, timeout, port, handler, command, environment, raw } = wanted;
    let mut keys = Vec::new();
    let mut compare = |key: &str, differs: bool| {
        if differs {
            keys.push(key.to_owned());
        }
    };
    compare("role", role.is_some() && *role != found.role);
    compare("memory", memory.is_some() && *memory != found.memory);
    compare("timeout", timeout.is_some() && *timeout != found.timeout);
    compare("port", port.is_some() && *port != found.port);
    compare("handler", handler.is_some() && *handler != found.handler);
    compare("command", command.is_some() && *command != found.command);
    if let Some(wanted) = environment {
        let empty = std::collections::BTreeMap::new();
        let found = found.environment.as_ref().unwrap_or(&empty);
        let names: std::collections::BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        for name in names {
            compare(&format!("environment.{name}"), wanted.get(name) != found.get(name));
        }
    }
    for (key, value) in raw {
        compare(&format!("raw.{key}"), found.raw.get(key) != Some(value));
    }
    keys.into_iter().map(|key| Difference { key }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_contract::Secret;

    use super::*;

    fn keys(wanted: &Config, found: &Config) -> Vec<String> {
        differences(wanted, found).into_iter().map(|difference| difference.key).collect()
    }

    #[test]
    fn what_is_not_stated_is_left_as_it_is() {
        let found = Config {
            memory: Some(1),
            environment: Some([("A".to_owned(), Secret::new("1"))].into()),
            ..Config::default()
        };
        assert!(differences(&Config::default(), &found).is_empty());
    }

    #[test]
    fn every_stated_key_is_compared() {
        let wanted = Config {
            role: Some("r".into()),
            memory: Some(1 << 29),
            timeout: Some(Duration::from_secs(3)),
            port: Some(9000),
            handler: Some("h".into()),
            command: Some(vec!["c".into()]),
            environment: Some(
                [("A".to_owned(), Secret::new("1")), ("B".to_owned(), Secret::new("2"))].into(),
            ),
            raw: [("Layers".to_owned(), serde_json::json!([]))].into(),
        };
        assert!(differences(&wanted, &wanted).is_empty());
        let found = Config {
            environment: Some(
                [("A".to_owned(), Secret::new("0")), ("C".to_owned(), Secret::new("3"))].into(),
            ),
            ..Config::default()
        };
        assert_eq!(
            keys(&wanted, &found),
            [
                "role",
                "memory",
                "timeout",
                "port",
                "handler",
                "command",
                "environment.A",
                "environment.B",
                "environment.C",
                "raw.Layers"
            ]
        );
    }

    #[test]
    fn stating_an_empty_environment_takes_the_old_one_away() {
        let wanted = Config { environment: Some([].into()), ..Config::default() };
        let found =
            Config { environment: Some([("A".to_owned(), Secret::new("0"))].into()), ..Config::default() };
        assert_eq!(keys(&wanted, &found), ["environment.A"]);
        assert!(differences(&wanted, &Config::default()).is_empty());
    }
}
