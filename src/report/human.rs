//! A report as text for people: readable without colour, no full stop after an id.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use longshore_contract::Version;

use super::rows::{
    CheckRow, EmbeddedFacts, FunctionRow, HistoryRow, InvocationFacts, PushRow, RoutingFacts, ScanFacts,
    ScanRow,
};
use super::{Body, Fault, Outcome, Report, cache, pictures};
use crate::ledger::{FindingCounts, RunSummary, ScanWaiver};

/// Whether text may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Colours are fine.
    Coloured,
    /// Plain text only.
    Plain,
}

/// What went wrong, for stderr; empty when nothing did.
pub fn errors(report: &Report, style: Style) -> String {
    let mut out = String::new();
    for fault in &report.errors {
        error(&mut out, fault, style);
    }
    out
}

fn error(out: &mut String, fault: &Fault, style: Style) {
    let (label, hint) = (paint("error", "1;31", style), paint("hint", "1;36", style));
    let _ = writeln!(out, "{label}: {}", fault.message);
    if let Some(text) = &fault.hint {
        let _ = writeln!(out, "{hint}: {text}");
    }
}

fn paint(text: &str, code: &str, style: Style) -> String {
    match style {
        Style::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        Style::Plain => text.to_owned(),
    }
}

/// What the command brings, for stdout.
pub fn result(report: &Report, style: Style) -> String {
    match &report.body {
        // Where a verb did not come to make rows, its errors have said why.
        Body::Empty => String::new(),
        Body::Functions { functions, .. } if functions.is_empty() => String::new(),
        Body::History { runs } if runs.is_empty() && !report.errors.is_empty() => String::new(),
        Body::Functions { functions, .. } if report.command == "status" => status(functions),
        Body::Functions { functions, .. } => functions.iter().map(|row| function(row, style)).collect(),
        Body::Images { images, .. } => images.iter().map(|row| push(row, style)).collect(),
        Body::Scans { images } => images.iter().map(|row| scanned(row, style)).collect(),
        Body::History { runs } => history(runs),
        Body::Invocation(facts) => invocation(facts),
        Body::Embedded(_) if report.command == "local down" => "the local cloud is down\n".to_owned(),
        Body::Embedded(facts) => embedded(facts),
        Body::Log { lines } => lines.iter().map(|line| format!("{line}\n")).collect(),
        Body::Findings { checks } => checks.iter().map(|row| check(row, style)).collect(),
        Body::Picture { image } => pictures::picture(image),
        Body::Shape(facts) => pictures::shape(facts),
        Body::Cache { cache: facts } => cache::cache(facts),
        Body::Written { file } => format!("wrote {file}\n"),
    }
}

fn outcome(outcome: Outcome, style: Style) -> String {
    let code = match outcome.exit_code() {
        0 => "1;32",
        5 => "1;33",
        _ => "1;31",
    };
    paint(outcome.word(), code, style)
}

fn function(row: &FunctionRow, style: Style) -> String {
    let mut out = format!("{}@{} {}", row.function, row.target, outcome(row.outcome, style));
    let planned = row.outcome == Outcome::Planned;
    let versions = match (&row.from, &row.to) {
        (Some(from), Some(to)) if from != to => format!("  version {from} -> {to}"),
        (None, Some(to)) | (Some(_), Some(to)) => format!("  version {to}"),
        (Some(from), None) if planned => format!("  version {from} -> a new one"),
        (None, None) if planned => "  a first version".to_owned(),
        (Some(from), None) => format!("  version {from} is live"),
        (None, None) => String::new(),
    };
    out.push_str(&versions);
    // The digest is the new version's: beside one that is merely live it would mislead.
    if let Some(image) = row.image.as_ref().filter(|_| planned || row.to.is_some()) {
        let _ = write!(out, "  {}", short_digest(&image.digest));
    }
    out.push('\n');
    for change in row.image.iter().flat_map(|image| &image.changed) {
        let _ = writeln!(out, "  image: {} ({})", change.what, change.why);
    }
    if let Some(routing) = row.routing.as_ref().filter(|routing| routing.canary.is_some()) {
        let _ = writeln!(out, "  traffic: {}", routing_text(routing));
    }
    for step in &row.steps {
        let soak = if step.soak_s > 0 { format!(", then {}s of soak", step.soak_s) } else { String::new() };
        let _ = writeln!(out, "  step: {} to the new version{soak}", percent(step.share));
    }
    for note in &row.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    if let Some(scan) = &row.scan {
        let _ = writeln!(out, "  scan: {}", verdict(scan));
    }
    if let Some(url) = &row.url {
        let _ = writeln!(out, "  {url}");
    }
    out
}

fn verdict(scan: &ScanFacts) -> String {
    match scan.verdict {
        word @ "absent" => word.to_owned(),
        word if scan.findings == FindingCounts::default() && scan.worst.is_empty() => word.to_owned(),
        word => format!("{word} ({})", scan.findings),
    }
}

fn scanned(row: &ScanRow, style: Style) -> String {
    let mut out = format!("{}@{}", row.function, row.target);
    if let Some(version) = &row.version {
        let _ = write!(out, " version {version}");
    }
    let _ = write!(out, " {}", outcome(row.outcome, style));
    if let Some(image) = &row.image {
        let _ = write!(out, "  {}", short_digest(&image.digest));
    }
    out.push('\n');
    if let Some(scan) = &row.scan {
        let _ = writeln!(out, "  scan: {}", verdict(scan));
    }
    for note in &row.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

fn push(row: &PushRow, style: Style) -> String {
    let mut out = format!("{} {}", row.destination, outcome(row.outcome, style));
    if let Some(image) = &row.image {
        let _ = write!(out, "  {}", image.reference.as_ref().unwrap_or(&image.digest));
        let blobs = row.blobs;
        let _ = write!(
            out,
            "\n  blobs: {} sent, {}{} there already, {}",
            blobs.sent,
            if blobs.mounted > 0 { format!("{} taken over, ", blobs.mounted) } else { String::new() },
            blobs.present,
            bytes(row.bytes_sent)
        );
        if let Some(replaced) = &row.replaced {
            let _ = write!(out, "\n  the tag named {} before", short_digest(replaced));
        }
        for change in &image.changed {
            let _ = write!(out, "\n  image: {} ({})", change.what, change.why);
        }
    }
    out.push('\n');
    out
}

fn status(rows: &[FunctionRow]) -> String {
    let mut table = table(&["FUNCTION", "TARGET", "ALIAS", "TRAFFIC", "IMAGE", "RUN"]);
    for row in rows {
        table.add_row([
            row.function.clone(),
            row.target.clone(),
            row.alias.clone(),
            match (&row.routing, &row.error) {
                (Some(routing), _) => routing_text(routing),
                (None, Some(_)) => "unknown, see below".to_owned(),
                (None, None) => "not deployed".to_owned(),
            },
            row.image.as_ref().map_or_else(String::new, |image| short_digest(&image.digest)),
            row.open.as_ref().map_or_else(String::new, |open| {
                let by = open.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                format!("{} {}{by}", open.run, open.outcome)
            }),
        ]);
    }
    let mut out = format!("{table}\n");
    for row in rows {
        for line in row.notes.iter().cloned().chain(row.url.clone()) {
            let _ = writeln!(out, "{}@{}: {line}", row.function, row.target);
        }
    }
    out
}

fn history(rows: &[HistoryRow]) -> String {
    if rows.is_empty() {
        return "no run yet\n".to_owned();
    }
    // Which alias it was is said only where there are several: the line is long enough.
    let several = rows.iter().any(|row| (&row.function, &row.alias) != (&rows[0].function, &rows[0].alias));
    let mut header = vec!["RUN", "WHEN", "VERB", "OUTCOME", "VERSIONS", "BY", "MESSAGE"];
    if several {
        header.insert(2, "FUNCTION");
    }
    let mut table = table(&header);
    for HistoryRow { function, run, .. } in rows {
        let version = |version: &Option<Version>, none: &str| {
            version.as_ref().map_or_else(|| none.to_owned(), ToString::to_string)
        };
        let undoes = run.undoes.map_or_else(String::new, |run| format!("undoes {run}"));
        let mut cells = vec![
            run.run.to_string(),
            run.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            run.verb.word().to_owned(),
            run.state.word().to_owned(),
            format!("{} -> {}", version(&run.from, "none"), version(&run.to, "?")),
            run.by.clone(),
            run.message.clone().or_else(|| waived(run)).unwrap_or(undoes),
        ];
        if several {
            cells.insert(2, function.clone());
        }
        table.add_row(cells);
    }
    format!("{table}\n")
}

/// Who let an image pass that the scan policy refused.
fn waived(run: &RunSummary) -> Option<String> {
    let ScanWaiver { by, reason } = run.scan.as_ref()?.waiver.as_ref()?;
    Some(format!("scan waived by {by}: {reason}"))
}

fn invocation(facts: &InvocationFacts) -> String {
    let mut out = match &facts.payload {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn embedded(facts: &EmbeddedFacts) -> String {
    let Some(endpoints) = &facts.endpoints else { return "the local cloud does not run\n".to_owned() };
    let mut out = String::new();
    let _ = writeln!(out, "registry   {}", endpoints.registry);
    let _ = writeln!(out, "functions  {}", endpoints.functions);
    if let (Some(state), Some(pid)) = (&facts.state, facts.pid) {
        let _ = writeln!(out, "state      {state} (process {pid})");
    }
    if !facts.versions.is_empty() {
        let mut table =
            table(&["FUNCTION", "VERSION", "INSTANCES", "INVOCATIONS", "ERRORS", "THROTTLES", "P50", "P95"]);
        for row in &facts.versions {
            let latency =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
            table.add_row([
                row.function.clone(),
                row.version.clone(),
                row.instances.to_string(),
                row.invocations.to_string(),
                row.errors.to_string(),
                row.throttles.to_string(),
                latency(row.p50_ms),
                latency(row.p95_ms),
            ]);
        }
        let _ = writeln!(out, "\n{table}");
    }
    out
}

fn check(row: &CheckRow, style: Style) -> String {
    let mut out = format!("{}@{} {}\n", row.function, row.target, outcome(row.outcome, style));
    for finding in &row.findings {
        let _ = writeln!(out, "  {}: {}", finding.severity, finding.message);
        if let Some(hint) = &finding.hint {
            let _ = writeln!(out, "    {hint}");
        }
    }
    out
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn routing_text(routing: &RoutingFacts) -> String {
    match &routing.canary {
        Some(canary) => format!("{} to {canary}, the rest to {}", percent(routing.share), routing.stable),
        None => format!("all to {}", routing.stable),
    }
}

/// A share from 0 to 1 as a percentage with as many decimals as it needs, two at the most.
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// A number of bytes in the unit that people read.
pub fn bytes(count: u64) -> String {
    let unit = |shift: u32, word: &str| format!("{:.1} {word}", count as f64 / f64::from(1u32 << shift));
    match count {
        0..0x400 => format!("{count} bytes"),
        0x400..0x10_0000 => unit(10, "KiB"),
        0x10_0000..0x4000_0000 => unit(20, "MiB"),
        _ => unit(30, "GiB"),
    }
}
