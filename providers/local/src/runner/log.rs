//! What instances write: a file per version, bounded, and the end of it in memory.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tokio::sync::watch;

use super::quote::Kept;

/// How large a log file grows before it becomes `FILE.1`, replacing the one before: a version has at most twice this.
const FILE_LIMIT: u64 = 5 << 20;
/// How many lines of an instance are kept, and how many bytes of one: more than an error quotes, so that what is hidden in
/// them is whole.
const TAIL_LINES: usize = 20;
const TAIL_LINE: usize = 4 << 10;

/// How long what a function wrote may take into its log.
const SETTLING: Duration = Duration::from_millis(100);

/// The log files that are open. Instances of one version write to one [`Log`].
#[derive(Debug, Clone, Default)]
pub(super) struct Logs(Arc<Mutex<HashMap<PathBuf, Weak<Log>>>>);

/// A version's log file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    limit: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// Whether bytes were lost since the last that arrived.
    losing: bool,
}

impl Logs {
    /// The log at `path`; its folder is made.
    pub(super) fn open(&self, path: &Path) -> io::Result<Arc<Log>> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|_, log| log.strong_count() > 0);
        if let Some(log) = logs.get(path).and_then(Weak::upgrade) {
            return Ok(log);
        }
        let log = Arc::new(Log::open(path, FILE_LIMIT)?);
        logs.insert(path.to_owned(), Arc::downgrade(&log));
        Ok(log)
    }
}

impl Log {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { path: path.to_owned(), limit, open: Mutex::new(Open::at(path)?) })
    }

    /// Adds `bytes`. A disk that takes no more must not stop the function: the bytes are lost then, and we say so once
    /// in our own log.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.try_write(&mut open, bytes);
        if let (Err(error), false) = (&written, open.losing) {
            tracing::warn!("{}: what the function writes is lost from here on: {error}", self.path.display());
        }
        open.losing = written.is_err();
    }

    fn try_write(&self, open: &mut Open, bytes: &[u8]) -> io::Result<()> {
        if open.length > 0 && open.length + bytes.len() as u64 > self.limit {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *open = Open::at(&self.path)?;
        }
        open.file.write_all(bytes)?;
        open.length += bytes.len() as u64;
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        // A function may write its secrets here: nobody else reads them.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, losing: false })
    }
}

/// The last lines that one instance wrote.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<(String, Kept)>,
    /// The line that did not end yet.
    unfinished: Vec<u8>,
    /// Whether something of it was let go.
    cut: bool,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = TAIL_LINE.saturating_sub(self.unfinished.len());
            self.unfinished.extend(&text[..text.len().min(room)]);
            self.cut |= text.len() > room;
            if ends {
                self.finish_line();
            }
        }
    }

    fn finish_line(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        let line = self.unfinished();
        self.lines.push_back(line);
        self.unfinished.clear();
        self.cut = false;
    }

    fn unfinished(&self) -> (String, Kept) {
        let text = String::from_utf8_lossy(&self.unfinished);
        (text.trim_end_matches('\r').to_owned(), if self.cut { Kept::Cut } else { Kept::Whole })
    }

    fn lines(&self) -> Vec<(String, Kept)> {
        let last = Some(self.unfinished()).filter(|(line, _)| !line.is_empty());
        self.lines.iter().cloned().chain(last).collect()
    }
}

/// The output of one instance, on its way into the log.
#[derive(Debug)]
pub(super) struct Output {
    tail: Arc<Mutex<Tail>>,
    ended: watch::Receiver<bool>,
    arriving: Arc<Arriving>,
}

/// What was written and is not in the log yet.
#[derive(Debug)]
struct Arriving {
    pipe: PipeReader,
    /// Held from before bytes are taken out of the pipe until they are in the log.
    under_way: Mutex<()>,
}

impl Arriving {
    fn is_over(&self) -> bool {
        let idle = self.under_way.try_lock();
        !matches!(idle, Err(TryLockError::WouldBlock))
            && rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes == 0)
    }
}

impl Output {
    /// Copies what comes out of `from` to `log`, until every process that could write there has ended. A thread of its
    /// own, because both sides of the copy block.
    pub(super) fn copy(mut from: PipeReader, log: Arc<Log>) -> io::Result<Self> {
        let (end, ended) = watch::channel(false);
        let tail = Arc::new(Mutex::new(Tail::default()));
        let kept = Arc::clone(&tail);
        let arriving = Arc::new(Arriving { pipe: from.try_clone()?, under_way: Mutex::default() });
        let watched = Arc::clone(&arriving);
        let copy = move || {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let mut readable = [PollFd::new(&watched.pipe, PollFlags::IN)];
                let _ = rustix::event::poll(&mut readable, None);
                let _under_way = watched.under_way.lock().unwrap_or_else(PoisonError::into_inner);
                match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => {
                        log.write(&buffer[..read]);
                        kept.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..read]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        log.write(format!("longshore: the output breaks off here: {error}\n").as_bytes());
                        break;
                    }
                }
            }
            let _ = end.send(true);
        };
        std::thread::Builder::new().name("function log".to_owned()).stack_size(256 << 10).spawn(copy)?;
        Ok(Self { tail, ended, arriving })
    }

    /// Waits until everything that was written before is in the log: for a moment, because a function that does not stop
    /// writing is never done.
    pub(super) async fn settled(&self) {
        let until = tokio::time::Instant::now() + SETTLING;
        while !self.arriving.is_over() && tokio::time::Instant::now() < until {
            // The copy tells nobody how far it is.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines so far.
    pub(super) fn tail(&self) -> Vec<(String, Kept)> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// Waits until there is no more to come.
    pub(super) async fn ended(&self) {
        // The sender goes only after it said so.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_keeps_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop/1.log");
        let log = Log::open(&path, 100).unwrap();
        for number in 0..100 {
            log.write(format!("line {number:03}\n").as_bytes());
        }
        let older = std::fs::read_to_string(directory.path().join("shop/1.log.1")).unwrap();
        let newer = std::fs::read_to_string(&path).unwrap();
        assert!(older.len() <= 100 && newer.len() <= 100);
        assert!((older + &newer).ends_with("line 098\nline 099\n"));
        assert_eq!(std::fs::read_dir(directory.path().join("shop")).unwrap().count(), 2);
    }

    #[test]
    fn a_log_is_appended_to_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.log");
        let logs = Logs::default();
        logs.open(&path).unwrap().write(b"a\n");
        let (one, other) = (logs.open(&path).unwrap(), logs.open(&path).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        one.write(b"b\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_tail_has_twenty_lines_of_a_bearable_length() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.add(format!("{number}\r\n").as_bytes());
        }
        tail.add(&[b'x'; 5000]);
        tail.add(b"yz\nhalf");
        let lines = tail.lines();
        assert_eq!(lines.len(), 21);
        assert_eq!(lines[0], ("31".to_owned(), Kept::Whole));
        assert_eq!((lines[19].0.len(), lines[19].1), (TAIL_LINE, Kept::Cut));
        assert_eq!(lines[20], ("half".to_owned(), Kept::Whole));
    }
}
