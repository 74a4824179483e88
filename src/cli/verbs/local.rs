//! `local`: the embedded cloud's daemon.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use longshore_contract::{Embedded, EmbeddedStatus, Follow, LogsOf, Registration, RunId, Settings};

use super::super::args::{LocalArgs, LocalLogsArgs, LocalStateArgs, LocalVerb, ManifestArgs};
use super::super::session::{self, invalid};
use super::super::{Answer, output};
use crate::providers;
use crate::report::Body;
use crate::report::rows::{EmbeddedFacts, EndpointFacts, TrafficRow};

/// Runs the daemon in this process until it is told to end.
pub(super) fn serve(state: &Path) -> Result<Answer, Answer> {
    let (_, embedded) = embedded()?;
    embedded.serve(state).map(|()| Answer::Printed).map_err(|error| Answer::of_cloud(error))
}

/// Starts, ends and shows the daemon.
pub(super) async fn local(args: &LocalArgs) -> Result<Answer, Answer> {
    let (registration, embedded) = embedded()?;
    let failed = |error| Answer::of_cloud(error);
    let facts = match &args.verb {
        LocalVerb::Up(state) => {
            let settings = settings(registration, state)?;
            Some(embedded.up(&settings).await.map_err(failed)?)
        }
        LocalVerb::Down(state) => {
            let settings = settings(registration, state)?;
            embedded.down(&settings).await.map_err(failed)?;
            None
        }
        LocalVerb::Status(state) => {
            let settings = settings(registration, state)?;
            embedded.status(&settings).await.map_err(failed)?
        }
        LocalVerb::Logs(args) => return logs(registration, embedded, args).await,
        LocalVerb::Serve { .. } => return Err(invalid("serve runs alone")),
    };
    Ok(Answer::done(Body::Embedded(facts.map_or_else(EmbeddedFacts::down, facts_of))))
}

async fn logs(
    registration: &Registration,
    embedded: &dyn Embedded,
    args: &LocalLogsArgs,
) -> Result<Answer, Answer> {
    let settings = settings(registration, &args.state)?;
    let of = match args
        .of
        .as_deref()
        .map(|of| of.rsplit_once(':').map_or((of, None), |(name, version)| (name, Some(version))))
    {
        None => LogsOf::Daemon,
        Some((name, version)) => {
            let name =
                name.parse().map_err(|error: longshore_contract::InvalidName| invalid(error.to_string()))?;
            match version {
                None => LogsOf::Function(name),
                Some(version) => LogsOf::Version(
                    name,
                    version
                        .parse()
                        .map_err(|error: longshore_contract::InvalidName| invalid(error.to_string()))?,
                ),
            }
        }
    };
    let follow = if args.follow { Follow::Forever } else { Follow::ToEnd };
    let mut out = Stdout;
    let copying = embedded.logs(&settings, &of, follow, &mut out);
    tokio::select! {
        result = copying => result.map_err(|error| Answer::of_cloud(error))?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Answer::Printed)
}

/// Writes through the one place that writes to stdout.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::copy(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn embedded() -> Result<(&'static Registration, &'static dyn Embedded), Answer> {
    let found = providers::registrations()
        .iter()
        .find_map(|registration| Some((registration, registration.embedded?)));
    found.ok_or_else(|| invalid("this longshore was built without an embedded cloud"))
}

/// The settings of the cloud that is meant: a directory by name, or the manifest's target.
fn settings(registration: &Registration, args: &LocalStateArgs) -> Result<Settings, Answer> {
    let here = std::env::current_dir().unwrap_or_else(|_| ".".into());
    if let Some(state) = &args.state {
        let values = BTreeMap::from([(registration.region_setting.to_owned(), session::shown(state).into())]);
        return Ok(Settings {
            target: session::shown(state),
            values,
            directory: here,
            ..Settings::default()
        });
    }
    let file = args.file.as_deref().unwrap_or(Path::new("deploy.yaml"));
    if args.file.is_none() && !file.exists() {
        // Without a manifest the cloud beside this directory is meant, as it would be beside a manifest here.
        return Ok(Settings { target: "local".to_owned(), directory: here, ..Settings::default() });
    }
    let manifest = ManifestArgs { file: file.to_owned(), env: None, set: Vec::new(), only: Vec::new() };
    let deployment = session::read(&manifest, RunId::generate())?;
    let unit = deployment.units.into_iter().find(|unit| unit.provider == registration.name);
    unit.map(|unit| unit.settings)
        .ok_or_else(|| invalid(format!("{} has no {} target", file.display(), registration.name)))
}

fn facts_of(status: EmbeddedStatus) -> EmbeddedFacts {
    let rows = status.traffic.into_iter().map(|row| TrafficRow {
        function: row.function.to_string(),
        version: row.version.to_string(),
        instances: row.instances,
        invocations: row.invocations,
        errors: row.errors,
        p50_ms: row.p50_ms,
        p95_ms: row.p95_ms,
    });
    EmbeddedFacts {
        running: true,
        state: Some(session::shown(&status.directory)),
        pid: Some(status.pid),
        endpoints: Some(EndpointFacts {
            registry: format!("http://{}", status.registry),
            functions: format!("http://{}", status.functions),
        }),
        versions: rows.collect(),
    }
}
