//! The list of accepted writes: a JSON line each, in the order in which they were accepted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use longshore_contract::{Intent, Routing, RunId};
use serde::{Deserialize, Serialize};

/// One accepted write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Its number; counted from 1.
    pub(crate) number: u64,
    /// When it was accepted.
    pub(crate) at: Timestamp,
    /// What was done.
    #[serde(flatten)]
    pub(crate) write: Write,
}

/// What a write did, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write {
    /// What was done.
    pub(crate) action: Action,
    /// What it was done to: `NAME`, `NAME@VERSION` or `NAME:ALIAS`.
    pub(crate) subject: String,
    /// The intent behind it, where the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intent: Option<Intent>,
    /// The run behind it, where the description names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunId>,
    /// Where the alias sends its traffic since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) routing: Option<Routing>,
}

/// The writes that are written down. How an update settled is no write of anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// A function was made.
    CreateFunction,
    /// A function's head was changed.
    UpdateFunction,
    /// A version was made.
    Publish,
    /// An alias was made.
    CreateAlias,
    /// An alias was replaced.
    UpdateAlias,
}

/// The file, open at its end.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens the journal and cuts off what was never acknowledged: a torn last line, and lines behind number `last`,
    /// whose state was not written before the process died.
    pub(crate) fn open(path: &Path, last: u64) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut keep = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let whole = line.ends_with(b"\n")
                && serde_json::from_slice::<Line>(&line).is_ok_and(|l| l.number <= last);
            if !whole {
                break;
            }
            keep += line.len() as u64;
            line.clear();
        }
        file.set_len(keep)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file })
    }

    /// Where the next line will begin.
    pub(crate) fn end(&mut self) -> io::Result<u64> {
        self.file.stream_position()
    }

    /// Writes one line, durably. After a failure the journal is as it was.
    pub(crate) fn append(&mut self, line: &Line) -> io::Result<()> {
        let end = self.end()?;
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.cut(end)?;
        }
        written
    }

    /// Takes back everything behind `end`.
    pub(crate) fn cut(&mut self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Line {
        Line {
            number,
            at: Timestamp::UNIX_EPOCH,
            write: Write {
                action: Action::Publish,
                subject: format!("shop@{number}"),
                intent: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3/1".parse().ok(),
                run: None,
                routing: None,
            },
        }
    }

    #[test]
    fn what_was_not_acknowledged_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, 0).unwrap();
        for number in 1..=3 {
            journal.append(&line(number)).unwrap();
        }
        let two = format!(
            "{}\n{}\n",
            serde_json::to_string(&line(1)).unwrap(),
            serde_json::to_string(&line(2)).unwrap()
        );
        drop(Journal::open(&path, 2).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), two);
        std::fs::write(&path, format!("{two}{{\"number\":3,\"at\"")).unwrap();
        let mut journal = Journal::open(&path, 3).unwrap();
        assert_eq!(journal.end().unwrap(), two.len() as u64);
        journal.append(&line(3)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| serde_json::from_str::<Line>(line).is_ok()));
    }
}
