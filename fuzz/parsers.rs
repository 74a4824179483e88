//! One program for all targets: `LONGSHORE_FUZZ_TARGET` says which. Without it, it lists them.
#![no_main]

use std::sync::OnceLock;

type Run = fn(&[u8]);

static RUN: OnceLock<Run> = OnceLock::new();

fn all() -> impl Iterator<Item = &'static (&'static str, Run)> {
    longshore::fuzzing::TARGETS.iter().chain(longshore_local::fuzzing::TARGETS)
}

libfuzzer_sys::fuzz_target!(
    init: {
        let asked = std::env::var("LONGSHORE_FUZZ_TARGET").unwrap_or_default();
        match all().find(|(name, _)| *name == asked) {
            Some((_, run)) => RUN.set(*run).expect("this runs once"),
            None => {
                all().for_each(|(name, _)| println!("{name}"));
                std::process::exit(if asked.is_empty() { 0 } else { 2 });
            }
        }
    },
    |data: &[u8]| RUN.get().expect("init ran")(data)
);
