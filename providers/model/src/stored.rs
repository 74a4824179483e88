//! The form in which a service is kept on a disk.

use std::collections::BTreeMap;

use longshore_contract::FunctionName;
use serde::{Deserialize, Serialize};

use crate::function::Function;
use crate::service::Service;

/// The format this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// A service as it is written: the format first, so that a reader can tell before it reads on.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    format: u32,
    revision: u64,
    functions: BTreeMap<FunctionName, Function>,
    #[serde(default)]
    retired: BTreeMap<FunctionName, u64>,
}

/// A state that this program must not touch.
#[derive(Debug, thiserror::Error)]
#[error(
    "its format is {found}, this program knows formats up to {FORMAT}: use the newer program that wrote it"
)]
pub(crate) struct TooNew {
    found: u32,
}

impl TryFrom<Stored> for Service {
    type Error = TooNew;
    fn try_from(stored: Stored) -> Result<Self, TooNew> {
        if stored.format > FORMAT {
            return Err(TooNew { found: stored.format });
        }
        Ok(Self { revision: stored.revision, functions: stored.functions, retired: stored.retired })
    }
}

impl From<Service> for Stored {
    fn from(service: Service) -> Self {
        let Service { revision, functions, retired } = service;
        Self { format: FORMAT, revision, functions, retired }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused() {
        let error =
            serde_json::from_str::<Service>(r#"{"format":2,"revision":0,"functions":{}}"#).unwrap_err();
        assert!(error.to_string().contains("its format is 2"), "{error}");
    }

    #[test]
    fn the_format_is_written() {
        let text = serde_json::to_string(&Service::default()).unwrap();
        assert_eq!(text, r#"{"format":1,"revision":0,"functions":{},"retired":{}}"#);
        assert_eq!(serde_json::from_str::<Service>(&text).unwrap(), Service::default());
    }
}
