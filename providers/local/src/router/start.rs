//! Starting a process and finding out what it is: whatever it does first decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use serde::Deserialize;

use crate::control::raw::Kind;
use crate::router::process::{Process, Speaks};
use crate::router::upstream::Connections;
use crate::runner::{Exit, Instance, Launch, Port, Runner, Spawned, StartError};
use crate::runtime_api::{Desk, Sign, serve};

/// How often a port that somebody else took first is replaced by another.
const PORT_RACES: u32 = 4;

/// What a process has to do before it serves.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// What the image is, where that is stated.
    pub(crate) kind: Option<Kind>,
    /// The path that has to answer, where one is stated.
    pub(crate) health: Option<String>,
}

/// Starts a process and waits until it serves, for as long as `launch.patience`. When this fails, or is dropped half way,
/// nothing runs. The error is for people, on several lines where the program itself spoke.
pub(crate) async fn start(runner: &Runner, launch: &Launch, expected: &Expected) -> Result<Process, String> {
    match try_start(runner, launch, expected).await {
        // Another version listens there, as it does whenever a function is updated. Most images that state a port
        // listen on whatever PORT says all the same.
        Err(Failed::Spawn(taken @ StartError::PortTaken { .. })) => {
            let elsewhere = Launch { port: Port::Free, ..launch.clone() };
            let started = try_start(runner, &elsewhere, expected).await;
            started.map_err(|error| format!("{taken}; on another port: {}", error.told()))
        }
        started => started.map_err(|error| error.told()),
    }
}

enum Failed {
    Spawn(StartError),
    /// Somebody else listened on its port first.
    Raced,
    Told(String),
}

impl Failed {
    fn told(self) -> String {
        match self {
            Self::Spawn(error) => error.to_string(),
            Self::Raced => "no port is free for the function: other processes take them all".to_owned(),
            Self::Told(why) => why,
        }
    }
}

async fn try_start(runner: &Runner, launch: &Launch, expected: &Expected) -> Result<Process, Failed> {
    for _ in 0..PORT_RACES {
        let Spawned { instance, api } = runner.spawn(launch).await.map_err(Failed::Spawn)?;
        let desk = Arc::new(Desk::default());
        let serving = serve(api, Arc::clone(&desk));
        match ready(&instance, desk, launch.patience, expected).await {
            Err(Failed::Raced) => {}
            Err(failed) => {
                instance.stop(Duration::ZERO).await;
                return Err(failed);
            }
            Ok(speaks) => return Ok(Process::new(instance, speaks, serving)),
        }
    }
    Err(Failed::Raced)
}

/// Waits for what the process does first.
async fn ready(
    instance: &Instance,
    desk: Arc<Desk>,
    patience: Duration,
    expected: &Expected,
) -> Result<Speaks, Failed> {
    let until = tokio::time::Instant::now() + patience;
    let (http, events) = match expected.kind {
        None => (true, true),
        Some(Kind::Lambda) => (false, true),
        Some(Kind::Http | Kind::Scf | Kind::Fc) => (true, false),
    };
    let connections = Connections::default();
    let listens = async {
        instance.listens().await;
        if let Some(path) = &expected.health {
            healthy(instance, &connections, path).await;
        }
    };
    let wanted = || wanted(http, events, instance.port(), expected.health.as_deref());
    tokio::select! {
        biased;
        sign = desk.sign(), if events => match sign {
            Sign::Asked => {}
            Sign::Failed(why) => return Err(Failed::Told(failed(&why, &instance.tail()))),
        },
        exit = instance.exited() => return Err(ended(instance, exit, &wanted().before)),
        () = listens, if http => return Ok(Speaks::Http(connections)),
        () = tokio::time::sleep_until(until) => {
            instance.stop(Duration::ZERO).await;
            let told = format!("the function {} within {} s", wanted().never, patience.as_secs_f32());
            return Err(Failed::Told(with_lines(told, &instance.tail())));
        }
    }
    Ok(Speaks::Events(desk))
}

fn ended(instance: &Instance, exit: Exit, before: &str) -> Failed {
    if instance.lost_its_port() {
        return Failed::Raced;
    }
    Failed::Told(with_lines(format!("the function {exit} before it {before}"), &instance.tail()))
}

/// Asks until the path answers with a status below 400.
async fn healthy(instance: &Instance, connections: &Connections, path: &str) {
    let mut pause = Duration::from_millis(5);
    loop {
        // It was checked when it was stated.
        let request = Request::get(path).header("host", "127.0.0.1").body(Body::empty());
        if let Ok(request) = request
            && let Ok(response) = connections.send(instance, request).await
            && response.status().as_u16() < 400
        {
            return;
        }
        // There is nothing to wait on until it is well; the pause grows so that a slow start costs little.
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// What a process should have done, in words.
struct Wanted {
    /// … before it …
    before: String,
    /// The function … within 10 s.
    never: String,
}

fn wanted(http: bool, events: bool, port: u16, health: Option<&str>) -> Wanted {
    let listened = match health {
        Some(path) => format!("answered GET {path} on port {port}"),
        None => format!("listened on port {port}"),
    };
    let told = "(PORT in its environment; on 127.0.0.1 or every address)";
    match (http, events) {
        (true, true) => Wanted {
            before: format!("{listened} or asked for an event"),
            never: format!("neither {listened} {told} nor asked for an event (AWS_LAMBDA_RUNTIME_API)"),
        },
        (true, false) => Wanted { never: format!("has not {listened} {told}"), before: listened },
        _ => Wanted {
            before: "asked for an event".to_owned(),
            never: "did not ask for an event (AWS_LAMBDA_RUNTIME_API)".to_owned(),
        },
    }
}

/// What a runtime said of its failed start.
fn failed(why: &Bytes, tail: &[String]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Why {
        #[serde(default)]
        error_type: String,
        #[serde(default)]
        error_message: String,
    }
    let told = match serde_json::from_slice(why) {
        Ok(Why { error_type, error_message }) if !error_type.is_empty() => {
            format!("the function's runtime could not start it: {error_type}: {error_message}")
        }
        _ => "the function's runtime could not start it, and does not say why".to_owned(),
    };
    with_lines(told, tail)
}

/// What happened, and the last lines that the program wrote.
fn with_lines(told: String, tail: &[String]) -> String {
    match tail {
        [] => format!("{told}; it wrote nothing"),
        lines => format!("{told}; its last lines:\n  {}", lines.join("\n  ")),
    }
}

/// How long a start took, for the log.
pub(crate) fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_fails_says_what_was_waited_for() {
        let both = wanted(true, true, 7, None);
        assert_eq!(both.before, "listened on port 7 or asked for an event");
        assert!(both.never.starts_with("neither listened on port 7 "), "{}", both.never);
        assert!(both.never.contains(" nor asked for an event"), "{}", both.never);
        assert_eq!(wanted(false, true, 7, None).before, "asked for an event");
        let healthy = wanted(true, false, 7, Some("/health"));
        assert_eq!(healthy.before, "answered GET /health on port 7");
    }

    #[test]
    fn a_runtime_that_gives_up_is_quoted() {
        let why = Bytes::from_static(
            br#"{"errorType":"Runtime.ImportModuleError","errorMessage":"No module named 'app'"}"#,
        );
        let told = failed(&why, &["Traceback".to_owned()]);
        assert_eq!(
            told,
            "the function's runtime could not start it: Runtime.ImportModuleError: No module named 'app'; its last \
             lines:\n  Traceback"
        );
        assert!(
            failed(&Bytes::from_static(b"nonsense"), &[]).ends_with("does not say why; it wrote nothing")
        );
    }
}
