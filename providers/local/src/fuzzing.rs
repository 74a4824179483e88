//! Every parser of foreign bytes in this crate as a function of bytes, for `fuzz/`. No part of the interface.
//!
//! A target takes any bytes, soon, and fails by panicking. The test beneath replays `fuzz/corpus` in the normal suite.

use crate::{provider, registry, router, runner};

/// A parser, by the name of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("local-registry-path", registry::fuzzing::path),
    ("local-registry-range", registry::fuzzing::ranges),
    ("local-registry-document", registry::fuzzing::document),
    ("local-router-path", router::fuzzing::path),
    ("local-layer-bytes", runner::fuzzing::bytes),
    ("local-layer-members", runner::fuzzing::members),
    ("local-program", runner::fuzzing::program),
    ("local-scan-report", provider::fuzzing::report),
    ("local-function-answer", router::fuzzing::answer),
    ("local-invoke-name", router::fuzzing::invoke_name),
];

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_fuzzing_found_and_what_it_grows_from_is_taken_by_every_target() {
        for (name, run) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
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
}
