//! Doors to the unpacking of layers, for fuzzing. Each takes any bytes and fails by panicking.

use std::fs;
use std::io::{Seek as _, Write as _};

use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::super::sandbox::Users;
use super::{Limits, put_together_within, take_apart_within};
use crate::registry::{Layer, Packing, finish};

const SMALL: Limits = Limits {
    layers: 8,
    entries: 200,
    bytes: 1 << 20,
    path_bytes: 256,
    name_bytes: 1 << 16,
    ratio: 100,
    ratio_from: 1 << 16,
};

/// A layer as it comes, gzip or plain. Checksums of tar headers are made good first: no fuzzer finds one.
pub(crate) fn bytes(bytes: &[u8]) {
    let packing = if bytes.starts_with(&[0x1f, 0x8b]) { Packing::Gzip } else { Packing::Plain };
    let mut bytes = bytes.to_vec();
    if matches!(packing, Packing::Plain) {
        for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    unpack(&[(packing, bytes)]);
}

/// Two layers as a list of what is in them, a member a line: `KIND PATH [TARGET]`, a line `-` between the layers. This is
/// how paths, links and whiteouts are tried against each other.
pub(crate) fn members(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut layers = vec![Builder::new(Vec::new())];
    for line in text.lines().take(60) {
        if line == "-" && layers.len() < 3 {
            layers.push(Builder::new(Vec::new()));
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (kind, path, target) = (words.next(), words.next(), words.next().unwrap_or_default());
        let (Some(kind), Some(path)) = (kind, path) else { continue };
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        let kind = match kind {
            "d" => EntryType::Directory,
            "l" => EntryType::Symlink,
            "h" => EntryType::Link,
            "p" => EntryType::Fifo,
            _ => EntryType::Regular,
        };
        header.set_entry_type(kind);
        // What the writer would refuse is written all the same, where there is room for it.
        let raw = header.as_gnu_mut().expect("it is one");
        let fit = |text: &str, room: usize| text.as_bytes()[..text.len().min(room)].to_vec();
        raw.name[..path.len().min(100)].copy_from_slice(&fit(path, 100));
        if !matches!(kind, EntryType::Regular | EntryType::Fifo | EntryType::Directory) {
            raw.linkname[..target.len().min(100)].copy_from_slice(&fit(target, 100));
        }
        let content = if kind == EntryType::Regular { target.as_bytes() } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        layers.last_mut().expect("there is one").append(&header, content).expect("room for it");
    }
    let layers = layers.into_iter().map(|layer| (Packing::Plain, layer.into_inner().expect("it ends")));
    unpack(&layers.collect::<Vec<_>>());
}

/// Unpacks the layers on each other into a root of its own, beside something that nobody may touch.
fn unpack(layers: &[(Packing, Vec<u8>)]) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    fs::create_dir(&root).expect("a folder");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("file"), "untouched").expect("a file");

    let mut apart = Vec::new();
    for (index, (packing, bytes)) in layers.iter().enumerate() {
        let digest = finish(Sha256::new_with_prefix(bytes));
        let layer = Layer { digest: digest.clone(), packing: *packing, diff_id: digest.clone() };
        let folder = place.path().join(format!("layer-{index}"));
        fs::create_dir(&folder).expect("a folder");
        let open = |_: &Layer| {
            let mut file = tempfile::tempfile()?;
            file.write_all(bytes)?;
            file.rewind()?;
            Ok(file)
        };
        // A packed layer does not have the digest that it is said to unpack to: it is taken apart and refused at its end,
        // and what was taken apart is laid all the same.
        let taken = take_apart_within(&layer, open, Users::One, &folder, &SMALL);
        if taken.is_err() && matches!(packing, Packing::Plain) {
            break;
        }
        apart.push((digest, folder));
    }
    let folders = apart.len();
    let _ = put_together_within(&apart, Users::One, &root, &SMALL);
    assert_eq!(fs::read_to_string(outside.join("file")).expect("it is there"), "untouched");
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 1);
    let beside = fs::read_dir(place.path()).expect("it is there").flatten();
    let beside = beside.filter(|entry| !entry.file_name().to_string_lossy().starts_with("layer-"));
    assert_eq!(beside.count(), 2, "something lies beside the root ({folders} layers)");
}
