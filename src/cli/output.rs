//! Telling a report: the one place that writes to stdout.

use std::io::{self, IsTerminal as _, Write as _};

use super::args::{Color, Output, OutputArgs};
use crate::report::Report;
use crate::report::human::{self, Style};

/// The style for what goes to `stream`, from what was asked for and the conventions of terminals.
pub(super) fn style(args: &OutputArgs, stream: &impl io::IsTerminal) -> Style {
    let wanted = match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            stream.is_terminal()
                && !set("NO_COLOR")
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    if wanted { Style::Coloured } else { Style::Plain }
}

/// Writes the report to stdout, as asked. Errors go to stderr where people read, and nowhere else where programs do.
pub(super) fn tell(report: &Report, args: &OutputArgs) -> io::Result<()> {
    let text = match args.output {
        Output::Human => {
            complain(&human::errors(report, style(args, &io::stderr())));
            human::result(report, style(args, &io::stdout()))
        }
        Output::Json => report.to_pretty() + "\n",
        Output::Jsonl => report.to_line() + "\n",
    };
    raw(&text)
}

/// Writes text to stdout as it is. A reader that has gone away is no error of ours.
pub(super) fn raw(text: &str) -> io::Result<()> {
    match copy(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether stderr shows bars: a terminal, people reading.
pub(super) fn shows_bars(args: &OutputArgs) -> bool {
    args.output == Output::Human
        && io::stderr().is_terminal()
        && style(args, &io::stderr()) == Style::Coloured
}

/// Writes bytes to stdout as they are, and says whether somebody still reads.
pub(super) fn copy(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes text to stderr as it is.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
