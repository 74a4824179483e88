//! Every parser of foreign bytes in this crate as a function of bytes, for `fuzz/`. No part of the interface.
//!
//! What a module keeps to itself it opens here through a file `fuzzing.rs` of its own. A target takes any bytes, soon, and
//! fails by panicking: a refusal is an answer, and what is accepted must be what was said. The test beneath replays
//! `fuzz/corpus` in the normal suite.

use std::ffi::OsString;
use std::path::Path;
use std::sync::LazyLock;

use longshore_contract::{Note, Platform, Reference, Repository, RunId, SettingKey, SettingKind};
use tokio::runtime::Runtime;

use crate::cache::{self, Cache};
use crate::ledger::{Entry, History, Recalled};
use crate::manifest::{self, Facts, GitFact, KnownProvider};
use crate::shape::{Attestations, Order, Shaper};
use crate::shift::Rollout;
use crate::{image, providers, push, registry};

/// A parser, by the name of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("image-manifest", image::fuzzing::manifest),
    ("image-config", image::fuzzing::config),
    ("image-tar", image::fuzzing::tar),
    ("image-archive", image::fuzzing::archive),
    ("image-layout", image::fuzzing::layout),
    ("image-source", image::fuzzing::source),
    ("image-mirrors", image::fuzzing::mirrors),
    ("image-engine", image::fuzzing::engine_answer),
    ("image-pull-limit", image::fuzzing::pull_limit),
    ("cache-entry", cache::fuzzing::entry),
    ("shape", shape),
    ("registry-challenge", registry::fuzzing::challenge),
    ("registry-token", registry::fuzzing::token),
    ("registry-claims", registry::fuzzing::claims),
    ("push-location", push::fuzzing::location),
    ("registry-refusal", registry::fuzzing::refusal),
    ("registry-logins", registry::fuzzing::logins),
    ("registry-helper", registry::fuzzing::helper),
    ("reference", reference),
    ("description", description),
    ("manifest", deploy_manifest),
    ("ledger", ledger),
];

/// The name of an image in a registry: what is read is written in one way, and read again as the same.
fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().as_ref(), Ok(&reference));
    }
    if let Ok(repository) = text.parse::<Repository>() {
        assert!(!repository.path().split('/').any(|part| matches!(part, "" | "." | "..")));
        assert_eq!(repository.to_string().parse::<Repository>().as_ref(), Ok(&repository));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform));
    }
}

/// An alias's description as a cloud gives it back: whatever fits a limit keeps to it, and a breadcrumb survives.
fn description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let note = Note::parse(text);
    for limit in [0, 1, 64, 256, 1024] {
        assert!(note.render(limit).len() <= limit);
    }
    if note.breadcrumb.is_some() {
        assert_eq!(Note::parse(&note.render(usize::MAX)), note);
    }
}

/// An image (as for `image-layout`), in every shape there is: a digest is its bytes', what did not change keeps them, and
/// shaping twice is shaping once.
fn shape(bytes: &[u8]) {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let Some(image) = image::fuzzing::image(bytes) else { return };
    let shaper = Shaper::new(Cache::nowhere());
    for (profile, platform) in
        providers::profiles().iter().zip([None, Some("linux/amd64")].into_iter().cycle())
    {
        let platform = platform.map(|platform| platform.parse().expect("a platform"));
        for attestations in [Attestations::Drop, Attestations::Keep] {
            let order = Order { profile, platform: platform.clone(), attestations };
            let Ok(shaped) = RUNTIME.block_on(shaper.shape(image.clone(), &order)) else { continue };
            assert_eq!(image::digest_of(&shaped.image.manifest), shaped.image.digest);
            assert!(shaped.image.digest == image.digest || !shaped.image.changed.is_empty());
            let again = RUNTIME.block_on(shaper.shape(shaped.image.clone(), &order)).expect("it was taken");
            assert_eq!(again.image.digest, shaped.image.digest, "{}", profile.name);
        }
    }
}

/// A deploy manifest.
fn deploy_manifest(bytes: &[u8]) {
    const PROVIDERS: &[KnownProvider] = &[KnownProvider {
        name: "local",
        summary: "a cloud in a directory",
        settings: &[SettingKey {
            name: "state",
            doc: "The directory.",
            kind: SettingKind::Path,
            example: ".longshore/local",
        }],
    }];
    let run: RunId = "01J0000000000000000000000Q".parse().expect("a run");
    let read = manifest::read(&manifest::Request {
        file: Path::new("deploy.yaml"),
        content: Some(bytes),
        environment: Some("prod"),
        set: &[],
        only: &[],
        facts: &Nothing,
        run: &run,
        providers: PROVIDERS,
    });
    if let Err(mistakes) = read {
        let told = mistakes.to_string();
        assert!(!told.is_empty() && told.len() < 300_000, "{} bytes of mistakes", told.len());
    }
}

struct Nothing;

impl Facts for Nothing {
    fn variable(&self, name: &str) -> Option<OsString> {
        (name == "SET").then(|| "value".into())
    }

    fn git(&self, _: GitFact) -> Result<String, String> {
        Err("there is no git".to_owned())
    }
}

/// A ledger, an entry a line: what is understood is understood again, and its history can be told.
fn ledger(bytes: &[u8]) {
    let mut entries = Vec::new();
    for (line, seq) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        match Entry::from_bytes(line, seq, &"here") {
            Ok(entry) => {
                let again = Entry::from_bytes(&entry.to_bytes(), seq, &"here").expect("it was written here");
                assert_eq!(again, entry);
                entries.push(entry);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    let history = History::of(&entries);
    for run in history.runs() {
        let Some(recalled) = Recalled::of(run.run, &entries) else { continue };
        let Some(plan) = recalled.plan else { continue };
        let Ok(rollout) = Rollout::replay(plan, &recalled.moves) else { continue };
        let now = entries.last().map(|entry| entry.at).expect("a run has entries");
        let next = rollout.next(now);
        assert_eq!(format!("{next:?}"), format!("{:?}", rollout.next(now)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_fuzzing_found_and_what_it_grows_from_is_taken_by_every_target() {
        for (name, run) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
            let inputs =
                std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut count = 0;
            for input in inputs {
                let path = input.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let began = Instant::now();
                if let Err(panicked) = std::panic::catch_unwind(|| run(&bytes)) {
                    #[expect(clippy::print_stderr, reason = "which input it was is what one needs to know")]
                    {
                        eprintln!("the input was {}", path.display());
                    }
                    std::panic::resume_unwind(panicked);
                }
                assert!(
                    began.elapsed() < Duration::from_secs(5),
                    "{}: {:?}",
                    path.display(),
                    began.elapsed()
                );
                count += 1;
            }
            assert!(count > 0, "{}: a target grows from examples", folder.display());
        }
    }

    #[test]
    fn no_two_targets_share_a_name() {
        let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), TARGETS.len());
    }
}
