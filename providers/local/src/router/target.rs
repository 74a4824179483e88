//! Which version a request is for, and what its settings say that matters to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longshore_contract::{AliasName, FunctionName, Qualifier, Routing, Version};
use longshore_model::{AliasRecord, Configuration, Service};

use crate::control::api::named;
use crate::control::raw::Kind;
use crate::control::wire::TIMEOUT;
use crate::router::dialect::{Carries, Told};
use crate::router::error::RouterError;
use crate::router::instances::content;
use crate::router::split;
use crate::runtime_api::RequestId;

/// One version, as a request needs to know it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) function: FunctionName,
    pub(crate) number: u64,
    pub(crate) version: Version,
    pub(crate) timeout: Duration,
    pub(crate) kind: Option<Kind>,
    pub(crate) memory_mib: u64,
    handler: String,
}

impl Target {
    fn of(function: &FunctionName, number: u64, configuration: &Configuration) -> Self {
        let stated = |key: &str| configuration.0.get(key);
        let timeout = stated("timeout_ms").and_then(|value| value.as_u64());
        let memory = stated("memory").and_then(|value| value.as_u64());
        Self {
            function: function.clone(),
            number,
            version: named(number),
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            kind: stated("kind").and_then(|kind| serde_json::from_value(kind.clone()).ok()),
            memory_mib: crate::router::environment::memory_mib(memory),
            handler: stated("handler").and_then(|value| value.as_str()).unwrap_or_default().to_owned(),
        }
    }

    /// What an image of kind `kind` is told with request `id`.
    pub(crate) fn told<'a>(&'a self, kind: Kind, id: &'a RequestId, carries: Carries) -> Told<'a> {
        Told {
            kind,
            function: self.function.as_str(),
            version: self.version.as_str(),
            handler: &self.handler,
            memory_mib: self.memory_mib,
            timeout: self.timeout,
            id,
            carries,
        }
    }
}

/// Picks versions, and counts what it needs to know for that.
#[derive(Default)]
pub(crate) struct Targets {
    /// How many requests came to each alias.
    counters: RwLock<HashMap<(FunctionName, AliasName), Arc<AtomicU64>>>,
}

impl Targets {
    /// The version that answers a request for `function` at `at`. A request counts: the next one may get another.
    pub(crate) fn pick(
        &self,
        service: &Service,
        name: &FunctionName,
        at: &Qualifier,
    ) -> Result<Target, RouterError> {
        let not_found = |error: longshore_model::Refusal| RouterError::not_found(error);
        let function = service.function(name).map_err(not_found)?;
        let number = match at {
            Qualifier::Latest => function.head_number(),
            Qualifier::Version(version) => published(version, name, function)?,
            Qualifier::Alias(alias) => {
                let record = service.alias(name, alias).map_err(not_found)?;
                published(self.side(name, alias, record), name, function)?
            }
        };
        let content = content(service, name, number).ok_or_else(|| {
            RouterError::not_found(format_args!(
                "{name} has no version yet, and its first update has not come to a good end"
            ))
        })?;
        Ok(Target::of(name, number, &content.configuration))
    }

    fn side<'a>(&self, name: &FunctionName, alias: &AliasName, record: &'a AliasRecord) -> &'a Version {
        match &record.routing {
            Routing::All(version) => version,
            Routing::Split { stable, canary, share } => {
                let n = self.counter(name, alias).fetch_add(1, Ordering::Relaxed);
                if split::picks(n, *share) { canary } else { stable }
            }
        }
    }

    fn counter(&self, name: &FunctionName, alias: &AliasName) -> Arc<AtomicU64> {
        let key = (name.clone(), alias.clone());
        if let Some(counter) = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(counter);
        }
        Arc::clone(self.counters.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

fn published(
    version: &Version,
    name: &FunctionName,
    function: &longshore_model::Function,
) -> Result<u64, RouterError> {
    // "007" is not version 7.
    let number = version.as_str().parse().ok().filter(|number| named(*number) == *version);
    number
        .filter(|number| function.versions.contains_key(number))
        .ok_or_else(|| RouterError::not_found(format_args!("there is no version {version} of {name}")))
}
