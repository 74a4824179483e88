//! The local cloud's own fields: what a manifest may state under `config.raw`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an image is, where it is stated. Where it is not, what a process does first decides between [`Kind::Http`] and
/// [`Kind::Lambda`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// It listens on `PORT` and answers HTTP; events go to `POST /invoke`.
    Http,
    /// It asks the runtime API for events.
    Lambda,
    /// It listens as Tencent's SCF has it: on 9000, events to `POST /event-invoke`.
    Scf,
    /// It listens as Alibaba's FC has it: on 9000, events to `POST /invoke`.
    Fc,
}

impl Kind {
    /// The port that images of this kind listen on where nobody says otherwise.
    pub(crate) fn port(self) -> Option<u16> {
        match self {
            Self::Http | Self::Lambda => None,
            Self::Scf | Self::Fc => Some(9000),
        }
    }
}

/// The most instances of one version, and the most requests of one instance, that may be asked for.
const MOST: u64 = 1000;

/// The fields, as they are stated: what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    /// How many instances a version may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instances: Option<u32>,
    /// How many requests an instance that answers HTTP takes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u32>,
    /// The path that has to answer before an instance gets requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<String>,
}

impl Raw {
    /// The fields in `config.raw`; what is wrong with the first that is wrong, as `FIELD: …`.
    pub(crate) fn stated(raw: &BTreeMap<String, Value>) -> Result<Self, String> {
        let mut fields = Self::default();
        for (field, value) in raw {
            let wrong = |wanted: &str| format!("config.raw.{field}: it has to be {wanted}");
            match field.as_str() {
                "kind" => {
                    let kind = serde_json::from_value(value.clone());
                    fields.kind = Some(kind.map_err(|_| wrong("http, lambda, scf or fc"))?);
                }
                "instances" => fields.instances = Some(number(value).ok_or_else(|| wrong(NUMBER))?),
                "concurrency" => fields.concurrency = Some(number(value).ok_or_else(|| wrong(NUMBER))?),
                "health" => {
                    let path = value.as_str().filter(|path| path.parse::<http::Uri>().is_ok());
                    let path = path.filter(|path| path.starts_with('/'));
                    fields.health = Some(path.ok_or_else(|| wrong("a path, as /health"))?.to_owned());
                }
                _ => {
                    return Err(format!(
                        "config.raw.{field}: a local cloud has no such field; it has kind, instances, concurrency and \
                         health"
                    ));
                }
            }
        }
        let own_events = fields.kind == Some(Kind::Lambda);
        match (own_events, fields.concurrency, &fields.health) {
            (true, Some(_), _) => {
                Err("config.raw.concurrency: an image of kind lambda takes one event at a \
                                       time; state how many `instances` it may have"
                    .to_owned())
            }
            (true, _, Some(_)) => {
                Err("config.raw.health: an image of kind lambda answers no HTTP; leave it out".to_owned())
            }
            _ => Ok(fields),
        }
    }

    /// The same as `config.raw` states them.
    pub(crate) fn fields(&self) -> BTreeMap<String, Value> {
        match json!(self) {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }
}

const NUMBER: &str = "a whole number from 1 to 1000";

fn number(value: &Value) -> Option<u32> {
    let number = value.as_u64().filter(|number| (1..=MOST).contains(number))?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(raw: Value) -> Result<Raw, String> {
        Raw::stated(&serde_json::from_value(raw).unwrap())
    }

    #[test]
    fn fields_come_back_as_they_were_stated() {
        let raw = json!({ "kind": "fc", "instances": 3, "concurrency": 20, "health": "/health" });
        let fields = stated(raw.clone()).unwrap();
        assert_eq!((fields.kind, fields.instances), (Some(Kind::Fc), Some(3)));
        assert_eq!(json!(fields.fields()), raw);
        assert_eq!(stated(json!({})).unwrap().fields(), BTreeMap::new());
    }

    #[test]
    fn a_field_that_is_wrong_is_told_with_what_it_should_be() {
        for (raw, wrong) in [
            (json!({ "kind": "zip" }), "config.raw.kind: it has to be http, lambda, scf or fc"),
            (json!({ "instances": 0 }), "config.raw.instances: it has to be a whole number from 1 to 1000"),
            (json!({ "concurrency": "2" }), "config.raw.concurrency: it has to be a whole number"),
            (json!({ "health": "health" }), "config.raw.health: it has to be a path"),
            (json!({ "Layers": [] }), "config.raw.Layers: a local cloud has no such field"),
            (json!({ "kind": "lambda", "concurrency": 2 }), "takes one event at a time"),
            (json!({ "kind": "lambda", "health": "/" }), "answers no HTTP"),
        ] {
            let error = stated(raw).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
