//! `local-cloud up|down|status DIR` and `local-cloud local serve --state DIR`: the verbs of the command line that tests of
//! this crate need, without the rest of it.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use longshore_contract::{Embedded, Error, Settings};
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes what is told to standard error, a line each: `ended read=1 answered=1`.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let (mut message, mut fields) = (String::new(), String::new());
        event.record(&mut |field: &Field, value: &dyn Debug| {
            // Nothing fails that is written to text.
            let _ = match field.name() {
                "message" => write!(message, "{value:?}"),
                name => write!(fields, " {name}={value:?}"),
            };
        });
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{message}{fields}\n").as_bytes());
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn main() -> ExitCode {
    // It is the first and only one.
    let _ = tracing::subscriber::set_global_default(Lines);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let cloud = longshore_local::registration().embedded.expect("the local cloud is embedded");
    let told = match words.as_slice() {
        ["local", "serve", "--state", directory] => cloud.serve(Path::new(directory)).map(|()| String::new()),
        [verb @ ("up" | "down" | "status"), directory] => ask(cloud, verb, directory),
        other => panic!("{other:?} is nothing this program knows"),
    };
    match told {
        Ok(text) => {
            // Nothing is left to tell where nobody listens.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "{error}\ncode: {}", error.code.as_deref().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn ask(cloud: &dyn Embedded, verb: &str, directory: &str) -> Result<String, Error> {
    let values = [("state".to_owned(), serde_json::json!(directory))].into();
    let settings = Settings { values, directory: "/".into(), ..Settings::default() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        Ok(match verb {
            "up" => format!("{}\n", cloud.up(&settings).await?.pid),
            "down" => cloud.down(&settings).await.map(|()| String::new())?,
            _ => cloud.status(&settings).await?.map(|status| format!("{}\n", status.pid)).unwrap_or_default(),
        })
    })
}
