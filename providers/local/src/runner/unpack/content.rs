//! The contents of a layer's files, each kept under a number of ours.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::archive::{Archive, Kind, Member};
use super::layer::Budget;
use super::{Limits, Refused, index};
use crate::runner::sandbox::Users;

/// How many zeroes make a hole.
const HOLE: usize = 4096;

/// Keeps the content of every file in `archive` in the new directory `contents`, and writes the archive's index.
pub(super) fn keep<R: Read>(
    archive: &mut Archive<R>,
    index: &mut impl Write,
    contents: &Path,
    users: Users,
    limits: &Limits,
) -> Result<(), Refused> {
    let failed = |error: io::Error| Refused::disk(contents, error);
    std::fs::create_dir(contents).map_err(failed)?;
    let directory = OwnedFd::from(File::open(contents).map_err(failed)?);
    let mut budget = Budget::new(limits);
    let mut buffer = vec![0; 128 << 10];
    let mut number = 0_u64;
    while let Some(member) = archive.next()? {
        budget.spend(&member, limits)?;
        // What will be refused is refused before anything is kept of it.
        super::folder::parts(&member.path, limits.path_bytes)?;
        if member.link.len() > limits.path_bytes {
            return Err(Refused::new(format!("a link to a path of {} bytes", member.link.len())));
        }
        if member.kind == Kind::File {
            number += 1;
            keep_one(archive.content(), &directory, number, &member, users, &mut buffer)?;
        }
        index::write(index, &member, number).map_err(failed)?;
    }
    Ok(())
}

fn keep_one(
    mut from: impl Read,
    directory: &OwnedFd,
    number: u64,
    member: &Member,
    users: Users,
    buffer: &mut [u8],
) -> Result<(), Refused> {
    let path = PathBuf::from(String::from_utf8_lossy(&member.path).into_owned());
    let failed = |error: Errno| Refused::disk(&path, error);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, number.to_string(), flags, Mode::from_raw_mode(0o600));
    let mut file = File::from(file.map_err(failed)?);
    copy(&mut from, &mut file, buffer, &path)?;
    if let (Some(user), Some(group)) = (users.on_host(member.user), users.on_host(member.group)) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).map_err(failed)?;
    }
    // Set-user-id and its like are dropped. Where everything is ours, the owner, who runs it, may read.
    let ours = if users == Users::One { 0o400 } else { 0 };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(member.mode & 0o777 | ours)).map_err(failed)?;
    let modified = Timespec { tv_sec: member.modified, tv_nsec: 0 };
    // A time that the file system cannot say is not worth refusing an image for.
    let _ = rustix::fs::futimens(&file, &Timestamps { last_access: modified, last_modification: modified });
    Ok(())
}

/// Copies all of `from`. Blocks of zeroes become holes, so that a sparse file takes no more room than it did.
fn copy(from: &mut impl Read, to: &mut File, buffer: &mut [u8], path: &Path) -> Result<(), Refused> {
    let disk = |error: io::Error| Refused::disk(path, error);
    let (mut at, mut written) = (0, 0);
    loop {
        let read = fill(from, buffer).map_err(Refused::unreadable)?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let hole = hole(rest);
            at += hole as u64;
            rest = &rest[hole..];
            let content = rest.chunks(HOLE).take_while(|block| !is_hole(block)).map(<[u8]>::len).sum();
            to.write_all_at(&rest[..content], at).map_err(disk)?;
            at += content as u64;
            rest = &rest[content..];
            if content > 0 {
                written = at;
            }
        }
    }
    if written < at {
        to.set_len(at).map_err(disk)?;
    }
    Ok(())
}

fn is_hole(block: &[u8]) -> bool {
    block.len() == HOLE && block.iter().all(|byte| *byte == 0)
}

/// How many bytes of `bytes` are a hole, from its beginning.
fn hole(bytes: &[u8]) -> usize {
    bytes.chunks(HOLE).take_while(|block| is_hole(block)).map(<[u8]>::len).sum()
}

/// Reads until `buffer` is full or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
