//! What an invocation left in its version's log, as AWS hands it out.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reactor::off_the_reactor;
use crate::runtime_api::RequestId;

/// How much of the log's end is handed out.
const LIMIT: usize = 4 * 1024;

/// Where a version's log ended when an invocation began.
pub(crate) struct Mark {
    path: PathBuf,
    length: u64,
}

/// What is told about an invocation beside its lines.
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) version: &'a str,
    pub(crate) took: Duration,
    /// What it may use, in MiB.
    pub(crate) memory: u64,
    /// What went wrong, in a word, where something did.
    pub(crate) status: Option<&'a str>,
}

impl Mark {
    /// Marks the end of the log at `path`, which need not be there yet.
    pub(crate) fn at(path: &Path) -> Self {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_owned(), length }
    }

    /// Marks the beginning of the log at `path`, where nobody can say whose lines are whose.
    pub(crate) fn beginning(path: &Path) -> Self {
        Self { path: path.to_owned(), length: 0 }
    }

    /// The lines since the mark, those of other invocations at the same time among them, between the lines that AWS puts
    /// around them; at most the last four kilobytes.
    pub(crate) async fn report(self, facts: &Facts<'_>) -> String {
        let lines = off_the_reactor(move || since(&self.path, self.length)).await.unwrap_or_default();
        report(&String::from_utf8_lossy(&lines), facts)
    }
}

fn since(path: &Path, mark: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log that is shorter than it was began anew.
    let from = if length < mark { 0 } else { mark };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(LIMIT as u64))))?;
    let mut lines = Vec::new();
    file.take(LIMIT as u64).read_to_end(&mut lines)?;
    Ok(lines)
}

fn report(lines: &str, facts: &Facts<'_>) -> String {
    let Facts { id, version, took, memory, status } = facts;
    let millis = took.as_secs_f64() * 1000.0;
    let ends = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
    let status = status.map(|status| format!("\tStatus: {status}")).unwrap_or_default();
    let whole = format!(
        "START RequestId: {id} Version: {version}\n{lines}{ends}END RequestId: {id}\nREPORT RequestId: {id}\t\
         Duration: {millis:.2} ms\tBilled Duration: {} ms\tMemory Size: {memory} MB{status}\t\n",
        millis.ceil()
    );
    let mut from = whole.len().saturating_sub(LIMIT);
    while !whole.is_char_boundary(from) {
        from += 1;
    }
    whole[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invocation_has_its_own_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        std::fs::write(&path, "before\n").unwrap();
        let mark = Mark::at(&path);
        std::fs::write(&path, "before\nduring\nmore").unwrap();
        let id = RequestId::generate();
        let took = Duration::from_micros(1500);
        let facts = Facts { id: &id, version: "7", took, memory: 128, status: None };
        let told = mark.report(&facts).await;
        let expected = format!(
            "START RequestId: {id} Version: 7\nduring\nmore\nEND RequestId: {id}\nREPORT RequestId: {id}\tDuration: \
             1.50 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\n"
        );
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_log_that_began_anew_or_is_not_there_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        let id = RequestId::generate();
        let took = Duration::ZERO;
        let status = Some("timeout");
        let facts = Facts { id: &id, version: "7", took, memory: 128, status };
        let none = Mark::at(&path).report(&facts).await;
        assert!(none.starts_with(&format!("START RequestId: {id} Version: 7\nEND")), "{none}");
        assert!(none.ends_with("MB\tStatus: timeout\t\n"), "{none}");
        std::fs::write(&path, "long before\n").unwrap();
        let mark = Mark::at(&path);
        std::fs::write(&path, "new\n").unwrap();
        assert!(mark.report(&facts).await.contains("\nnew\nEND"));
    }

    #[test]
    fn no_more_than_the_last_four_kilobytes_are_handed_out() {
        let id = RequestId::generate();
        let took = Duration::ZERO;
        let facts = Facts { id: &id, version: "7", took, memory: 128, status: None };
        let told = report(&"ä".repeat(4000), &facts);
        assert!(told.len() <= LIMIT && told.len() > LIMIT - 4, "{}", told.len());
        assert!(told.starts_with('ä'));
    }
}
