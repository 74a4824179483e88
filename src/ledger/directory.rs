//! A ledger in a directory: one file per entry, `PROVIDER/REGION/NAME/ALIAS/00000042.json`.
//!
//! An entry is written to a file of another name, synced, and then given its number by a rename that refuses to
//! replace. So a number always has a whole entry or none, whenever the machine stops; what a kill can leave behind is
//! a `.….tmp` file, which nobody reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use longshore_contract::{AliasRef, Place};
use rustix::fs::OFlags;

use super::entry::MOST_BYTES;
use super::path::{decode, encode};
use super::{Entry, Ledger, LedgerError, LedgerKey};

/// A ledger in a directory, which is made when the first entry is stored.
#[derive(Debug, Clone)]
pub struct DirectoryLedger {
    root: PathBuf,
}

impl DirectoryLedger {
    /// The ledger in `root`. Touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn folder(&self, key: &LedgerKey) -> Folder {
        let names =
            [&key.place.provider, &key.place.region, key.alias.function.as_str(), key.alias.alias.as_str()];
        Folder { root: self.root.clone(), below: names.iter().map(|name| encode(name)).collect() }
    }
}

#[async_trait]
impl Ledger for DirectoryLedger {
    async fn append(&self, key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError> {
        let (folder, entry) = (self.folder(key), entry.clone());
        if entry.to_bytes().len() > MOST_BYTES {
            let at = key.to_string();
            let cause = io::Error::other(format!("an entry has at most {MOST_BYTES} bytes"));
            return Err(LedgerError::Unwritable { at, cause });
        }
        blocking(move || folder.append(&entry)).await
    }

    async fn read(&self, key: &LedgerKey) -> Result<Vec<Entry>, LedgerError> {
        let folder = self.folder(key);
        blocking(move || folder.read()).await
    }

    async fn read_from(&self, key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError> {
        let folder = self.folder(key);
        blocking(move || folder.read_from(first)).await
    }

    async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError> {
        let root = self.root.clone();
        blocking(move || keys(&root)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// One alias's folder.
struct Folder {
    root: PathBuf,
    below: Vec<String>,
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.below.iter().fold(self.root.clone(), |path, name| path.join(name))
    }

    fn file(&self, seq: u64) -> PathBuf {
        self.path().join(format!("{seq:08}.json"))
    }

    fn append(&self, entry: &Entry) -> Result<(), LedgerError> {
        let (file, folder) = (self.file(entry.seq), self.path());
        if entry.seq == 1 {
            self.make()?;
        } else {
            // Somebody who deletes the folder under a run must not get a ledger that begins in the middle.
            let before = self.file(entry.seq - 1);
            if !before.try_exists().map_err(unwritable(&before))? {
                return Err(missing(&before));
            }
        }
        let draft = folder.join(format!(".{:08}.{}.tmp", entry.seq, encode(&entry.nonce.to_string())));
        let stored = write_synced(&draft, &entry.to_bytes()).and_then(|()| rename_new(&draft, &file));
        if let Err(cause) = stored {
            // Gone already where it was the rename's other name; a leftover harms nobody.
            let _ = fs::remove_file(&draft);
            return Err(match cause.kind() {
                io::ErrorKind::AlreadyExists => match read_entry(&file, entry.seq)? {
                    Some(by) => LedgerError::Taken { by: Box::new(by) },
                    None => missing(&file),
                },
                _ => LedgerError::Unwritable { at: file.display().to_string(), cause },
            });
        }
        sync_folder(&folder).map_err(unwritable(&file))
    }

    /// Makes the folder and everything above it, durably.
    fn make(&self) -> Result<(), LedgerError> {
        let mut wanted = Vec::new();
        let folder = self.path();
        let mut path = folder.as_path();
        while !path.as_os_str().is_empty() && !path.try_exists().map_err(unwritable(path))? {
            wanted.push(path);
            match path.parent() {
                Some(parent) => path = parent,
                None => break,
            }
        }
        for path in wanted.into_iter().rev() {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(unwritable(path)(error));
                }
                _ => {}
            }
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new("."))).map_err(unwritable(path))?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = self.read_from(1)?;
        loop {
            let next = entries.len() as u64 + 1;
            if self.highest()? < next {
                return Ok(entries);
            }
            // Entries may have come since; a number that is still free with others behind it is a gap.
            let more = self.read_from(next)?;
            if more.is_empty() {
                return Err(missing(&self.file(next)));
            }
            entries.extend(more);
        }
    }

    fn read_from(&self, first: u64) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = Vec::new();
        for seq in first.. {
            match read_entry(&self.file(seq), seq)? {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        Ok(entries)
    }

    /// The highest number that has a file; 0 where there is none.
    fn highest(&self) -> Result<u64, LedgerError> {
        let path = self.path();
        let mut highest = 0;
        for name in names_in(&path)? {
            let number = name
                .strip_suffix(".json")
                .filter(|digits| digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()));
            highest = highest.max(number.and_then(|digits| digits.parse().ok()).unwrap_or(0));
        }
        Ok(highest)
    }
}

fn unwritable(at: &Path) -> impl Fn(io::Error) -> LedgerError {
    move |cause| LedgerError::Unwritable { at: at.display().to_string(), cause }
}

fn unreadable(at: &Path) -> impl Fn(io::Error) -> LedgerError {
    move |cause| LedgerError::Unreadable { at: at.display().to_string(), cause }
}

fn missing(at: &Path) -> LedgerError {
    LedgerError::Torn { at: at.display().to_string(), why: "this entry is missing".to_owned() }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives `draft` the name `file`, unless that is taken.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_new(draft: &Path, file: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, draft, CWD, file, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every file system can refuse to replace (NFS cannot); a second name is refused by all that have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(draft, file),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_new(draft: &Path, file: &Path) -> io::Result<()> {
    link_new(draft, file)
}

fn link_new(draft: &Path, file: &Path) -> io::Result<()> {
    fs::hard_link(draft, file)?;
    // The entry has its number; the draft's own name is litter if it stays.
    let _ = fs::remove_file(draft);
    Ok(())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn read_entry(path: &Path, seq: u64) -> Result<Option<Entry>, LedgerError> {
    // A pipe in the place of an entry would be waited for; opened so, it is not, and reads as torn.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    Entry::from_bytes(&bytes, seq, &path.display()).map(Some)
}

/// The names in `path` that are text; none where it does not exist.
fn names_in(path: &Path) -> Result<Vec<String>, LedgerError> {
    let listing = match fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(path)(error)),
    };
    let mut names = Vec::new();
    for item in listing {
        let item = item.map_err(unreadable(path))?;
        names.extend(item.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn keys(root: &Path) -> Result<Vec<LedgerKey>, LedgerError> {
    let mut keys = Vec::new();
    for (provider, path) in folders_in(root)? {
        for (region, path) in folders_in(&path)? {
            for (function, path) in folders_in(&path)? {
                for (alias, path) in folders_in(&path)? {
                    let (Ok(function), Ok(alias)) = (function.parse(), alias.parse()) else { continue };
                    if path.join("00000001.json").exists() {
                        let place = Place { provider: provider.clone(), region: region.clone() };
                        keys.push(LedgerKey { place, alias: AliasRef { function, alias } });
                    }
                }
            }
        }
    }
    Ok(keys)
}

/// The folders in `path` that [`encode`] named, with the names they stand for.
fn folders_in(path: &Path) -> Result<Vec<(String, PathBuf)>, LedgerError> {
    let named = |name: String| Some((decode(&name)?, path.join(name)));
    Ok(names_in(path)?.into_iter().filter_map(named).filter(|(_, path)| path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ledger::memory::{entry, key};

    fn at(directory: &TempDir, name: &str) -> PathBuf {
        directory.path().join("toy/here/shop/live").join(name)
    }

    async fn three() -> (TempDir, DirectoryLedger, Vec<Entry>) {
        let directory = TempDir::new().unwrap();
        let ledger = DirectoryLedger::new(directory.path());
        let entries: Vec<Entry> = (1..=3).map(entry).collect();
        for entry in &entries {
            ledger.append(&key(), entry).await.unwrap();
        }
        (directory, ledger, entries)
    }

    #[tokio::test]
    async fn entries_come_back_as_they_went_in() {
        let (directory, ledger, entries) = three().await;
        assert_eq!(ledger.read(&key()).await.unwrap(), entries);
        assert_eq!(ledger.read_from(&key(), 3).await.unwrap(), entries[2..]);
        assert_eq!(ledger.read_from(&key(), 4).await.unwrap(), []);
        assert_eq!(ledger.keys().await.unwrap(), [key()]);
        let names = names_in(&at(&directory, "")).unwrap();
        assert_eq!(names, ["00000001.json", "00000002.json", "00000003.json"]);
    }

    #[tokio::test]
    async fn a_ledger_that_is_not_there_is_empty() {
        let directory = TempDir::new().unwrap();
        let ledger = DirectoryLedger::new(directory.path().join("nothing"));
        assert_eq!(ledger.read(&key()).await.unwrap(), []);
        assert_eq!(ledger.keys().await.unwrap(), []);
        assert!(!directory.path().join("nothing").exists());
    }

    #[tokio::test]
    async fn a_taken_number_tells_who_was_first_and_keeps_the_first() {
        let (directory, ledger, entries) = three().await;
        match ledger.append(&key(), &entry(2)).await {
            Err(LedgerError::Taken { by }) => assert_eq!(*by, entries[1]),
            other => panic!("{other:?}"),
        }
        assert_eq!(ledger.read(&key()).await.unwrap(), entries);
        assert_eq!(names_in(&at(&directory, "")).unwrap().len(), 3, "no draft stays behind");
    }

    #[tokio::test]
    async fn a_draft_of_a_killed_writer_is_not_an_entry() {
        let (directory, ledger, entries) = three().await;
        fs::write(at(&directory, ".00000004.01J8.tmp"), b"{\"format\":1,\"se").unwrap();
        fs::write(at(&directory, ".DS_Store"), b"x").unwrap();
        assert_eq!(ledger.read(&key()).await.unwrap(), entries);
        ledger.append(&key(), &entry(4)).await.unwrap();
        assert_eq!(ledger.read(&key()).await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_gap_is_torn_and_names_the_missing_entry() {
        let (directory, ledger, _) = three().await;
        fs::remove_file(at(&directory, "00000002.json")).unwrap();
        match ledger.read(&key()).await {
            Err(LedgerError::Torn { at, why }) => {
                assert!(at.ends_with("00000002.json"), "{at}");
                assert_eq!(why, "this entry is missing");
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_understood_is_torn_and_named() {
        for bytes in [&b""[..], b"{", b"{\"format\":1}", b"\xff", &[b' '; MOST_BYTES + 1]] {
            let (directory, ledger, _) = three().await;
            fs::write(at(&directory, "00000002.json"), bytes).unwrap();
            match ledger.read(&key()).await {
                Err(LedgerError::Torn { at, .. }) => assert!(at.ends_with("00000002.json"), "{at}"),
                other => panic!("{other:?}"),
            }
        }
        let (directory, ledger, _) = three().await;
        fs::copy(at(&directory, "00000003.json"), at(&directory, "00000002.json")).unwrap();
        let error = ledger.read(&key()).await.unwrap_err();
        assert!(error.to_string().ends_with("it says that it is entry 3"), "{error}");
    }

    #[tokio::test]
    async fn a_newer_format_says_so() {
        let (directory, ledger, _) = three().await;
        fs::write(at(&directory, "00000002.json"), br#"{"format": 2, "all": "else"}"#).unwrap();
        let error = ledger.read(&key()).await.unwrap_err();
        assert!(matches!(error, LedgerError::Newer { format: 2, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_folder_deleted_under_a_run_does_not_begin_in_the_middle() {
        let (directory, ledger, _) = three().await;
        fs::remove_dir_all(directory.path().join("toy")).unwrap();
        let error = ledger.append(&key(), &entry(4)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Torn { .. }), "{error}");
        assert_eq!(ledger.read(&key()).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_ledger_that_cannot_be_written_names_path_and_cause() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let ledger = DirectoryLedger::new(directory.path().join("file/ledger"));
        match ledger.append(&key(), &entry(1)).await {
            Err(LedgerError::Unwritable { at, cause }) => {
                assert!(at.contains("file/ledger"), "{at}");
                assert_eq!(cause.kind(), io::ErrorKind::NotADirectory);
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_namespace_is_part_of_the_name_and_not_a_folder() {
        let directory = TempDir::new().unwrap();
        let ledger = DirectoryLedger::new(directory.path());
        let mut key = key();
        key.alias.function = "ns/shop".parse().unwrap();
        key.place.region = "../out".to_owned();
        ledger.append(&key, &entry(1)).await.unwrap();
        assert!(directory.path().join("toy/%2E.%2Fout/ns%2Fshop/live/00000001.json").exists());
        assert_eq!(ledger.keys().await.unwrap(), [key]);
    }

    #[test]
    fn two_names_for_one_file_are_refused_where_renames_cannot_refuse() {
        let directory = TempDir::new().unwrap();
        let (draft, file) = (directory.path().join("draft"), directory.path().join("file"));
        fs::write(&draft, b"one").unwrap();
        link_new(&draft, &file).unwrap();
        fs::write(&draft, b"two").unwrap();
        assert_eq!(link_new(&draft, &file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"one");
    }

    #[tokio::test]
    async fn of_many_who_want_a_number_one_gets_it() {
        let directory = TempDir::new().unwrap();
        let ledger = DirectoryLedger::new(directory.path());
        let wanted: Vec<Entry> = (0..16).map(|_| entry(1)).collect();
        let key = key();
        let results = futures::future::join_all(wanted.iter().map(|entry| ledger.append(&key, entry))).await;
        let winners: Vec<&Entry> = wanted
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .map(|(entry, _)| entry)
            .collect();
        assert_eq!(winners.len(), 1);
        for result in &results {
            match result {
                Ok(()) => {}
                Err(LedgerError::Taken { by }) => assert_eq!(&**by, winners[0]),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
