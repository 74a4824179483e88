//! Where a report lies, and reading it within bounds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use longshore_contract::{Digest, Repository};
use rustix::fs::{Mode, OFlags};

/// The largest report that is read.
const LARGEST: u64 = 64 << 20;

/// The endings a report may have, the first that is there counts.
const ENDINGS: [&str; 2] = ["json", "sarif"];

/// What is behind a report's name while it is being written.
const PARTIAL: &str = "partial";

/// What a report is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The image's digest.
    ByDigest,
    /// The image's repository; such a file may be about an older image.
    ByRepository,
}

impl Named {
    /// The file's path in the folder, without its ending. The parts of a repository's path are plain names, never `..`.
    pub(super) fn stem(self, repository: &Repository, digest: &Digest) -> String {
        match self {
            Self::ByDigest => digest.hex().to_owned(),
            Self::ByRepository => repository.path().to_owned(),
        }
    }
}

/// What lies under one name.
pub(super) struct Found {
    /// The report.
    pub(super) report: Option<(PathBuf, Vec<u8>)>,
    /// Whether somebody is writing one.
    pub(super) being_written: bool,
}

/// A report that cannot be read.
pub(super) struct Unreadable {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

/// Looks for a report. The draft is looked for before the report: one that is renamed meanwhile is seen as either, never as
/// neither.
pub(super) fn find(folder: &Path, stem: &str) -> Result<Found, Unreadable> {
    let named = |ending: &str| folder.join(format!("{stem}.{ending}"));
    let drafts = ENDINGS.map(|ending| named(&format!("{ending}.{PARTIAL}")));
    let being_written = drafts.iter().any(|draft| draft.exists());
    for ending in ENDINGS {
        let file = named(ending);
        match read(&file) {
            Ok(bytes) => return Ok(Found { report: Some((file, bytes)), being_written }),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Unreadable { file, why: error.to_string() }),
        }
    }
    Ok(Found { report: None, being_written })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    // Without waiting: a pipe under that name would be waited for without end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = File::from(rustix::fs::open(file, flags, Mode::empty())?);
    let metadata = opened.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let too_large =
        || io::Error::other(format!("it is larger than a report is read ({} MiB)", LARGEST >> 20));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    opened.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(too_large()) } else { Ok(bytes) }
}
