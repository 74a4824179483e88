//! What a function runs.

use std::collections::BTreeMap;
use std::fmt;

use longshore_contract::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The image a function runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where the image is, in the service's own form.
    pub location: String,
    /// The digest of the image's manifest.
    pub digest: Digest,
}

/// A function's settings by the service's own names. Values are never shown: some of them are secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration(pub BTreeMap<String, Value>);

impl Configuration {
    /// These settings with `changes` on top: a key that is stated is replaced whole, a key stated as `null` is taken
    /// away, a key not stated stays as it is.
    pub fn with(&self, changes: &Self) -> Self {
        let mut merged = self.0.clone();
        for (key, value) in &changes.0 {
            if value.is_null() {
                merged.remove(key);
            } else {
                merged.insert(key.clone(), value.clone());
            }
        }
        Self(merged)
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// All that a version captures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The image.
    pub image: Image,
    /// The settings.
    pub configuration: Configuration,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn configuration(value: Value) -> Configuration {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_stated_stays() {
        let before = configuration(json!({"memory": 1, "environment": {"A": "1"}, "handler": "x"}));
        let changes = configuration(json!({"environment": {"B": "2"}, "handler": null}));
        assert_eq!(before.with(&changes), configuration(json!({"memory": 1, "environment": {"B": "2"}})));
    }

    #[test]
    fn no_value_is_shown() {
        let secret = configuration(json!({"environment": {"TOKEN": "hunter2"}}));
        assert_eq!(format!("{secret:?}"), r#"{"environment"}"#);
    }
}
