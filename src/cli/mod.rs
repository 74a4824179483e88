//! The command line: it translates words into calls and what came of them into text and an exit code, and decides
//! nothing.

pub mod args;
mod clouds;
mod exit;
mod faults;
mod hints;
mod home;
mod kept;
mod output;
mod progress;
mod rows;
mod session;
mod subject;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::manifest::Mistakes;
use crate::report::{Body, CallCounts, Fault, Outcome, Report};
use args::{Cli, Color, Output, OutputArgs, Verb};

/// What a verb came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A report.
    Report(Box<Told>),
    /// A manifest with mistakes: people see each with its line, programs get them as errors.
    Mistakes(Mistakes),
    /// Text to be printed as it is.
    Raw(String),
    /// Everything was printed already.
    Printed,
}

/// A report as far as a verb knows it.
#[derive(Debug)]
pub(crate) struct Told {
    outcome: Outcome,
    errors: Vec<Fault>,
    body: Body,
}

impl Answer {
    /// An answer that ended so, with these faults and this beside it.
    pub(crate) fn told(outcome: Outcome, errors: Vec<Fault>, body: Body) -> Self {
        Self::Report(Box::new(Told { outcome, errors, body }))
    }

    /// An answer of a verb that did what it is for.
    pub(crate) fn done(body: Body) -> Self {
        Self::told(Outcome::Done, Vec::new(), body)
    }

    /// An answer of a verb that could not do what it is for.
    pub(crate) fn failed(outcome: Outcome, errors: Vec<Fault>) -> Self {
        Self::told(outcome, errors, Body::Empty)
    }
}

/// Parses the words, runs the verb, tells what came of it and returns the exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let began = Instant::now();
    let words: Vec<OsString> = words.into_iter().collect();
    let parsed =
        Cli::command().try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => {
            match cli.verb.runs_as_daemon() {
                false => progress::start_log(&cli.output),
                true => progress::start_daemon_log(),
            }
            let command = cli.verb.word();
            let answer = verbs::run(cli.verb, &cli.output);
            finish(command, answer, began, &cli.output)
        }
        Err(error) if !error.use_stderr() => written(output::raw(&error.render().to_string()), Outcome::Done),
        Err(error) => {
            let output = output_of(&words);
            let answer = match output.output {
                // clap's own rendering has colours and the usage line; programs get the same as a document.
                Output::Human => {
                    output::complain(&error.render().to_string());
                    Answer::failed(Outcome::Invalid, Vec::new())
                }
                Output::Json | Output::Jsonl => Answer::failed(Outcome::Invalid, vec![usage_fault(&error)]),
            };
            finish(command_of(&words), answer, began, &output)
        }
    }
}

fn finish(command: &'static str, answer: Answer, began: Instant, args: &OutputArgs) -> ExitCode {
    let (outcome, errors, body) = match answer {
        Answer::Report(told) => (told.outcome, told.errors, told.body),
        Answer::Mistakes(mistakes) => match args.output {
            Output::Human => {
                output::complain(&format!("{mistakes}\n"));
                (Outcome::Invalid, Vec::new(), Body::Empty)
            }
            Output::Json | Output::Jsonl => {
                (Outcome::Invalid, mistakes.iter().map(faults::of_mistake).collect(), Body::Empty)
            }
        },
        Answer::Raw(text) => {
            return written(output::raw(&text), Outcome::Done);
        }
        Answer::Printed => return ExitCode::SUCCESS,
    };
    let body = match body {
        Body::Empty => empty(command),
        body => body,
    };
    written(output::tell(&Report { command, outcome, elapsed: began.elapsed(), errors, body }, args), outcome)
}

/// What a verb's document has where the verb did not come to make any of it: a program finds its lists there all the same.
fn empty(command: &str) -> Body {
    match command {
        "deploy" | "rollback" | "resume" | "promote" | "abort" | "plan" | "status" => {
            Body::Functions { run: None, functions: Vec::new() }
        }
        "push" => Body::Images { images: Vec::new(), source_calls: CallCounts::default() },
        "scan" => Body::Scans { images: Vec::new() },
        "history" => Body::History { runs: Vec::new() },
        "check" => Body::Findings { checks: Vec::new() },
        _ => Body::Empty,
    }
}

/// The exit code of `outcome`, unless its result could not be written: then nobody knows it.
fn written(result: std::io::Result<()>, outcome: Outcome) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            output::complain(&format!("error: the result ({}) cannot be written: {error}\n", outcome.word()));
            ExitCode::from(Outcome::Failed.exit_code())
        }
    }
}

/// The message of a usage error without clap's prefix, usage line and colours.
fn usage_fault(error: &clap::Error) -> Fault {
    let text = error.to_string();
    let message = text.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    // clap's list names hidden verbs too; the help does not.
    let message = message.split(" [subcommands:").next().unwrap_or_default();
    Fault {
        kind: "usage".to_owned(),
        message: message.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" "),
        hint: Some("`longshore VERB --help` shows what a verb takes".to_owned()),
        at: None,
    }
}

/// How the result was asked to be told, out of words that did not parse: programs get their document even then.
fn output_of(words: &[OsString]) -> OutputArgs {
    let text: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let flags = text.iter().zip(text.iter().skip(1).map(Some).chain([None]));
    let stated = flags.filter_map(|(word, next)| match word.strip_prefix("--output") {
        Some("") => next.cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let stated = stated.last().or_else(|| std::env::var("LONGSHORE_OUTPUT").ok());
    let output = match stated.as_deref() {
        Some("json") => Output::Json,
        Some("jsonl") => Output::Jsonl,
        _ => Output::Human,
    };
    OutputArgs { output, color: Color::Auto, verbose: 0 }
}

/// The verb out of words that did not parse, or the program's own name.
fn command_of(words: &[OsString]) -> &'static str {
    let command = Cli::command();
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let stated = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy())
        .find(|word| verbs.iter().any(|verb| verb == word));
    stated.and_then(|word| Verb::WORDS.iter().find(|known| **known == word).copied()).unwrap_or("longshore")
}
