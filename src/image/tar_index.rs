//! Where the files of a tar lie, found by walking its headers. Nothing is unpacked, and no header makes us hold more than a
//! fixed number of bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use tar::{EntryType, Header};

/// A file in a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a tar holds, by normal names; of two with one name the later counts, as when it is unpacked.
#[derive(Debug)]
pub(super) struct Index<P> {
    /// The regular files.
    pub(super) files: HashMap<String, P>,
    /// The links, symbolic and hard, and what each leads to.
    pub(super) links: HashMap<String, String>,
}

/// A tar that is read from its beginning to its end.
pub(super) trait Tape {
    /// Where a file's bytes are found again.
    type Place;
    /// Fills `block`; `false` where the tar ends in front of it.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> io::Result<bool>;
    /// Reads a header's `size` bytes, which are few.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>>;
    /// Goes past the `size` bytes of a file that is kept.
    fn keep(&mut self, name: &str, size: u64) -> io::Result<Self::Place>;
    /// Goes past `size` bytes that nobody wants.
    fn pass(&mut self, size: u64) -> io::Result<()>;
}

pub(super) const BLOCK: u64 = 512;
/// An image has a few blobs per layer; this leaves room for layouts that hold hundreds of images.
const MOST_ENTRIES: usize = 100_000;
/// For a long name or a set of extended attributes.
const LONGEST_EXTENSION: u64 = 1 << 16;

/// The files of `file`, found where they lie.
pub(super) fn read(file: &File) -> io::Result<Index<Entry>> {
    let length = file.metadata()?.len();
    walk(&mut InFile { file, at: 0, length })
}

/// Walks `tape` to its end.
pub(super) fn walk<T: Tape>(tape: &mut T) -> io::Result<Index<T::Place>> {
    let mut index = Index { files: HashMap::new(), links: HashMap::new() };
    let (mut at, mut count) = (0_u64, 0);
    let mut next = Extension::default();
    let mut header = Header::new_old();
    while tape.block(header.as_mut_bytes())? {
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            break;
        }
        check_sum(&header, at)?;
        let stated =
            header.entry_size().map_err(|_| wrong(format!("the tar's header at byte {at} has no size")))?;
        let kind = header.entry_type();
        let size = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => next.size.unwrap_or(stated),
            // A link has no bytes, whatever its header says of what it leads to.
            EntryType::Link | EntryType::Symlink => 0,
            _ => stated,
        };
        let after = at
            .checked_add(BLOCK)
            .and_then(|offset| offset.checked_add(size))
            .and_then(|end| end.checked_next_multiple_of(BLOCK));
        let after =
            after.ok_or_else(|| wrong(format!("the tar's entry at byte {at} says it has {size} bytes")))?;
        match kind {
            EntryType::GNULongName => next.name = Some(extension(tape, size)?),
            EntryType::GNULongLink => next.link = Some(extension(tape, size)?),
            EntryType::XHeader => next.read_pax(&extension(tape, size)?),
            EntryType::XGlobalHeader => tape.pass(size)?,
            EntryType::Regular | EntryType::Continuous => {
                let name = std::mem::take(&mut next).name.unwrap_or_else(|| header.path_bytes().into_owned());
                match normal(&name) {
                    Some(name) => {
                        let place = tape.keep(&name, size)?;
                        index.links.remove(&name);
                        index.files.insert(name, place);
                    }
                    None => tape.pass(size)?,
                }
            }
            EntryType::Link | EntryType::Symlink => {
                let Extension { name, link, .. } = std::mem::take(&mut next);
                let name = normal(&name.unwrap_or_else(|| header.path_bytes().into_owned()));
                let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
                if let (Some(name), Some(link)) = (name, link)
                    && let Some(target) = target(&name, &link, kind)
                {
                    index.files.remove(&name);
                    index.links.insert(name, target);
                }
            }
            _ => {
                next = Extension::default();
                tape.pass(size)?;
            }
        }
        count += 1;
        if count > MOST_ENTRIES {
            let message = format!("the tar has more than the {MOST_ENTRIES} entries that are read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        at = after;
    }
    if count == 0 { Err(wrong("not a tar".to_owned())) } else { Ok(index) }
}

/// Where a link leads, from the tar's root; `None` where that is outside. A symbolic link is relative to its folder.
fn target(name: &str, link: &[u8], kind: EntryType) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    if link.starts_with('/') {
        return None;
    }
    let folder =
        if kind == EntryType::Symlink { name.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// A tar in a file: what is kept stays where it is.
struct InFile<'a> {
    file: &'a File,
    at: u64,
    length: u64,
}

impl InFile<'_> {
    fn advance(&mut self, size: u64) -> io::Result<u64> {
        let offset = self.at;
        let end = offset.checked_add(size).filter(|end| *end <= self.length).ok_or_else(|| {
            let header = offset.saturating_sub(BLOCK);
            wrong(format!("the tar's entry at byte {header} says it has {size} bytes, more than the file"))
        })?;
        self.at = end.next_multiple_of(BLOCK);
        Ok(offset)
    }
}

impl Tape for InFile<'_> {
    type Place = Entry;

    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> io::Result<bool> {
        if self.at + BLOCK > self.length {
            return Ok(false);
        }
        self.file.read_exact_at(block, self.at)?;
        self.at += BLOCK;
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let offset = self.advance(size)?;
        let mut bytes = vec![0; usize::try_from(size).expect("it was compared with a small number")];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn keep(&mut self, _name: &str, size: u64) -> io::Result<Entry> {
        Ok(Entry { offset: self.advance(size)?, size })
    }

    fn pass(&mut self, size: u64) -> io::Result<()> {
        self.advance(size).map(|_| ())
    }
}

/// What the entries before an entry say about it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Reads `LENGTH KEY=VALUE\n` records; what is malformed is passed over, as it only loses a name.
    fn read_pax(&mut self, text: &[u8]) {
        for record in tar::PaxExtensions::new(text).flatten() {
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => self.size = record.value().ok().and_then(|value| value.parse().ok()),
                _ => {}
            }
        }
    }
}

/// A header's text, which ends at its first NUL.
fn extension(tape: &mut impl Tape, size: u64) -> io::Result<Vec<u8>> {
    if size > LONGEST_EXTENSION {
        return Err(wrong(format!(
            "the tar has a header of {size} bytes, more than the {LONGEST_EXTENSION} that are read"
        )));
    }
    let mut bytes = tape.extension(size)?;
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    Ok(bytes)
}

fn check_sum(header: &Header, at: u64) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes
        .iter()
        .enumerate()
        .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) })
        .sum();
    match header.cksum() {
        Ok(stated) if stated == sum => Ok(()),
        _ if at == 0 => Err(wrong("not a tar".to_owned())),
        _ => Err(wrong(format!("the tar's header at byte {at} is damaged"))),
    }
}

/// `./a//b` as `a/b`; `None` for what is no path inside.
fn normal(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!name.starts_with('/') && !parts.contains(&"..")).then(|| parts.join("/"))
}

fn wrong(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn header(name: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    #[test]
    fn entries_are_found_under_their_normal_names() {
        let long = "d/".repeat(80) + "file";
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in [("./a", "one"), (long.as_str(), "two"), ("a", "three")] {
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.append_pax_extensions([("path", &b"named/by/pax"[..])]).unwrap();
        let mut plain = Header::new_ustar();
        plain.set_size(4);
        builder.append_data(&mut plain, "short", &b"four"[..]).unwrap();
        let file = file(&builder.into_inner().unwrap());
        let entries = read(&file).unwrap().files;
        let text = |name: &str| {
            let Entry { offset, size } = entries[name];
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            (text("a"), text(&long), text("named/by/pax")),
            ("three".into(), "two".into(), "four".into())
        );
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn links_are_resolved_within_the_tar_and_no_further() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, to, kind) in [
            ("a/layer.tar", "../b.tar", EntryType::Symlink),
            ("hard", "d/./file", EntryType::Link),
            ("out", "../../etc/passwd", EntryType::Symlink),
            ("absolute", "/etc/passwd", EntryType::Symlink),
        ] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            builder.append_link(&mut header, name, to).unwrap();
        }
        let links = read(&file(&builder.into_inner().unwrap())).unwrap().links;
        assert_eq!((links["a/layer.tar"].as_str(), links["hard"].as_str()), ("b.tar", "d/file"));
        assert_eq!(links.len(), 2);
    }

    #[test]
    fn a_size_beyond_the_file_is_refused() {
        let mut bytes = header("a", EntryType::Regular, 1 << 40).as_bytes().to_vec();
        bytes.extend([0; 1024]);
        let error = read(&file(&bytes)).unwrap_err();
        assert!(error.to_string().contains("1099511627776 bytes, more than the file"), "{error}");
    }

    #[test]
    fn a_size_that_no_number_holds_with_its_header_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("size", u64::MAX.to_string().as_bytes())]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(1024);
        bytes.extend(header("a", EntryType::Regular, 0).as_bytes());
        let error = read(&file(&bytes)).unwrap_err();
        assert!(error.to_string().contains("18446744073709551615 bytes"), "{error}");
    }

    #[test]
    fn a_name_as_long_as_a_film_is_not_read_into_memory() {
        let file = file(header("x", EntryType::GNULongName, 1 << 30).as_bytes());
        file.set_len(2 << 30).unwrap();
        let error = read(&file).unwrap_err();
        assert!(error.to_string().contains("1073741824 bytes"), "{error}");
    }

    #[test]
    fn entries_are_counted_and_their_number_is_bounded() {
        let one = header("a", EntryType::Regular, 0);
        let file = file(&one.as_bytes().repeat(MOST_ENTRIES + 1));
        let error = read(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_damaged_header_is_told_from_a_file_that_is_no_tar() {
        let mut bytes = header("a", EntryType::Regular, 0).as_bytes().repeat(2);
        bytes[512] ^= 1;
        assert!(read(&file(&bytes)).unwrap_err().to_string().contains("at byte 512 is damaged"));
        assert_eq!(read(&file(&[b'x'; 600])).unwrap_err().to_string(), "not a tar");
        assert_eq!(read(&file(b"")).unwrap_err().to_string(), "not a tar");
    }
}
