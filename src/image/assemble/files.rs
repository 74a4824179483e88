//! Which files go where: from the entries of an assembly to one sorted list.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::error::{ImageError, ImageErrorKind};
use super::super::source::Add;
use super::NAME;
use super::base::{Below, Kind, normal};

/// What a layer holds, by path without a leading slash; the order of the map is the order in the layer, parents first.
pub(super) type Entries = BTreeMap<String, Entry>;

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { source: PathBuf, size: u64, mode: u32 },
    Link(PathBuf),
}

const MOST_FILES: usize = 500_000;

/// Finds every file of `add` and the directories above it that the base lacks.
pub(super) fn collect(add: &[Add], directory: &Path, below: &Below) -> Result<Entries, ImageError> {
    let mut collecting = Collecting { below, entries: Entries::new(), key: String::new(), mode: None };
    for (index, add) in add.iter().enumerate() {
        collecting.key = format!("assemble.add[{index}]");
        collecting.mode = add.mode;
        collecting.add(&directory.join(&add.source), &add.destination)?;
    }
    Ok(collecting.entries)
}

struct Collecting<'a> {
    below: &'a Below,
    entries: Entries,
    key: String,
    mode: Option<u32>,
}

impl Collecting<'_> {
    fn add(&mut self, source: &Path, destination: &str) -> Result<(), ImageError> {
        if let Some(mode) = self.mode
            && mode > 0o7777
        {
            return Err(
                self.wrong(ImageErrorKind::Unsupported, format!("{}.mode: {mode:o} is no mode", self.key))
            );
        }
        if destination.is_empty() || destination.contains('\0') {
            let message = format!("{}.destination: a path in the image is expected", self.key);
            return Err(self.wrong(ImageErrorKind::Unsupported, message));
        }
        // The source itself may be a link to what is meant; links inside a directory stay links.
        let metadata = std::fs::metadata(source).map_err(|error| self.io(source, &error))?;
        if metadata.is_dir() {
            let at = self.directory(&normal(destination))?;
            return self.tree(source, &at);
        }
        let into = destination.ends_with('/') || normal(destination).is_empty();
        let path = match (into, source.file_name()) {
            (true, Some(name)) => normal(&format!("{destination}/{}", self.text(source, name.as_ref())?)),
            _ => normal(destination),
        };
        self.put(source, &metadata, &path)
    }

    /// Everything in the directory `source`, beneath `at`.
    fn tree(&mut self, source: &Path, at: &str) -> Result<(), ImageError> {
        let failed = |error: io::Error| self.io(source, &error);
        let mut names = std::fs::read_dir(source)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(failed)?;
        names.sort();
        for name in names {
            let source = source.join(&name);
            let name = self.text(&source, name.as_ref())?;
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            let metadata = std::fs::symlink_metadata(&source).map_err(|error| self.io(&source, &error))?;
            if metadata.is_dir() {
                let at = self.directory(&path)?;
                self.tree(&source, &at)?;
            } else {
                self.put(&source, &metadata, &path)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, source: &Path, metadata: &Metadata, path: &str) -> Result<(), ImageError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(parent)?;
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        let entry = if metadata.is_symlink() {
            Entry::Link(std::fs::read_link(source).map_err(|error| self.io(source, &error))?)
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            let mode = self.mode.unwrap_or(if executable { 0o755 } else { 0o644 });
            Entry::File { source: source.to_owned(), size: metadata.len(), mode }
        } else {
            let message =
                format!("{}: {} is neither a file, a directory nor a link", self.key, source.display());
            return Err(self.wrong(ImageErrorKind::Unsupported, message));
        };
        let there = if self.entries.get(&path) == Some(&Entry::Directory) {
            Some("the files added")
        } else if self.below.at(&path) == Some(&Kind::Directory) {
            Some("the base")
        } else {
            None
        };
        if let Some(there) = there {
            let message =
                format!("{}: /{path} is a directory in {there}; {} is not", self.key, source.display());
            return Err(self
                .wrong(ImageErrorKind::Unsupported, message)
                .hint("end the destination in / to put the file into that directory"));
        }
        self.entries.insert(path, entry);
        if self.entries.len() > MOST_FILES {
            let message = format!("{}: more than {MOST_FILES} files are not put into one layer", self.key);
            return Err(self.wrong(ImageErrorKind::Limit, message));
        }
        Ok(())
    }

    /// Makes sure `path` is a directory, and answers with where it really is. Directories of the base are left as they are.
    fn directory(&mut self, path: &str) -> Result<String, ImageError> {
        let resolved = self.below.resolve(path);
        let path = resolved
            .map_err(|problem| self.wrong(ImageErrorKind::Unsupported, format!("{}: {problem}", self.key)))?;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let part = &path[..end];
            if part.is_empty() || self.below.at(part) == Some(&Kind::Directory) {
                continue;
            }
            let entry = self.entries.entry(part.to_owned()).or_insert(Entry::Directory);
            if *entry != Entry::Directory {
                let message = format!(
                    "{}: /{part} is added as a file or link before, so nothing goes into it",
                    self.key
                );
                return Err(self.wrong(ImageErrorKind::Unsupported, message));
            }
        }
        Ok(path)
    }

    fn text(&self, source: &Path, name: &Path) -> Result<String, ImageError> {
        name.to_str().map(str::to_owned).ok_or_else(|| {
            let message = format!("{}: the name of {} is not UTF-8", self.key, source.display());
            self.wrong(ImageErrorKind::Unsupported, message)
        })
    }

    fn io(&self, source: &Path, error: &io::Error) -> ImageError {
        ImageError::io(NAME, &format!("{}.source: {}", self.key, source.display()), error)
    }

    fn wrong(&self, kind: ImageErrorKind, message: String) -> ImageError {
        ImageError::new(kind, NAME, message)
    }
}
