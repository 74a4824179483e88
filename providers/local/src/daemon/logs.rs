//! Showing logs, and going on as they grow.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_contract::{Error, ErrorKind, Follow, LogsOf, Result};

use crate::state::StateDirectory;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How much is copied at a time.
const CHUNK: usize = 64 * 1024;

/// Copies the logs that `of` names to `out`; where `follow` says so, for as long as somebody reads it.
pub(crate) async fn copy(
    directory: &StateDirectory,
    of: &LogsOf,
    follow: Follow,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let failed = |error: io::Error| Error::new(ErrorKind::Unexpected, "show the log of", told(of), error);
    let mut tails: Vec<Tail> = Vec::new();
    let mut shown: Option<PathBuf> = None;
    loop {
        for path in paths(directory, of).map_err(failed)? {
            if !tails.iter().any(|tail| tail.path == path) {
                tails.push(Tail::new(path));
            }
        }
        if tails.is_empty() && follow == Follow::ToEnd {
            let message = "there is no log: it has never run here";
            return Err(Error::new(ErrorKind::NotFound, "show the log of", told(of), message));
        }
        let several = matches!(of, LogsOf::Function(_));
        match show(&mut tails, several, &mut shown, out) {
            // Whoever read has seen enough: that is an end, and no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.map_err(failed)?,
        }
        if follow == Follow::ToEnd {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Copies what the files have gained. Where there may be several, a heading tells whose lines come.
fn show(
    tails: &mut [Tail],
    several: bool,
    shown: &mut Option<PathBuf>,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    for tail in tails {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = tail.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            if several && shown.as_ref() != Some(&tail.path) {
                let name = tail.path.file_stem().unwrap_or_default().to_string_lossy();
                writeln!(out, "==> version {name} <==")?;
                *shown = Some(tail.path.clone());
            }
            out.write_all(&chunk[..count])?;
        }
    }
    out.flush()
}

fn told(of: &LogsOf) -> String {
    match of {
        LogsOf::Daemon => "the daemon".to_owned(),
        LogsOf::Function(name) => name.to_string(),
        LogsOf::Version(name, version) => format!("{name}@{version}"),
    }
}

/// The files to show, in the order of their versions; those that are there.
fn paths(directory: &StateDirectory, of: &LogsOf) -> io::Result<Vec<PathBuf>> {
    let one = match of {
        LogsOf::Daemon => directory.daemon_log(),
        LogsOf::Version(name, version) => directory.version_log(name, version),
        LogsOf::Function(name) => return versions(&directory.function_logs(name)),
    };
    Ok(if one.exists() { vec![one] } else { Vec::new() })
}

fn versions(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|e| e.to_str())) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A file that grows, and may be put aside or emptied while it is read.
struct Tail {
    path: PathBuf,
    open: Option<File>,
    at: u64,
}

impl Tail {
    /// A log from its beginning: what was put aside of it comes first, where something was.
    fn new(path: PathBuf) -> Self {
        let mut older = path.clone().into_os_string();
        older.push(".1");
        Self { path, open: File::open(older).ok(), at: 0 }
    }

    /// Reads on; 0 at the end. A file that was put aside is read to its end before the one in its place is opened.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                if file.metadata()?.len() < self.at {
                    self.at = 0;
                }
                file.seek(SeekFrom::Start(self.at))?;
                let count = file.read(chunk)?;
                self.at += count as u64;
                if count > 0 {
                    return Ok(count);
                }
            }
            let next = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                result => result?,
            };
            if let Some(file) = &self.open
                && identity(file)? == identity(&next)?
            {
                return Ok(0);
            }
            (self.open, self.at) = (Some(next), 0);
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn directory() -> (tempfile::TempDir, StateDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(folder.path().to_owned());
        directory.make().unwrap();
        (folder, directory)
    }

    fn write(directory: &StateDirectory, version: &str, text: &str) {
        let path = directory.version_log(&"shop".parse().unwrap(), &version.parse().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[tokio::test]
    async fn a_functions_versions_come_in_their_order() {
        let (_folder, directory) = directory();
        write(&directory, "10", "ten\n");
        write(&directory, "9", "nine\n");
        let mut out = Vec::new();
        let of = LogsOf::Function("shop".parse().unwrap());
        copy(&directory, &of, Follow::ToEnd, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "==> version 9 <==\nnine\n==> version 10 <==\nten\n");
    }

    #[tokio::test]
    async fn a_log_that_is_not_there_is_an_error() {
        let (_folder, directory) = directory();
        let of = LogsOf::Version("shop".parse().unwrap(), "1".parse().unwrap());
        let error = copy(&directory, &of, Follow::ToEnd, &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_was_put_aside_comes_first() {
        let (_folder, directory) = directory();
        write(&directory, "1", "old\n");
        let path = directory.version_log(&"shop".parse().unwrap(), &"1".parse().unwrap());
        std::fs::rename(&path, path.with_extension("log.1")).unwrap();
        write(&directory, "1", "new\n");
        let of = LogsOf::Version("shop".parse().unwrap(), "1".parse().unwrap());
        let mut out = Vec::new();
        copy(&directory, &of, Follow::ToEnd, &mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "old\nnew\n");
    }

    /// Hands on whatever is written to it.
    struct Channel(mpsc::Sender<String>);

    impl Write for Channel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn following_ends_when_nobody_reads_any_more() {
        let (_folder, directory) = directory();
        write(&directory, "1", "one\n");
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let of = LogsOf::Version("shop".parse().unwrap(), "1".parse().unwrap());
        copy(&directory, &of, Follow::Forever, &mut writer).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_is_followed_through_growth_and_rotation() {
        let (_folder, directory) = directory();
        let (sender, receiver) = mpsc::channel();
        let followed = directory.clone();
        let task = tokio::spawn(async move {
            let of = LogsOf::Version("shop".parse().unwrap(), "1".parse().unwrap());
            copy(&followed, &of, Follow::Forever, &mut Channel(sender)).await
        });
        let next =
            |receiver: &mpsc::Receiver<String>| receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        write(&directory, "1", "one\n");
        assert_eq!(next(&receiver), "one\n");
        write(&directory, "1", "two\n");
        assert_eq!(next(&receiver), "two\n");
        let path = directory.version_log(&"shop".parse().unwrap(), &"1".parse().unwrap());
        write(&directory, "1", "three\n");
        std::fs::rename(&path, path.with_extension("log.1")).unwrap();
        write(&directory, "1", "four\n");
        assert_eq!(next(&receiver), "three\n", "the last lines before a rotation are not lost");
        assert_eq!(next(&receiver), "four\n");
        task.abort();
    }
}
