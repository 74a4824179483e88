//! Asking a credential helper: `docker-credential-NAME get`, the registry on its stdin, the answer on its stdout.

use std::process::Stdio;
use std::time::Duration;

use longshore_contract::Credential;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::credentials::basic;
use super::error::one_line;

/// Why a helper did not answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

const ANSWER_LIMIT: u64 = 1 << 20;

/// What the helper has for `server`; `None` when it says that it has nothing. It is ended when it takes longer than
/// `patience`.
pub(super) async fn ask(name: &str, server: &str, patience: Duration) -> Result<Option<Credential>, Failed> {
    let failed = |problem: String, hint: Option<String>| Failed { problem, hint };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(failed("the name of a helper holds letters, digits, . _ and - only".to_owned(), None));
    }
    let program = format!("docker-credential-{name}");
    let spawned = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(
            "the program is not in PATH".to_owned(),
            Some(format!("install {program}, or take its name out of that file")),
        ),
        _ => failed(format!("it cannot be started: {error}"), None),
    })?;
    let exchange = async {
        let mut stdin = child.stdin.take().expect("it is piped");
        // A helper may end without reading; what it says counts.
        let _ = stdin.write_all(server.as_bytes()).await;
        drop(stdin);
        let mut text = Vec::new();
        let stdout = child.stdout.take().expect("it is piped");
        stdout.take(ANSWER_LIMIT).read_to_end(&mut text).await?;
        Ok::<_, std::io::Error>((child.wait().await?, text))
    };
    let (status, text) = tokio::time::timeout(patience, exchange)
        .await
        .map_err(|_| failed(format!("no answer within {} s", patience.as_secs_f32()), None))?
        .map_err(|error| failed(error.to_string(), None))?;
    if !status.success() {
        // The protocol's way to say "none", in the words of every helper there is.
        let said = String::from_utf8_lossy(&text);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(
            format!("{status}: {}", one_line(&text)),
            Some(format!("try it: echo {server} | {program} get")),
        ));
    }
    read_answer(&text).map_err(|problem| failed(problem.to_owned(), None))
}

/// What a helper's answer holds; or what is wrong with it. The text is not shown, because a secret may be in it.
pub(super) fn read_answer(text: &[u8]) -> Result<Option<Credential>, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answered {
        username: String,
        secret: String,
    }
    let Answered { username, secret } =
        serde_json::from_slice(text).map_err(|_| "its answer is not the JSON of a credential helper")?;
    Ok((!username.is_empty() || !secret.is_empty()).then(|| basic(username, secret)))
}
