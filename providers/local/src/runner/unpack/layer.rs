//! One layer laid over what lies below it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::archive::{Kind, Member};
use super::folder::{Folder, Missing, Root, parts};
use super::index::{Entries, Entry};
use super::{Limits, Refused};
use crate::runner::sandbox::Users;

/// Marks the name behind it as removed.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory as new: nothing below it shows.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Everything else an old union file system kept for itself.
const UNION: &[u8] = b".wh..wh.";

/// What may still be unpacked of one image.
#[derive(Debug)]
pub(super) struct Budget {
    entries: u64,
    name_bytes: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { entries: limits.entries, name_bytes: limits.name_bytes }
    }

    pub(super) fn spend(&mut self, member: &Member, limits: &Limits) -> Result<(), Refused> {
        self.entries = self
            .entries
            .checked_sub(1)
            .ok_or_else(|| Refused::new(format!("the image has more than {} entries", limits.entries)))?;
        self.name_bytes = self
            .name_bytes
            .checked_sub((member.path.len() + member.link.len()) as u64)
            .ok_or_else(|| Refused::new("the names in the image are too long together"))?;
        Ok(())
    }
}

/// Lays the layer with these `entries`, whose files' contents are in the directory `contents`, over `root`.
pub(super) fn lay<R: Read>(
    mut entries: Entries<R>,
    contents: &OwnedFd,
    root: &Root,
    users: Users,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<(), Refused> {
    let mut layer =
        Layer { root, users, contents, brought: HashSet::new(), cleared: HashSet::new(), last: None };
    while let Some(entry) = entries.next(limits)? {
        budget.spend(&entry.member, limits)?;
        let mut parts = parts(&entry.member.path, limits.path_bytes)?;
        match parts.pop() {
            Some(name) => layer.put(&entry, &parts, &name, limits)?,
            // The root itself, which is there.
            None if entry.member.kind == Kind::Directory => {}
            None => return Err(Refused::new("a member without a name")),
        }
    }
    Ok(())
}

struct Layer<'a> {
    root: &'a Root,
    users: Users,
    contents: &'a OwnedFd,
    /// What this layer put where. Its whiteouts are about the layers below and leave these alone, in whatever order
    /// they come.
    brought: HashSet<PathBuf>,
    /// What was cleared of lower layers already: again, it would find nothing and look through everything.
    cleared: HashSet<PathBuf>,
    /// The directory that was asked for last: members come sorted by directory.
    last: Option<(Vec<OsString>, Rc<Folder>)>,
}

impl Layer<'_> {
    fn put(
        &mut self,
        entry: &Entry,
        parents: &[OsString],
        name: &OsStr,
        limits: &Limits,
    ) -> Result<(), Refused> {
        let member = &entry.member;
        let bytes = name.as_bytes();
        if bytes.starts_with(WHITEOUT) {
            let Some(folder) = self.folder(parents, Missing::Leave)? else { return Ok(()) };
            return match bytes {
                OPAQUE => self.clear(&folder),
                _ if bytes.starts_with(UNION) => Ok(()),
                _ => self.white_out(&folder, OsStr::from_bytes(&bytes[WHITEOUT.len()..])),
            };
        }
        let folder =
            self.folder(parents, Missing::Make)?.ok_or_else(|| Refused::new("a directory is missing"))?;
        let path = folder.path.join(name);
        let failed = |error: Errno| Refused::disk(&path, error);
        match member.kind {
            Kind::Directory => {
                self.directory(&folder, name, member.mode)?;
                self.root.give(&folder.directory, name, member.user, member.group).map_err(failed)?;
            }
            Kind::File => {
                self.remove(&folder, name)?;
                let content = entry.content.to_string();
                rustix::fs::linkat(self.contents, content, &folder.directory, name, AtFlags::empty())
                    .map_err(failed)?;
            }
            Kind::Symlink => {
                if member.link.is_empty() || member.link.len() > limits.path_bytes || member.link.contains(&0)
                {
                    return Err(Refused::new(format!("{} is a link to nothing", path.display())));
                }
                self.remove(&folder, name)?;
                rustix::fs::symlinkat(member.link.as_slice(), &folder.directory, name).map_err(failed)?;
                self.root.give(&folder.directory, name, member.user, member.group).map_err(failed)?;
            }
            Kind::HardLink => self.hard_link(&folder, name, &member.link, limits)?,
            // A function has no use for a device or a pipe of its image, and its /dev is made when it starts.
            Kind::Special => {
                tracing::debug!("{} is a device or a pipe and is left out", path.display());
                return Ok(());
            }
        }
        self.brought.insert(path);
        Ok(())
    }

    fn folder(&mut self, parts: &[OsString], missing: Missing) -> Result<Option<Rc<Folder>>, Refused> {
        if let Some((last, folder)) = &self.last
            && last == parts
        {
            return Ok(Some(Rc::clone(folder)));
        }
        let Some(folder) = self.root.folder(parts, missing)? else { return Ok(None) };
        let folder = Rc::new(folder);
        self.last = Some((parts.to_vec(), Rc::clone(&folder)));
        Ok(Some(folder))
    }

    /// Makes a directory, or changes the one that is there. Where everything is ours its owner may always write: whoever
    /// lays the next layer is that owner, and so is the function, for which all of it is read-only.
    fn directory(&mut self, folder: &Folder, name: &OsStr, mode: u32) -> Result<(), Refused> {
        let path = folder.path.join(name);
        let failed = |error: Errno| Refused::disk(&path, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&folder.directory, name, flags, Mode::empty());
        let make = || rustix::fs::mkdirat(&folder.directory, name, Mode::from_raw_mode(0o700));
        let directory = match open() {
            Err(Errno::NOENT) => make().and_then(|()| open()),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.remove(folder, name)?;
                make().and_then(|()| open())
            }
            opened => opened,
        };
        let ours = if self.users == Users::One { 0o700 } else { 0 };
        let mode = Mode::from_raw_mode(mode & 0o1777 | ours);
        rustix::fs::fchmod(directory.map_err(failed)?, mode).map_err(failed)
    }

    fn hard_link(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        link: &[u8],
        limits: &Limits,
    ) -> Result<(), Refused> {
        let path = folder.path.join(name);
        let nothing = || {
            let link = String::from_utf8_lossy(link);
            Refused::new(format!("{} is a hard link to {link:?}, which is not there", path.display()))
        };
        let mut parts = parts(link, limits.path_bytes)?;
        let target_name = parts.pop().ok_or_else(nothing)?;
        let target = self.root.folder(&parts, Missing::Leave)?.ok_or_else(nothing)?;
        if target.path.join(&target_name) == path {
            return Ok(());
        }
        match kind_of(&target, &target_name) {
            Ok(FileType::Directory) => {
                return Err(Refused::new(format!("{} is a hard link to a directory", path.display())));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Err(nothing()),
            Err(error) => return Err(Refused::disk(&path, error)),
        }
        self.remove(folder, name)?;
        // A link to a link stays one: nothing is followed.
        rustix::fs::linkat(&target.directory, &target_name, &folder.directory, name, AtFlags::empty())
            .map_err(|error| Refused::disk(&path, error))
    }

    /// Removes whatever is called `name`, to make room.
    fn remove(&mut self, folder: &Folder, name: &OsStr) -> Result<(), Refused> {
        match rustix::fs::unlinkat(&folder.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                self.last = None;
                let everything = HashSet::new();
                remove_tree(&folder.directory, name, &folder.path.join(name), &everything).map(|_| ())
            }
            Err(error) => Err(Refused::disk(&folder.path.join(name), error)),
        }
    }

    /// Removes `name` as the lower layers have it.
    fn white_out(&mut self, folder: &Folder, name: &OsStr) -> Result<(), Refused> {
        let path = folder.path.join(name);
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(Refused::new(format!("a whiteout of {:?}", path.display())));
        }
        if !self.cleared.insert(path.clone()) {
            return Ok(());
        }
        self.last = None;
        remove_tree(&folder.directory, name, &path, &self.brought).map(|_| ())
    }

    /// Removes everything in `folder` that the lower layers have.
    fn clear(&mut self, folder: &Folder) -> Result<(), Refused> {
        if !self.cleared.insert(folder.path.clone()) {
            return Ok(());
        }
        self.last = None;
        for name in names_in(&folder.directory, OsStr::new("."), &folder.path)? {
            remove_tree(&folder.directory, &name, &folder.path.join(&name), &self.brought)?;
        }
        Ok(())
    }
}

fn kind_of(folder: &Folder, name: &OsStr) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(&folder.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Removes `name` and all below it, except what is in `keep` and the directories that leads through; true when nothing
/// stayed. No link is followed. Goes as deep as directories may lie.
fn remove_tree(
    directory: impl AsFd,
    name: &OsStr,
    path: &Path,
    keep: &HashSet<PathBuf>,
) -> Result<bool, Refused> {
    let failed = |error: Errno| Refused::disk(path, error);
    let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(true),
        stat => stat.map_err(failed)?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        if keep.contains(path) {
            return Ok(false);
        }
        return rustix::fs::unlinkat(&directory, name, AtFlags::empty()).map(|()| true).map_err(failed);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(&directory, name, flags, Mode::empty()).map_err(failed)?;
    let mut empty = true;
    for child in names_in(&inner, OsStr::new("."), path)? {
        empty &= remove_tree(&inner, &child, &path.join(&child), keep)?;
    }
    if !empty || keep.contains(path) {
        return Ok(false);
    }
    rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR).map(|()| true).map_err(failed)
}

fn names_in(directory: impl AsFd, name: &OsStr, path: &Path) -> Result<Vec<OsString>, Refused> {
    let failed = |error: Errno| Refused::disk(path, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::new(opened).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
