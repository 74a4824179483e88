//! `local`: the embedded cloud's daemon.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use longshore_contract::{
    Embedded, EmbeddedStatus, Follow, InvalidName, LogsOf, Registration, RunId, Settings,
};

use super::super::args::{
    LocalArgs, LocalLogsArgs, LocalStateArgs, LocalVerb, ManifestArgs, Output, OutputArgs,
};
use super::super::session::{self, invalid};
use super::super::{Answer, output};
use crate::providers;
use crate::report::Body;
use crate::report::rows::{EmbeddedFacts, EndpointFacts, TrafficRow};

/// Runs the daemon in this process until it is told to end.
pub(super) fn serve(state: &Path) -> Result<Answer, Answer> {
    let (_, embedded) = embedded()?;
    embedded.serve(state).map(|()| Answer::Printed).map_err(Answer::of_cloud)
}

/// Starts, ends and shows the daemon.
pub(super) async fn local(args: &LocalArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let (registration, embedded) = embedded()?;
    let facts = match &args.verb {
        LocalVerb::Up(state) => {
            let mut facts = EmbeddedFacts::down();
            for settings in settings(registration, state)? {
                facts = facts_of(embedded.up(&settings).await.map_err(Answer::of_cloud)?);
            }
            facts
        }
        LocalVerb::Down(state) => {
            for settings in settings(registration, state)? {
                embedded.down(&settings).await.map_err(Answer::of_cloud)?;
            }
            EmbeddedFacts::down()
        }
        LocalVerb::Status(state) => {
            let settings = one(settings(registration, state)?)?;
            let status = embedded.status(&settings).await.map_err(Answer::of_cloud)?;
            status.map_or_else(EmbeddedFacts::down, facts_of)
        }
        LocalVerb::Logs(args) => return logs(registration, embedded, args, output).await,
        LocalVerb::Serve { .. } => return Err(invalid("serve runs alone")),
    };
    Ok(Answer::done(Body::Embedded(facts)))
}

async fn logs(
    registration: &Registration,
    embedded: &dyn Embedded,
    args: &LocalLogsArgs,
    output: &OutputArgs,
) -> Result<Answer, Answer> {
    let follow = match (args.follow, output.output) {
        (true, Output::Json) => {
            return Err(invalid("--follow has no end, so it has no document: take --output jsonl"));
        }
        (true, _) => Follow::Forever,
        (false, _) => Follow::ToEnd,
    };
    let settings = one(settings(registration, &args.state)?)?;
    let of =
        args.of.as_deref().map_or(Ok(LogsOf::Daemon), whose).map_err(|error| invalid(error.to_string()))?;
    let mut out = Lines { output: output.output, unfinished: Vec::new(), lines: Vec::new() };
    let copying = embedded.logs(&settings, &of, follow, &mut out);
    tokio::select! {
        result = copying => result.map_err(Answer::of_cloud)?,
        _ = tokio::signal::ctrl_c() => {}
    }
    match output.output {
        Output::Human => Ok(Answer::Printed),
        Output::Json | Output::Jsonl => Ok(Answer::done(Body::Log { lines: out.finish() })),
    }
}

fn whose(of: &str) -> Result<LogsOf, InvalidName> {
    Ok(match of.rsplit_once(':') {
        None => LogsOf::Function(of.parse()?),
        Some((name, version)) => LogsOf::Version(name.parse()?, version.parse()?),
    })
}

/// Takes a log as it comes: people see it at once, programs get an event per line, or all lines in the document.
struct Lines {
    output: Output,
    unfinished: Vec<u8>,
    lines: Vec<String>,
}

impl Lines {
    fn take(&mut self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        match self.output {
            Output::Jsonl => {
                output::copy(format!("{}\n", serde_json::json!({ "event": "log", "line": line })).as_bytes())
            }
            Output::Human | Output::Json => {
                self.lines.push(line);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        let last = std::mem::take(&mut self.unfinished);
        if !last.is_empty() {
            let _ = self.take(&last);
        }
        self.lines
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.output == Output::Human {
            output::copy(bytes)?;
            return Ok(bytes.len());
        }
        self.unfinished.extend_from_slice(bytes);
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            self.take(&line[..end])?;
        }
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

/// The settings of the clouds that are meant: a directory by name, or the manifest's targets, each directory once.
fn settings(registration: &Registration, args: &LocalStateArgs) -> Result<Vec<Settings>, Answer> {
    let here = std::env::current_dir().unwrap_or_else(|_| ".".into());
    if let Some(state) = &args.state {
        let values = BTreeMap::from([(registration.region_setting.to_owned(), session::shown(state).into())]);
        let target = session::shown(state);
        return Ok(vec![Settings { target, values, directory: here, ..Settings::default() }]);
    }
    let file = args.file.as_deref().unwrap_or(Path::new("deploy.yaml"));
    if args.file.is_none() && !file.exists() {
        // Without a manifest the cloud beside this directory is meant, as it would be beside a manifest here.
        return Ok(vec![Settings { target: "local".to_owned(), directory: here, ..Settings::default() }]);
    }
    let manifest = ManifestArgs { file: file.to_owned(), env: None, set: Vec::new(), only: Vec::new() };
    let deployment = session::read(&manifest, RunId::generate())?;
    let mut clouds: Vec<Settings> = Vec::new();
    for unit in deployment.units.into_iter().filter(|unit| unit.provider == registration.name) {
        let same = |known: &Settings| {
            known.values.get(registration.region_setting)
                == unit.settings.values.get(registration.region_setting)
        };
        if !clouds.iter().any(same) {
            clouds.push(unit.settings);
        }
    }
    if clouds.is_empty() {
        return Err(invalid(format!("{} has no {} target", file.display(), registration.name)));
    }
    Ok(clouds)
}

fn one(clouds: Vec<Settings>) -> Result<Settings, Answer> {
    let names: Vec<String> = clouds.iter().map(|settings| settings.target.clone()).collect();
    match <[Settings; 1]>::try_from(clouds) {
        Ok([settings]) => Ok(settings),
        Err(_) => Err(invalid(format!(
            "the manifest has several local clouds, {}: name one's directory with --state",
            names.join(", ")
        ))),
    }
}

fn facts_of(status: EmbeddedStatus) -> EmbeddedFacts {
    let rows = status.traffic.into_iter().map(|row| TrafficRow {
        function: row.function.to_string(),
        version: row.version.to_string(),
        instances: row.instances,
        invocations: row.invocations,
        errors: row.errors,
        throttles: row.throttles,
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
