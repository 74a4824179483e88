//! Function images as people make them, through the real binary, on the embedded cloud: what `tests/functions/make.sh` and
//! `tools.sh` made is told by `LONGSHORE_FUNCTIONS` and `LONGSHORE_TOOLS`. Without them the tests pass over, and say so; in CI
//! they fail.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod emulator;
mod images;

use std::path::PathBuf;

use serde_json::Value;

use support::Scratch;

/// The folder that `variable` names. In CI it must.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn folder(variable: &str, made_by: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    assert!(folder.is_some() || std::env::var_os("CI").is_none(), "CI is set and {variable} is not");
    if folder.is_none() {
        eprintln!("skipped: {variable} names no folder that {made_by} has made");
    }
    folder
}

fn functions() -> Option<PathBuf> {
    folder("LONGSHORE_FUNCTIONS", "tests/functions/make.sh")
}

fn tools() -> Option<PathBuf> {
    folder("LONGSHORE_TOOLS", "tests/functions/tools.sh").map(|folder| folder.join("bin"))
}

/// What runs a cloud's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Own,
    Docker,
    Podman,
}

impl Runtime {
    fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A shop of the four images, deployed.
struct Shop {
    scratch: Scratch,
    rows: Vec<Value>,
}

impl Shop {
    fn deployed(runtime: Runtime) -> Option<Self> {
        let images = functions()?;
        let scratch = Scratch::empty();
        let image = |name: &str| format!("oci:{}", images.join(name).display());
        let manifest = format!(
            "\
version: 1
name: shop
targets:
  here: {{ provider: local{runtime} }}
functions:
  rust: {{ image: '{rust}', config: {{ timeout: 2s, memory: 128MiB, environment: {{ LEVEL: info }} }} }}
  python: {{ image: '{python}' }}
  events: {{ image: '{events}' }}
  node: {{ image: '{node}', config: {{ port: 8080, environment: {{ RELEASE: one }} }} }}
environments:
  second: {{ functions: {{ node: {{ config: {{ environment: {{ RELEASE: two }} }} }} }} }}
",
            runtime = if runtime == Runtime::Own {
                String::new()
            } else {
                format!(", runtime: {}", runtime.word())
            },
            rust = image("rust"),
            python = image("python-http"),
            events = image("python-lambda"),
            node = image("node-http"),
        );
        scratch.write("deploy.yaml", &manifest);
        let document = scratch.json(0, &["deploy"]);
        let rows = document["functions"].as_array().expect("rows").clone();
        Some(Self { scratch, rows })
    }

    fn row(&self, function: &str) -> &Value {
        self.rows.iter().find(|row| row["function"] == function).expect("its row")
    }

    /// Where requests reach the function's alias.
    fn url(&self, function: &str) -> String {
        self.row(function)["url"].as_str().expect("its url").to_owned()
    }

    /// Where the functions' API is.
    fn endpoint(&self) -> String {
        let status = self.scratch.json(0, &["local", "status"]);
        status["endpoints"]["functions"].as_str().expect("it runs").to_owned()
    }

    fn invoke(&self, code: i32, function: &str, payload: &str) -> Value {
        self.scratch.json(code, &["invoke", function, "--payload", payload])
    }
}

/// Whether an engine is to be tried: one of those that `LONGSHORE_ENGINE` names, with commas between them.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn engine(runtime: Runtime) -> bool {
    let named = std::env::var("LONGSHORE_ENGINE").unwrap_or_default();
    let wanted = named.split(',').any(|engine| engine == runtime.word());
    if !wanted {
        let word = runtime.word();
        eprintln!("skipped: LONGSHORE_ENGINE does not name {word}; tests/functions/engines.sh starts it");
    }
    wanted
}
