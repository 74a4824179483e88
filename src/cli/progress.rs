//! What happens while a verb works: bars on a terminal, plain lines elsewhere, events on stdout for programs.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use longshore_contract::Digest;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::{Output, OutputArgs};
use super::output;
use crate::ledger::FindingCounts;
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
        Event::Scanning { reference } => Some(format!("waiting for the scan of {reference}")),
        // Only what was scanned can be without findings.
        Event::Scanned { verdict, findings }
            if *verdict != "cleared" && *findings == FindingCounts::default() =>
        {
            Some(format!("scan: {verdict} (no scan)"))
        }
        Event::Scanned { verdict, findings } => Some(format!("scan: {verdict} ({findings})")),
        Event::Publishing => Some("publishing a version".to_owned()),
        Event::Published { version } => Some(format!("version {version} can serve")),
        Event::Routed { routing } => Some(format!("traffic: {routing}")),
        Event::Note { message } => Some(message.clone()),
        Event::Blob { .. } | Event::Soaking { .. } | Event::Ledger { .. } => None,
    }
}

/// A line per event on stderr, as a CI log wants it; of a blob that takes long, a line now and then.
#[derive(Default)]
struct Plain {
    blobs: Mutex<HashMap<(UnitName, Digest), OnItsWay>>,
    /// Until when each function waits, so that a wait is told once.
    waiting: Mutex<HashMap<UnitName, Timestamp>>,
}

/// A blob that is being sent, as far as a log needs it.
struct OnItsWay {
    began: Instant,
    told: Instant,
}

/// How often a log is told of a blob that is being sent.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

impl Plain {
    /// What a log says of the blob at `now`, if anything.
    fn of_blob(
        &self,
        key: (UnitName, Digest),
        size: u64,
        sent: u64,
        state: BlobState,
        now: Instant,
    ) -> Option<String> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let name = key.1.short().to_owned();
        match state {
            BlobState::Present | BlobState::Planned | BlobState::Mounted => None,
            BlobState::Sending => {
                let blob = blobs.entry(key).or_insert(OnItsWay { began: now, told: now });
                if now.duration_since(blob.told) < NOW_AND_THEN {
                    return None;
                }
                blob.told = now;
                Some(format!("blob {name}: {}", pace(size, sent, now.duration_since(blob.began))))
            }
            BlobState::Again => {
                blobs.insert(key, OnItsWay { began: now, told: now });
                Some(format!("blob {name}: it did not go through and begins again"))
            }
            BlobState::Sent => {
                let took = now.duration_since(blobs.remove(&key)?.began);
                let rate = per_second(size, took)?;
                (took >= NOW_AND_THEN)
                    .then(|| format!("blob {name}: {} sent in {} s, {rate}", bytes(size), took.as_secs()))
            }
        }
    }
}

/// How far something is, how fast, and how long it will take if it goes on like that.
fn pace(size: u64, sent: u64, elapsed: Duration) -> String {
    let percent = u128::from(sent) * 100 / u128::from(size.max(1));
    let part = format!("{percent} % of {}", bytes(size));
    let Some(rate) = per_second(sent, elapsed) else { return part };
    let left = elapsed.as_millis() * u128::from(size.saturating_sub(sent)) / u128::from(sent.max(1));
    format!("{part}, {rate}, {} s left", left.div_ceil(1000))
}

/// A rate; `None` where nothing has moved or no time has passed.
fn per_second(count: u64, elapsed: Duration) -> Option<String> {
    let rate = (u128::from(count) * 1000).checked_div(elapsed.as_millis()).filter(|rate| *rate > 0)?;
    Some(format!("{}/s", bytes(u64::try_from(rate).ok()?)))
}

impl Observer for Plain {
    fn event(&self, unit: &UnitName, event: &Event) {
        if let Event::Blob { digest, size, sent, state } = event {
            let key = (unit.clone(), digest.clone());
            if let Some(line) = self.of_blob(key, *size, *sent, *state, Instant::now()) {
                output::complain(&format!("{unit}: {line}\n"));
            }
        } else if let Event::Soaking { until } = event {
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
    /// By where they go, too: several destinations may get the same blob at the same time.
    blobs: Mutex<HashMap<(UnitName, Digest), ProgressBar>>,
    waits: Mutex<HashMap<UnitName, ProgressBar>>,
}

impl Bars {
    fn blob(&self, unit: &UnitName, digest: &Digest, size: u64, sent: u64, state: BlobState) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (unit.clone(), digest.clone());
        match state {
            BlobState::Planned => {}
            BlobState::Sending | BlobState::Again => {
                let bar = blobs.entry(key).or_insert_with(|| {
                    let template =
                        "  {prefix} {bar:24} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta} left";
                    let style = ProgressStyle::with_template(template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar());
                    self.all
                        .add(ProgressBar::new(size).with_style(style).with_prefix(digest.short().to_owned()))
                });
                bar.set_position(sent);
            }
            BlobState::Sent | BlobState::Mounted | BlobState::Present => {
                if let Some(bar) = blobs.remove(&key) {
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
            Event::Blob { digest, size, sent, state } => self.blob(unit, digest, *size, *sent, *state),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_says_how_far_how_fast_and_how_long_yet() {
        let pace = |size, sent, seconds| pace(size, sent, Duration::from_secs(seconds));
        assert_eq!(pace(100 << 20, 25 << 20, 5), "25 % of 100.0 MiB, 5.0 MiB/s, 15 s left");
        assert_eq!(pace(100 << 20, 100 << 20, 5), "100 % of 100.0 MiB, 20.0 MiB/s, 0 s left");
        assert_eq!(pace(100 << 20, 0, 5), "0 % of 100.0 MiB");
        assert_eq!(pace(100 << 20, 10, 0), "0 % of 100.0 MiB");
    }

    #[test]
    fn a_log_is_told_of_a_long_blob_now_and_then_and_of_a_short_one_never() {
        let plain = Plain::default();
        let began = Instant::now();
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let unit = UnitName { function: "shop".to_owned(), target: String::new() };
        let say = |seconds: u64, sent: u64, state| {
            let now = began + Duration::from_secs(seconds);
            plain.of_blob((unit.clone(), digest.clone()), 200 << 20, sent << 20, state, now)
        };
        assert_eq!(say(0, 0, BlobState::Sending), None);
        assert_eq!(say(9, 90, BlobState::Sending), None);
        assert_eq!(
            say(10, 100, BlobState::Sending).unwrap(),
            "blob abababababab: 50 % of 200.0 MiB, 10.0 MiB/s, 10 s left"
        );
        assert_eq!(say(11, 110, BlobState::Sending), None);
        assert!(say(12, 0, BlobState::Again).unwrap().ends_with("begins again"));
        assert!(say(22, 50, BlobState::Sending).unwrap().contains("25 %"));
        assert_eq!(
            say(32, 200, BlobState::Sent).unwrap(),
            "blob abababababab: 200.0 MiB sent in 20 s, 10.0 MiB/s"
        );
        // Nothing of it is kept.
        assert_eq!(say(33, 200, BlobState::Sent), None);
        assert_eq!((say(40, 0, BlobState::Sending), say(41, 200, BlobState::Sent)), (None, None));
    }
}
