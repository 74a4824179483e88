//! `schema` and `completions`: text that is printed as it is.

use clap::CommandFactory as _;

use super::super::Answer;
use super::super::args::Cli;
use crate::manifest::{self, KnownProvider};
use crate::providers;

/// The manifest's JSON schema.
pub(super) fn schema() -> Answer {
    let known: Vec<KnownProvider> = providers::registrations().iter().map(KnownProvider::from).collect();
    let schema = manifest::json_schema(&known);
    Answer::Raw(format!("{schema:#}\n"))
}

/// Completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> Answer {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "longshore", &mut text);
    Answer::Raw(String::from_utf8_lossy(&text).into_owned())
}
