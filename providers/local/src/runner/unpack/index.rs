//! What is in a layer, without the contents of its files: its members in their order, each with the number under which its
//! content is kept. A file of ours, read back when an image is made of layers.
//!
//! A record is its kind, mode, user and group, the number of its content, and path and link with their lengths before them.
//! The last one has no kind but the mark of the end, and how many bytes the layer unpacked to.

use std::io::{Read, Write};

use super::archive::{Kind, Member};
use super::{Limits, Refused};

const END: u8 = 0xff;

/// One member of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) member: Member,
    /// The number of its content; nothing for what is no file.
    pub(super) content: u64,
}

/// Adds a record for `member`, whose content is kept under `content`.
pub(super) fn write(to: &mut impl Write, member: &Member, content: u64) -> std::io::Result<()> {
    let kind = match member.kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::HardLink => 3,
        Kind::Special => 4,
    };
    to.write_all(&[kind])?;
    for number in [member.mode, member.user, member.group] {
        to.write_all(&number.to_le_bytes())?;
    }
    to.write_all(&content.to_le_bytes())?;
    for text in [&member.path, &member.link] {
        to.write_all(&(text.len() as u64).to_le_bytes())?;
        to.write_all(text)?;
    }
    Ok(())
}

/// Adds the mark of the end, with the number of bytes that the layer unpacked to.
pub(super) fn finish(to: &mut impl Write, bytes: u64) -> std::io::Result<()> {
    to.write_all(&[END])?;
    to.write_all(&bytes.to_le_bytes())
}

/// The records of a layer.
pub(super) struct Entries<'a, R> {
    from: R,
    /// How many bytes the layer unpacked to, once the end was come to.
    bytes: &'a mut u64,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(super) fn new(from: R, bytes: &'a mut u64) -> Self {
        Self { from, bytes }
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self, limits: &Limits) -> Result<Option<Entry>, Refused> {
        let [kind] = self.array()?;
        let kind = match kind {
            0 => Kind::File,
            1 => Kind::Directory,
            2 => Kind::Symlink,
            3 => Kind::HardLink,
            4 => Kind::Special,
            END => {
                *self.bytes = u64::from_le_bytes(self.array()?);
                return Ok(None);
            }
            other => return Err(Refused::new(format!("its index has a member of kind {other}"))),
        };
        let mut number = || Ok::<_, Refused>(u32::from_le_bytes(self.array()?));
        let (mode, user, group) = (number()?, number()?, number()?);
        let content = u64::from_le_bytes(self.array()?);
        let (path, link) = (self.text(limits)?, self.text(limits)?);
        // Time and size are the content's.
        let member = Member { kind, path, link, mode, user, group, modified: 0, size: 0 };
        Ok(Some(Entry { member, content }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(Refused::unreadable)?;
        Ok(bytes)
    }

    fn text(&mut self, limits: &Limits) -> Result<Vec<u8>, Refused> {
        let length = u64::from_le_bytes(self.array()?);
        if length > limits.path_bytes as u64 {
            return Err(Refused::new("its index has a path that is too long"));
        }
        let mut text = vec![0; length as usize];
        self.from.read_exact(&mut text).map_err(Refused::unreadable)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::LIMITS;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let member = |kind, path: &[u8], link: &[u8]| Member {
            kind,
            path: path.to_vec(),
            link: link.to_vec(),
            mode: 0o755,
            user: 33,
            group: 44,
            modified: 0,
            size: 0,
        };
        let members = [
            member(Kind::File, b"a/\xff b", b""),
            member(Kind::Directory, b"d/", b""),
            member(Kind::Symlink, b"s", b"../x\n"),
            member(Kind::HardLink, b"h", b"a"),
            member(Kind::Special, b"p", b""),
        ];
        let mut bytes = Vec::new();
        for (number, member) in members.iter().enumerate() {
            write(&mut bytes, member, number as u64).unwrap();
        }
        finish(&mut bytes, 77).unwrap();
        let mut unpacked = 0;
        let mut entries = Entries::new(bytes.as_slice(), &mut unpacked);
        for (number, member) in members.into_iter().enumerate() {
            assert_eq!(entries.next(&LIMITS).unwrap().unwrap(), Entry { member, content: number as u64 });
        }
        assert!(entries.next(&LIMITS).unwrap().is_none());
        assert_eq!(unpacked, 77);
        let mut unpacked = 0;
        let mut cut = Entries::new(&bytes[..bytes.len() - 1], &mut unpacked);
        let read = (0..6).map(|_| cut.next(&LIMITS)).find_map(Result::err);
        assert!(read.unwrap().to_string().contains("ends too early"));
    }
}
