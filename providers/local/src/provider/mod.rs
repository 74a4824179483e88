//! The contract's side: one HTTP request to the daemon per operation, and no state of its own.

pub(crate) mod client;
mod functions;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod invoke;
mod metrics;
mod registry;
mod release;
mod route;
mod scanner;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use longshore_contract::{
    AliasWrites, Calls, Capabilities, Compression, Endpoint, Error, ErrorKind, Finding, Format, FunctionName,
    Functions, Metrics, Place, Platform, Profile, Provider, PublishDedup, Registry, Result, Scanner, Service,
    Settings, Severity, Share, Split, State, Taken,
};
use longshore_model::DESCRIPTION_LIMIT;

use crate::control::wire::{HeadView, function_path};
use crate::provider::client::{Client, Reached};
use crate::provider::scanner::Reports;
use crate::runner::Runtime;
use crate::state::{Identity, StateDirectory};

/// The word for this provider.
pub(crate) const NAME: &str = "local";

/// The setting that says where the cloud is.
pub(crate) const STATE: &str = "state";

/// The setting that rehearses clouds without guarded writes.
pub(crate) const ALIAS_WRITES: &str = "alias_writes";

/// The setting that says where scanners leave their reports.
pub(crate) const SCAN_REPORTS: &str = "scan_reports";
/// The setting that says what runs functions.
pub(crate) const RUNTIME: &str = "runtime";

/// Where the cloud is when nothing says otherwise, beside the manifest.
const DEFAULT: &str = ".longshore/local";

/// Says where the cloud is when the manifest does not.
const VARIABLE: &str = "LONGSHORE_LOCAL_DIR";

/// The region of a cloud that was never started: it has no id yet. Nothing is ever written under it, because a write to
/// such a cloud is refused.
const NEVER_STARTED: &str = "not-started";

/// Connects to the cloud that `settings` names. It need not run, and need not have been started ever.
pub(crate) fn connect(settings: &Settings) -> Result<Arc<dyn Provider>> {
    let directory = locate(settings)?;
    // A directory of a newer program, or a damaged one, is refused here and not halfway through a run.
    let identity =
        directory.identity().map_err(|error| error.into_error("connect to", directory.path().display()))?;
    let alias_writes = match settings.text(ALIAS_WRITES) {
        None | Some("atomic") => AliasWrites::Atomic,
        Some("checked") => AliasWrites::Checked,
        Some(other) => {
            let message = format!("{ALIAS_WRITES}: {other:?} is neither atomic nor checked");
            return Err(Error::new(ErrorKind::Invalid, "connect to", &settings.target, message));
        }
    };
    let runtime = settings.text(RUNTIME).unwrap_or(Runtime::WORDS[0]);
    let runtime = Runtime::from_word(runtime).ok_or_else(|| {
        let message = format!("{RUNTIME}: {runtime:?} is none of {}", Runtime::WORDS.join(", "));
        Error::new(ErrorKind::Invalid, "connect to", &settings.target, message)
    })?;
    let endpoint = |service| settings.endpoints.get(&service).cloned();
    let client = Client::new(directory.clone(), endpoint(Service::Functions), Calls::default());
    let measured_at = endpoint(Service::Metrics).or_else(|| endpoint(Service::Functions));
    let images = client.clone().service(Service::Registry, endpoint(Service::Registry));
    let reports = settings.text(SCAN_REPORTS).map(|folder| settings.directory.join(folder));
    Ok(Arc::new(Local {
        metrics: client.clone().service(Service::Metrics, measured_at),
        reports: reports.map(|folder| Reports::new(folder, images, Calls::default())),
        client,
        directory,
        runtime,
        identity: identity.map(OnceLock::from).unwrap_or_default(),
        place: OnceLock::new(),
        nowhere: Place { provider: NAME.to_owned(), region: NEVER_STARTED.to_owned() },
        capabilities: capabilities(alias_writes),
        registry_endpoint: settings.endpoints.get(&Service::Registry).cloned(),
    }))
}

/// The state directory that `settings` names: `state:`, else `LONGSHORE_LOCAL_DIR`, else `.longshore/local` beside the
/// manifest.
pub(crate) fn locate(settings: &Settings) -> Result<StateDirectory> {
    let stated = settings.text(STATE).map(PathBuf::from);
    // What a shell names is relative to where the shell is.
    let named = || {
        let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
        std::path::absolute(value).ok()
    };
    let path = settings.directory.join(stated.or_else(named).unwrap_or_else(|| PathBuf::from(DEFAULT)));
    let absolute = std::path::absolute(&path)
        .map_err(|error| Error::new(ErrorKind::Invalid, "find", path.display(), error))?;
    Ok(StateDirectory::new(absolute))
}

/// What its registry takes and its runner unpacks. Nothing goes over a network, so what is plain stays plain.
const PROFILE: Profile = Profile {
    name: NAME,
    summary: "functions on the local cloud",
    indexes: Taken::No,
    others: Taken::No,
    formats: &[Format::Oci, Format::Docker],
    layers: &[Compression::Plain, Compression::Gzip, Compression::Zstd],
    platforms: &[],
    hosts: &[],
};

fn capabilities(alias_writes: AliasWrites) -> Capabilities {
    Capabilities {
        alias_writes,
        split: Split::TwoWay { granularity: Share::basis_points(1).unwrap_or(Share::ALL) },
        publish: PublishDedup::ByIntent,
        platforms: vec![Platform::host()],
        description_limit: DESCRIPTION_LIMIT,
    }
}

/// A local cloud, as the core sees it.
#[derive(Debug)]
struct Local {
    directory: StateDirectory,
    runtime: Runtime,
    client: Client,
    metrics: Client,
    reports: Option<Reports>,
    /// Read once: it is kept for as long as the directory is.
    identity: OnceLock<Identity>,
    place: OnceLock<Place>,
    nowhere: Place,
    capabilities: Capabilities,
    registry_endpoint: Option<Endpoint>,
}

impl Local {
    /// Who the cloud is; `None` where it was never started.
    fn identity(&self) -> Result<Option<&Identity>> {
        if let Some(identity) = self.identity.get() {
            return Ok(Some(identity));
        }
        // It may have been started since this was connected.
        let read = self.directory.identity();
        let read = read.map_err(|error| error.into_error("look at", self.directory.path().display()))?;
        Ok(read.map(|identity| self.identity.get_or_init(|| identity)))
    }
}

#[async_trait]
impl Provider for Local {
    fn place(&self) -> &Place {
        if let Some(place) = self.place.get() {
            return place;
        }
        match self.identity() {
            Ok(Some(identity)) => {
                self.place.get_or_init(|| Place { provider: NAME.to_owned(), region: identity.id.clone() })
            }
            Ok(None) | Err(_) => &self.nowhere,
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    async fn preflight(&self, function: &FunctionName) -> Result<Vec<Finding>> {
        if function.as_str().contains('/') {
            return Ok(vec![Finding {
                severity: Severity::Blocking,
                message: format!("{function}: a local cloud has no namespaces"),
                hint: Some("name the function without one".to_owned()),
            }]);
        }
        let path = format!("{}/head", function_path(function));
        let finding = match self.client.look::<HeadView>(&path, "look at", function).await {
            Ok(Reached::Found(HeadView { state: State::Pending, .. })) => Finding {
                severity: Severity::Notice,
                message: format!("an update of {function} is under way"),
                hint: Some("it is waited for".to_owned()),
            },
            Ok(Reached::Found(_) | Reached::Absent) => return Ok(Vec::new()),
            Ok(Reached::NeverStarted) => Finding {
                severity: Severity::Notice,
                message: format!("the local cloud in {} was never started", self.directory.path().display()),
                hint: Some("`longshore deploy` and `longshore local up` start it".to_owned()),
            },
            Err(error) if error.kind == ErrorKind::Unavailable => Finding {
                severity: Severity::Notice,
                message: error.message.into(),
                hint: Some("`longshore deploy` and `longshore local up` start it".to_owned()),
            },
            Err(error) => return Err(error),
        };
        Ok(vec![finding])
    }

    fn registry(&self) -> &dyn Registry {
        self
    }

    fn functions(&self) -> &dyn Functions {
        self
    }

    fn scanner(&self) -> Option<&dyn Scanner> {
        self.reports.as_ref().map(|reports| reports as &dyn Scanner)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(self)
    }

    fn metered(&self, calls: Calls) -> Arc<dyn Provider> {
        Arc::new(Self {
            runtime: self.runtime,
            directory: self.directory.clone(),
            metrics: self.metrics.metered(calls.clone()),
            reports: self.reports.as_ref().map(|reports| reports.metered(calls.clone())),
            client: self.client.metered(calls),
            identity: self.identity.clone(),
            place: self.place.clone(),
            nowhere: self.nowhere.clone(),
            capabilities: self.capabilities.clone(),
            registry_endpoint: self.registry_endpoint.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(directory: &std::path::Path, state: Option<&str>) -> Settings {
        let values = state.map(|state| (STATE.to_owned(), json!(state))).into_iter().collect();
        Settings { target: "here".to_owned(), values, directory: directory.to_owned(), ..Settings::default() }
    }

    #[test]
    fn a_stated_directory_is_relative_to_the_manifest() {
        let locate = |state| locate(&settings("/shop".as_ref(), Some(state))).unwrap();
        assert_eq!(locate("cloud").path(), std::path::Path::new("/shop/cloud"));
        assert_eq!(locate("/var/cloud").path(), std::path::Path::new("/var/cloud"));
    }

    #[tokio::test]
    async fn a_cloud_that_was_never_started_can_be_read_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let local = connect(&settings(folder.path(), Some("cloud"))).unwrap();
        let (name, live) = ("shop".parse().unwrap(), "live".parse().unwrap());
        let at = longshore_contract::AliasRef { function: "shop".parse().unwrap(), alias: live };
        assert!(local.functions().alias(&at).await.unwrap().is_none());
        let latest = longshore_contract::Qualifier::Latest;
        assert!(local.functions().describe(&name, &latest).await.unwrap().is_none());
        assert!(local.functions().versions(&name, 5).await.unwrap().is_empty());
        let found = local.preflight(&name).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Notice);
        let write = longshore_contract::AliasWrite {
            routing: longshore_contract::Routing::All("1".parse().unwrap()),
            expect: longshore_contract::Expect::Absent,
            note: longshore_contract::Note::default(),
        };
        let error = local.functions().route(&at, &write).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("never started"), "{error}");
        assert_eq!(local.place().region, NEVER_STARTED);
        assert!(!folder.path().join("cloud").exists(), "looking makes nothing");
    }

    #[test]
    fn a_cloud_of_a_newer_program_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("format"), "7\n").unwrap();
        let error = connect(&settings(folder.path(), Some("."))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("has format 7"), "{error}");
    }
}
