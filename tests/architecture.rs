//! Who may import whom, and where a cloud may be named: the invariants of ARCHITECTURE.md as a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, with its path from the repository's root.
fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {folder}");
    found
}

/// The code of a file: without comments and without the tests beside it.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

/// The modules of this crate that `text` imports or names by `crate::MODULE`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for part in text.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(group) => {
                // `use crate::{a::B, c::{D, E}}`: the names at the first level of the braces.
                let (mut depth, mut word) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => word.clear(),
                        c if c.is_whitespace() => {}
                        ':' if depth == 0 && !word.is_empty() => {
                            modules.insert(std::mem::take(&mut word));
                        }
                        c if depth == 0 => word.push(c),
                        _ => {}
                    }
                }
            }
            None => {
                modules.insert(part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
            }
        }
    }
    modules
}

/// Whether a file holds nothing but tests: it may look at whatever it tests against.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// Which module of `src/` a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The pipeline's layers: what each module of `src/` may import. A stage sees the types of the stages before it, never
/// a stage behind it; nobody but the command line sees all.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("manifest", &["image"][..]),
        ("cache", &[]),
        ("image", &["cache", "registry"]),
        ("shape", &["cache", "image"]),
        ("registry", &[]),
        ("push", &["image", "registry"]),
        ("scan", &["ledger", "manifest"]),
        ("publish", &[]),
        ("ledger", &[]),
        ("shift", &["ledger"]),
        ("rollback", &["ledger", "shift"]),
        ("progress", &["ledger", "push"]),
        (
            "pipeline",
            &[
                "image", "ledger", "manifest", "progress", "publish", "push", "registry", "rollback", "scan",
                "shape", "shift",
            ],
        ),
        ("report", &["ledger", "push"]),
        ("providers", &["registry"]),
    ])
}

#[test]
fn a_module_imports_only_what_it_may() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let module = module_of(&path);
        let Some(may) = allowed.get(module.as_str()).filter(|_| !is_test(&path)) else { continue };
        for named in modules_named(&code(&text)) {
            if named != module && !may.contains(&named.as_str()) {
                wrong.push(format!("{} imports crate::{named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_imports_the_command_line_and_prints() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let (module, code) = (module_of(&path), code(&text));
        if module != "cli" && module != "main" && modules_named(&code).contains("cli") {
            wrong.push(format!("{} imports crate::cli", path.display()));
        }
        for forbidden in ["println!", "eprintln!", "print!(", "stdout()", "process::exit"] {
            if module != "cli" && code.contains(forbidden) {
                wrong.push(format!("{} has {forbidden}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_cloud_is_named_outside_providers_rs() {
    // `local` is a word of the product too, so it may be said anywhere.
    const CLOUDS: [&str; 9] = ["aws", "lambda", "ecr", "tencent", "scf", "tcr", "aliyun", "alibaba", "acr"];
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        if path == Path::new("src/providers.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words(line).find(|word| CLOUDS.contains(&word.to_ascii_lowercase().as_str()))
            {
                wrong.push(format!("{}:{} names {word}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_driver_moves_an_alias() {
    let mut callers = BTreeSet::new();
    for (path, text) in rust_files("src") {
        if code(&text).contains(".route(") {
            callers.insert(path.display().to_string());
        }
    }
    assert_eq!(callers.into_iter().collect::<Vec<_>>(), ["src/shift/drive.rs"]);
}

#[test]
fn decisions_know_no_clock_no_disk_and_no_cloud() {
    const FORBIDDEN: [&str; 9] = [
        "async ",
        ".await",
        "tokio",
        "std::fs",
        "std::net",
        "Timestamp::now",
        "SystemTime",
        "Instant",
        "dyn Provider",
    ];
    let pure = [
        "src/shift/plan.rs",
        "src/shift/state.rs",
        "src/rollback/target.rs",
        "src/publish/diff.rs",
        "src/scan/patience.rs",
        "src/scan/policy.rs",
        "src/scan/refusal.rs",
        "src/ledger/history.rs",
        "src/ledger/recall.rs",
        "src/shape/pick.rs",
        "src/shape/decide.rs",
        "src/shape/write.rs",
        "src/shape/vouch.rs",
        "src/pipeline/facts.rs",
        "src/pipeline/smoke.rs",
        "src/report/outcome.rs",
    ];
    for file in pure {
        let text =
            std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let code = code(&text);
        for forbidden in FORBIDDEN {
            assert!(!code.contains(forbidden), "{file} is a decision and has {forbidden:?}");
        }
    }
}

/// A package's direct dependencies of the named kinds, as cargo sees them.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let normal = list(&package["dependencies"]);
            let normal = normal.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn crates_point_one_way() {
    let dependencies = dependencies();
    let ours = |package: &str| -> Vec<&str> {
        let all = dependencies[package].iter().map(String::as_str);
        all.filter(|name| name.starts_with("longshore")).collect()
    };
    assert_eq!(ours("longshore-contract"), [""; 0]);
    assert_eq!(ours("longshore-model"), ["longshore-contract"]);
    assert_eq!(ours("longshore-wire"), [""; 0]);
    assert_eq!(ours("longshore-local"), ["longshore-contract", "longshore-model"]);
    assert_eq!(ours("longshore"), ["longshore-contract", "longshore-local", "longshore-wire"]);
}

#[test]
fn the_contract_has_no_http_and_no_tls_in_its_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "longshore-contract", "-e", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(
            !["hyper", "reqwest", "rustls", "ring", "tokio", "http"].contains(&name),
            "the contract depends on {name}"
        );
    }
}
