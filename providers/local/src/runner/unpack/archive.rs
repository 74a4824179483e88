//! A tar archive, member by member, out of a stream that nobody vouches for.
//!
//! The `tar` crate reads the fields of a header here and nothing else: its own iterator keeps long names and extended
//! headers of any size in memory, and takes a line feed inside an extended attribute for the end of the record.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::Refused;

const BLOCK: u64 = 512;
/// The most bytes an extended header or a long name may have.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// The most extended headers before one member.
const EXTENSIONS: usize = 8;

/// One member, without its content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    /// What a link leads to; empty for everything else.
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// In seconds since 1970.
    pub(super) modified: i64,
    pub(super) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    /// A device or a named pipe.
    Special,
}

pub(super) struct Archive<R> {
    reader: R,
    /// How much of the current member's content was not read yet, and how much padding comes behind it.
    content: u64,
    padding: u64,
}

/// What extended headers say about the member behind them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<u64>,
    group: Option<u64>,
    modified: Option<i64>,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, content: 0, padding: 0 }
    }

    /// The next member; what was not read of the last one is skipped. `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Refused> {
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS {
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = match header.entry_type() {
                EntryType::XGlobalHeader => continue,
                EntryType::XHeader => {
                    let records = self.extension()?;
                    extensions.read(&records)?;
                    continue;
                }
                EntryType::GNULongName => {
                    extensions.path = Some(text(self.extension()?));
                    continue;
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(text(self.extension()?));
                    continue;
                }
                EntryType::Regular | EntryType::Continuous => Kind::File,
                EntryType::Directory => Kind::Directory,
                EntryType::Symlink => Kind::Symlink,
                EntryType::Link => Kind::HardLink,
                EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
                EntryType::GNUSparse => return Err(Refused::new("a sparse file, which layers do not have")),
                other => return Err(Refused::new(format!("a member of unknown type {:?}", other.as_byte()))),
            };
            return self.member(kind, &header, extensions).map(Some);
        }
        Err(Refused::new(format!("more than {EXTENSIONS} extended headers before one member")))
    }

    /// The content of the member that was read last.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// The stream behind the archive.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    fn member(&mut self, kind: Kind, header: &Header, extensions: Extensions) -> Result<Member, Refused> {
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        // Old archives mark a directory by the slash behind its name only.
        let kind = if kind == Kind::File && path.ends_with(b"/") { Kind::Directory } else { kind };
        if let Some(size) = extensions.size {
            self.expect(size);
        }
        Ok(Member {
            kind,
            path,
            link: link.filter(|_| matches!(kind, Kind::Symlink | Kind::HardLink)).unwrap_or_default(),
            mode: header.mode().unwrap_or(0o644),
            user: owner(extensions.user.or_else(|| header.uid().ok())),
            group: owner(extensions.group.or_else(|| header.gid().ok())),
            modified: extensions.modified.unwrap_or_else(|| {
                header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
            }),
            size: self.content,
        })
    }

    fn expect(&mut self, content: u64) {
        self.content = content;
        self.padding = content.wrapping_neg() % BLOCK;
    }

    fn header(&mut self) -> Result<Option<Header>, Refused> {
        let rest = self.content.saturating_add(self.padding);
        (self.content, self.padding) = (0, 0);
        let skipped =
            io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).map_err(Refused::unreadable)?;
        if skipped < rest {
            return Err(Refused::new("it ends in the middle of a member"));
        }
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Refused::new("it ends in the middle of a header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refused::unreadable(error)),
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (before, after) = (&header.as_bytes()[..148], &header.as_bytes()[156..]);
        let sum = before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(Refused::new("a header's checksum is wrong"));
        }
        let size = header.entry_size().map_err(|_| Refused::new("a header's size is not a number"))?;
        // Links and directories have no content, whatever their header says: so reads every other program.
        let empty = matches!(
            header.entry_type(),
            EntryType::Symlink
                | EntryType::Link
                | EntryType::Directory
                | EntryType::Char
                | EntryType::Block
                | EntryType::Fifo
        );
        self.expect(if empty { 0 } else { size });
        Ok(Some(header))
    }

    fn extension(&mut self) -> Result<Vec<u8>, Refused> {
        if self.content > EXTENSION_LIMIT {
            return Err(Refused::new(format!("an extended header of {} bytes", self.content)));
        }
        let mut bytes = vec![0; self.content as usize];
        self.content().read_exact(&mut bytes).map_err(Refused::unreadable)?;
        Ok(bytes)
    }
}

/// A user or group number; the highest one means nobody in the kernel's interface.
fn owner(number: Option<u64>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number != u32::MAX).unwrap_or(0)
}

/// A long name without the zero byte that ends it.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

impl Extensions {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, where the length counts all of it: a value may have any bytes.
    fn read(&mut self, mut records: &[u8]) -> Result<(), Refused> {
        let broken = || Refused::new("an extended header makes no sense");
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u64>().ok());
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length = number(&records[..space]).ok_or_else(broken)?;
            let length = usize::try_from(length).map_err(|_| broken())?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(broken());
            }
            let record = &records[space + 1..length - 1];
            records = &records[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value).ok_or_else(broken)?),
                b"uid" => self.user = Some(number(value).ok_or_else(broken)?),
                b"gid" => self.group = Some(number(value).ok_or_else(broken)?),
                b"mtime" => {
                    let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                    self.modified = std::str::from_utf8(whole).ok().and_then(|text| text.parse().ok());
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(Refused::new("a sparse file, which layers do not have"));
                }
                // Extended attributes are not kept.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads a member's content to its end.
pub(super) struct Content<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.0.content).unwrap_or(usize::MAX));
        let read = self.0.reader.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.content -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, name: &str, size: u64) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn padded(content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        bytes.resize(content.len().next_multiple_of(512), 0);
        bytes
    }

    fn first(bytes: &[u8]) -> Result<Option<Member>, Refused> {
        Archive::new(bytes).next()
    }

    #[test]
    fn extended_headers_are_read_by_their_length() {
        let mut records = b"20 SCHILY.xattr.a=\n\n".to_vec();
        records.extend(b"12 path=a/b\n");
        let mut bytes = header(EntryType::XHeader, "x", records.len() as u64);
        bytes.extend(padded(&records));
        bytes.extend(header(EntryType::Regular, "short", 2));
        bytes.extend(padded(b"hi"));
        let mut archive = Archive::new(bytes.as_slice());
        assert_eq!(archive.next().unwrap().unwrap().path, b"a/b");
        let mut content = String::new();
        archive.content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "hi");
        assert!(archive.next().unwrap().is_none());
    }

    #[test]
    fn a_long_name_of_a_gigabyte_is_refused_before_it_is_read() {
        let bytes = header(EntryType::GNULongName, "x", 1 << 30);
        assert!(first(&bytes).unwrap_err().to_string().contains("extended header"));
    }

    #[test]
    fn an_endless_row_of_extended_headers_is_refused() {
        let bytes = header(EntryType::XGlobalHeader, "x", 0).repeat(10_000);
        assert!(first(&bytes).unwrap_err().to_string().contains("extended headers"));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let mut bytes = header(EntryType::Regular, "a", 1000);
        bytes.extend([1; 600]);
        let mut archive = Archive::new(bytes.as_slice());
        assert!(archive.next().unwrap().is_some());
        assert!(archive.next().unwrap_err().to_string().contains("middle"));
        assert!(first(&bytes[..100]).unwrap_err().to_string().contains("middle"));
        let mut archive = Archive::new(&bytes[..512]);
        assert!(archive.next().unwrap().is_some());
        assert!(archive.content().read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_wrong_checksum_and_a_sparse_file_are_refused() {
        let mut bytes = header(EntryType::Regular, "a", 0);
        bytes[0] = b'b';
        assert!(first(&bytes).unwrap_err().to_string().contains("checksum"));
        let bytes = header(EntryType::GNUSparse, "a", 0);
        assert!(first(&bytes).unwrap_err().to_string().contains("sparse"));
    }
}
