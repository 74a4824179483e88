//! `local-cloud up|down|status DIR` and `local-cloud local serve --state DIR`: the verbs of the command line that tests of
//! this crate need, without the rest of it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use longshore_contract::{Embedded, Error, Settings};

fn main() -> ExitCode {
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
