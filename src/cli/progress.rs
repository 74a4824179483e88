//! What happens while a verb works: bars on a terminal, plain lines elsewhere, events on stdout for programs.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use longshore_contract::Digest;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::{Output, OutputArgs};
use super::output;
use crate::progress::{Event, Observer, UnitName};
use crate::push::BlobState;
use crate::report::human::{Style, bytes};

/// Starts the log on stderr: warnings, more with `-v`, or what `LONGSHORE_LOG` asks for.
pub(super) fn start_log(args: &OutputArgs) {
    let level = match args.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("LONGSHORE_LOG")
        .from_env_lossy();
    let coloured = output::style(args, &io::stderr()) == Style::Coloured;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(coloured)
        .without_time()
        .init();
}

/// Starts the log of a daemon: a file that is read long after, so with the time and without colours.
pub(super) fn start_daemon_log() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("LONGSHORE_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}

/// Who is told of events, by how the result is told.
pub(super) fn observer(args: &OutputArgs) -> Arc<dyn Observer> {
    match args.output {
        Output::Jsonl => Arc::new(Lines),
        Output::Json => Arc::new(Quiet),
        Output::Human if output::shows_bars(args) => Arc::new(Bars::default()),
        Output::Human => Arc::new(Plain::default()),
    }
}

/// Nobody is told.
struct Quiet;

impl Observer for Quiet {
    fn event(&self, _unit: &UnitName, _event: &Event) {}
}

/// An event per line on stdout.
struct Lines;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    at: Timestamp,
    #[serde(flatten)]
    unit: &'a UnitName,
}

impl Observer for Lines {
    fn event(&self, unit: &UnitName, event: &Event) {
        if let Ok(line) = serde_json::to_string(&Line { event, at: Timestamp::now(), unit }) {
            // The document at the end cannot be written then either, and says so.
            let _ = output::raw(&(line + "\n"));
        }
    }
}

/// What an event is to people, in one line; `None` for what is only for programs or comes too often.
fn sentence(event: &Event) -> Option<String> {
    match event {
        Event::Build { command } => Some(format!("build: {command}")),
        Event::CloudStarted { functions } => Some(format!("started the local cloud on {functions}")),
        Event::Image { digest, size } => Some(format!("image sha256:{} ({})", digest.short(), bytes(*size))),
        Event::Pushed { reference, bytes_sent: 0 } => {
            Some(format!("pushed {reference}: it was there already"))
        }
        Event::Pushed { reference, bytes_sent } => {
            Some(format!("pushed {reference} ({} sent)", bytes(*bytes_sent)))
        }
        Event::Publishing => Some("publishing a version".to_owned()),
        Event::Published { version } => Some(format!("version {version} can serve")),
        Event::Routed { routing } => Some(format!("traffic: {routing}")),
        Event::Note { message } => Some(message.clone()),
        Event::Blob { .. } | Event::Soaking { .. } | Event::Ledger { .. } => None,
    }
}

/// A line per event on stderr, as a CI log wants it.
#[derive(Default)]
struct Plain {
    /// Until when each function waits, so that a wait is told once.
    waiting: Mutex<HashMap<UnitName, Timestamp>>,
}

impl Observer for Plain {
    fn event(&self, unit: &UnitName, event: &Event) {
        if let Event::Soaking { until } = event {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.insert(unit.clone(), *until) != Some(*until) {
                output::complain(&format!("{unit}: waiting until {}\n", until.strftime("%H:%M:%SZ")));
            }
        } else if let Some(sentence) = sentence(event) {
            output::complain(&format!("{unit}: {sentence}\n"));
        }
    }
}

/// Bars on a terminal: one a blob that is being sent, one a function that waits; everything else is a line above them.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    blobs: Mutex<HashMap<Digest, ProgressBar>>,
    waits: Mutex<HashMap<UnitName, ProgressBar>>,
}

impl Bars {
    fn blob(&self, digest: &Digest, size: u64, sent: u64, state: BlobState) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            BlobState::Present | BlobState::Planned | BlobState::Mounted => {}
            BlobState::Sending | BlobState::Again => {
                let bar = blobs.entry(digest.clone()).or_insert_with(|| {
                    let template = "  {prefix} {bar:24} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta}";
                    let style = ProgressStyle::with_template(template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar());
                    self.all
                        .add(ProgressBar::new(size).with_style(style).with_prefix(digest.short().to_owned()))
                });
                bar.set_position(sent);
            }
            BlobState::Sent => {
                if let Some(bar) = blobs.remove(digest) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn wait(&self, unit: &UnitName, until: Timestamp) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = waits.entry(unit.clone()).or_insert_with(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = self.all.add(ProgressBar::new_spinner().with_style(style));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_message(format!(
            "{unit} waits until {}; Ctrl-C leaves traffic as it is",
            until.strftime("%H:%M:%SZ")
        ));
    }

    fn end_wait(&self, unit: &UnitName) {
        if let Some(bar) = self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(unit) {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Bars {
    fn event(&self, unit: &UnitName, event: &Event) {
        match event {
            Event::Blob { digest, size, sent, state } => self.blob(digest, *size, *sent, *state),
            Event::Soaking { until } => self.wait(unit, *until),
            Event::Ledger { .. } => self.end_wait(unit),
            event => {
                if let Some(sentence) = sentence(event) {
                    let _ = self.all.println(format!("{unit}: {sentence}"));
                }
            }
        }
    }
}
