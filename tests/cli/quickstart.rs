//! The quickstart, as a new user runs it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{LONGSHORE, Ran};

#[test]
fn the_walk_goes_through_in_time_from_any_directory_and_leaves_nothing() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    let temporary = tempfile::tempdir().unwrap();
    let path = std::env::join_paths(
        std::iter::once(Path::new(LONGSHORE).parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let began = Instant::now();
    let walk = Ran::of(
        Command::new(example.join("walk.sh"))
            .current_dir("/")
            .env("PATH", path.unwrap())
            .env("TMPDIR", temporary.path())
            // Wherever cargo is told to build, the function is built where the manifest says.
            .env("CARGO_TARGET_DIR", temporary.path().join("elsewhere")),
    );
    assert_eq!(walk.code, 0, "{}\n{}", walk.stdout, walk.stderr);
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    for said in ["returned", "version 2 -> 1", "\"hello\":\"v2\"", "v2 was bad"] {
        assert!(walk.stdout.contains(said), "{said} is not in:\n{}", walk.stdout);
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
