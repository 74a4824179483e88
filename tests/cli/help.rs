//! What every verb says of itself.

use std::process::Command;

use crate::support::{LONGSHORE, Ran};

const VERBS: [&[&str]; 27] = [
    &[],
    &["init"],
    &["check"],
    &["plan"],
    &["deploy"],
    &["push"],
    &["scan"],
    &["status"],
    &["rollback"],
    &["resume"],
    &["promote"],
    &["abort"],
    &["history"],
    &["invoke"],
    &["image"],
    &["image", "inspect"],
    &["image", "shape"],
    &["cache"],
    &["cache", "show"],
    &["cache", "clear"],
    &["local"],
    &["local", "up"],
    &["local", "down"],
    &["local", "status"],
    &["local", "logs"],
    &["schema"],
    &["completions"],
];

/// The help of every verb, as it is kept beside this file. `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_help_of_every_verb_fits_a_screen_and_is_as_it_was() {
    for words in VERBS {
        let ran = Ran::of(Command::new(LONGSHORE).args(words).arg("--help").env("COLUMNS", "80"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        let name = if words.is_empty() { "longshore".to_owned() } else { words.join("-") };
        let lines = ran.stdout.lines().count();
        assert!(lines <= if words.is_empty() { 34 } else { 24 }, "{name} has {lines} lines");
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        let path = format!("{}/tests/cli/help/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &ran.stdout).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(ran.stdout, kept, "{path}: UPDATE_EXPECT=1 writes it anew");
    }
}

#[test]
fn every_verb_is_listed_and_known() {
    let ran = Ran::of(Command::new(LONGSHORE).arg("--help"));
    for verb in longshore::cli::args::Verb::WORDS {
        assert!(ran.stdout.contains(&format!("\n  {verb} ")), "{verb} is not in the help");
        let help = Ran::of(Command::new(LONGSHORE).args([verb, "--help"]));
        assert_eq!(help.code, 0, "{verb}");
    }
}

#[test]
fn the_version_is_told_at_once() {
    let quickest = (0..10)
        .map(|_| {
            let began = std::time::Instant::now();
            let ran = Ran::of(Command::new(LONGSHORE).arg("--version"));
            assert_eq!(ran.stdout, format!("longshore {}\n", env!("CARGO_PKG_VERSION")));
            began.elapsed()
        })
        .min()
        .unwrap();
    // The quickest of ten: what the program needs, not what else the machine was doing.
    assert!(quickest.as_millis() < 15, "{quickest:?}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = Ran::of(Command::new(LONGSHORE).args(["completions", shell]));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("rollback"), "{shell}");
    }
}
