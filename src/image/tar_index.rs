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

const BLOCK: u64 = 512;
/// An image has a few blobs per layer; this leaves room for layouts that hold hundreds of images.
const MOST_ENTRIES: usize = 100_000;
/// For a long name or a set of extended attributes.
const LONGEST_EXTENSION: u64 = 1 << 16;

/// The regular files of `file` by their normal names; of two with one name the later counts, as when it is unpacked.
pub(super) fn read(file: &File) -> io::Result<HashMap<String, Entry>> {
    let length = file.metadata()?.len();
    let mut entries = HashMap::new();
    let (mut at, mut count) = (0, 0);
    let mut next = Extension::default();
    while at + BLOCK <= length {
        let mut header = Header::new_old();
        file.read_exact_at(header.as_mut_bytes(), at)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            break;
        }
        check_sum(&header, at)?;
        let stated =
            header.entry_size().map_err(|_| wrong(format!("the tar's header at byte {at} has no size")))?;
        let kind = header.entry_type();
        let size = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => next.size.unwrap_or(stated),
            _ => stated,
        };
        let offset = at + BLOCK;
        let end = offset.checked_add(size).filter(|end| *end <= length).ok_or_else(|| {
            wrong(format!("the tar's entry at byte {at} says it has {size} bytes, more than the file"))
        })?;
        match kind {
            EntryType::GNULongName => next.name = Some(extension(file, offset, size)?),
            EntryType::XHeader => next.read_pax(&extension(file, offset, size)?),
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            EntryType::Regular | EntryType::Continuous => {
                let name = std::mem::take(&mut next).name.unwrap_or_else(|| header.path_bytes().into_owned());
                if let Some(name) = normal(&name) {
                    entries.insert(name, Entry { offset, size });
                }
            }
            _ => next = Extension::default(),
        }
        count += 1;
        if count > MOST_ENTRIES {
            let message = format!("the tar has more than the {MOST_ENTRIES} entries that are read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        at = end.next_multiple_of(BLOCK);
    }
    if count == 0 { Err(wrong("not a tar".to_owned())) } else { Ok(entries) }
}

/// What the entries before an entry say about it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Reads `LENGTH KEY=VALUE\n` records; what is malformed is passed over, as it only loses a name.
    fn read_pax(&mut self, text: &[u8]) {
        for record in tar::PaxExtensions::new(text).flatten() {
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"size" => self.size = record.value().ok().and_then(|value| value.parse().ok()),
                _ => {}
            }
        }
    }
}

fn extension(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > LONGEST_EXTENSION {
        return Err(wrong(format!(
            "the tar has a header of {size} bytes, more than the {LONGEST_EXTENSION} that are read"
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).expect("it was compared with a small number")];
    file.read_exact_at(&mut bytes, offset)?;
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
        let entries = read(&file).unwrap();
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
    fn a_size_beyond_the_file_is_refused() {
        let mut bytes = header("a", EntryType::Regular, 1 << 40).as_bytes().to_vec();
        bytes.extend([0; 1024]);
        let error = read(&file(&bytes)).unwrap_err();
        assert!(error.to_string().contains("1099511627776 bytes, more than the file"), "{error}");
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
