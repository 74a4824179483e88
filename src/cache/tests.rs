//! The cache over real folders.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

use super::entry::{HEAD, LAYERS};
use super::*;

fn digest(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes))).parse().unwrap()
}

fn cache(folder: &Path) -> Cache {
    Cache::at(folder.join("cache"), Limit::Bytes(1 << 30))
}

/// Bytes that do not compress, and differ by `seed`.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn pack(cache: &Cache, bytes: &[u8]) -> Result<Layer, PackError> {
    let packing =
        Packing { diff_id: &digest(bytes), bounds: Bounds { most: 1 << 30 }, stop: &Stop::default() };
    cache.pack(packing, || Ok(bytes))
}

fn all(mut reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("cache").join(LAYERS)).map_or(0, Iterator::count)
}

#[test]
fn a_layer_is_compressed_once_and_read_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = noise(300_000, 1);
    let made = pack(&cache(folder.path()), &bytes).unwrap();
    // Another process: nothing is in memory, and the bytes are not asked for again.
    let other = cache(folder.path());
    let packing = Packing { diff_id: &digest(&bytes), bounds: Bounds { most: 1 }, stop: &Stop::default() };
    let kept = other.pack(packing, || -> io::Result<&[u8]> { panic!("it is kept") }).unwrap();
    assert_eq!((&kept.digest, kept.size, kept.plain_size), (&made.digest, made.size, 300_000));
    let packed = all(kept.packed()).unwrap();
    assert_eq!(digest(&packed), kept.digest);
    assert_eq!(all(kept.plain()).unwrap(), bytes);
    assert_eq!(all(flate2::read::GzDecoder::new(&packed[..])).unwrap(), bytes);
}

#[test]
fn the_recipe_is_what_its_name_says() {
    // Other bytes need another recipe: entries of the old one would be taken for the new one's.
    let mut layer = noise(100_000, 7);
    layer.extend(std::iter::repeat_n(b"the same words again and again, ", 4000).flatten());
    let made = pack(&Cache::nowhere(), &layer).unwrap();
    assert_eq!((made.digest.as_str(), pack::RECIPE), (RECIPE_MAKES, "gzip-6-zlib-rs-1"));
    // Nor do they depend on how the source hands its bytes over.
    struct Drops<'a>(&'a [u8]);
    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let few = buffer.len().min(997);
            self.0.read(&mut buffer[..few])
        }
    }
    let packing =
        Packing { diff_id: &digest(&layer), bounds: Bounds { most: 1 << 30 }, stop: &Stop::default() };
    assert_eq!(Cache::nowhere().pack(packing, || Ok(Drops(&layer))).unwrap().digest, made.digest);
}
const RECIPE_MAKES: &str = "sha256:1a342534bc4175c002a328dc78ebd3f830624a9571018c8e789864853113afd7";

#[test]
fn many_at_once_compress_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let bytes = noise(2_000_000, 2);
    let opened = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let packing = Packing {
                    diff_id: &digest(&bytes),
                    bounds: Bounds { most: 1 << 30 },
                    stop: &Stop::default(),
                };
                let open = || {
                    opened.fetch_add(1, Ordering::Relaxed);
                    Ok(&bytes[..])
                };
                cache.pack(packing, open).unwrap();
            });
        }
    });
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[test]
fn another_layer_than_was_meant_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let wanted = digest(b"one");
    let packing = Packing { diff_id: &wanted, bounds: Bounds { most: 100 }, stop: &Stop::default() };
    let error = cache.pack(packing, || Ok(&b"another"[..])).unwrap_err();
    let said =
        format!("its contents have the digest {}, the configuration says {wanted}", digest(b"another"));
    assert_eq!(error.to_string(), said);
    assert_eq!(entries(folder.path()), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("cache/drafts")).unwrap().count(), 0);
}

#[test]
fn a_layer_without_end_is_refused_when_its_bounds_are_passed() {
    let folder = tempfile::tempdir().unwrap();
    let packing = Packing { diff_id: &digest(b""), bounds: Bounds { most: 1 << 20 }, stop: &Stop::default() };
    let error = cache(folder.path()).pack(packing, || Ok(io::repeat(0))).unwrap_err();
    assert_eq!(error.to_string(), "it has more than the 1048576 uncompressed bytes that are read");
    assert_eq!(entries(folder.path()), 0);
}

#[test]
fn what_nobody_waits_for_any_more_stops() {
    let stop = Stop::default();
    stop.stop();
    let packing = Packing { diff_id: &digest(b""), bounds: Bounds { most: u64::MAX }, stop: &stop };
    let error = Cache::nowhere().pack(packing, || Ok(io::repeat(0))).unwrap_err();
    assert!(matches!(error, PackError::Stopped));
}

#[test]
fn a_damaged_copy_is_an_error_and_is_gone() {
    let bytes = noise(100_000, 3);
    type Read = fn(&Layer) -> io::Result<Vec<u8>>;
    for read in [(|layer| all(layer.packed())) as Read, |layer| all(layer.plain())] {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let layer = pack(&cache, &bytes).unwrap();
        let path = folder.path().join("cache").join(LAYERS).join(entry::name(&layer.diff_id));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 8], HEAD + 50_000).unwrap();
        let error = read(&layer).unwrap_err();
        assert!(error.to_string().contains("the copy in the cache is damaged"), "{error}");
        assert!(cache.layer(&layer.diff_id).is_none());
        assert_eq!(read(&pack(&cache, &bytes).unwrap()).map(|_| ()).ok(), Some(()));
    }
}

#[test]
fn an_entry_that_is_cut_off_or_no_entry_at_all_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let bytes = noise(10_000, 4);
    let layer = pack(&cache, &bytes).unwrap();
    let path = folder.path().join("cache").join(LAYERS).join(entry::name(&layer.diff_id));
    let break_it: [&dyn Fn(); 4] = [
        &|| File::options().write(true).open(&path).unwrap().set_len(HEAD + 10).unwrap(),
        &|| File::options().write(true).open(&path).unwrap().write_all_at(&[0; 512], 0).unwrap(),
        &|| std::fs::write(&path, "no entry").unwrap(),
        &|| {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        },
    ];
    for damage in break_it {
        damage();
        assert!(cache.layer(&layer.diff_id).is_none());
        let again = pack(&cache, &bytes).unwrap();
        assert_eq!(all(again.plain()).unwrap(), bytes);
    }
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), Limit::Bytes(250_000));
    let layers: Vec<Vec<u8>> = (10..13).map(|seed| noise(100_000, seed)).collect();
    let age = |bytes: &[u8], seconds: u64| {
        let path = folder.path().join("cache").join(LAYERS).join(entry::name(&digest(bytes)));
        let then = SystemTime::now() - Duration::from_secs(seconds);
        File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    };
    pack(&cache, &layers[0]).unwrap();
    pack(&cache, &layers[1]).unwrap();
    age(&layers[0], 2000);
    age(&layers[1], 1000);
    // Found is used: now the second is the oldest.
    assert!(cache.layer(&digest(&layers[0])).is_some());
    let third = pack(&cache, &layers[2]).unwrap();
    assert!(cache.layer(&digest(&layers[0])).is_some());
    assert!(cache.layer(&digest(&layers[1])).is_none());
    let contents = cache.contents().unwrap();
    assert_eq!((contents.layers.len(), contents.limit), (2, 250_000));
    assert!(contents.bytes <= contents.limit);
    // An entry that is larger than the cache serves who made it, and is not kept.
    let large = noise(300_000, 14);
    assert_eq!(all(pack(&cache, &large).unwrap().plain()).unwrap(), large);
    assert!(cache.layer(&digest(&large)).is_none());
    assert_eq!(all(third.plain()).unwrap(), layers[2], "who holds it reads it after it was evicted");
}

#[test]
fn a_limit_of_nothing_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), Limit::Bytes(0));
    let bytes = noise(1000, 5);
    assert_eq!(all(pack(&cache, &bytes).unwrap().plain()).unwrap(), bytes);
    assert_eq!(entries(folder.path()), 0);
}

#[test]
fn a_folder_that_cannot_be_made_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let cache = Cache::at(folder.path().join("file/cache"), Limit::Default);
    let bytes = noise(1000, 6);
    assert_eq!(all(pack(&cache, &bytes).unwrap().plain()).unwrap(), bytes);
    cache.spool(10).unwrap().write_all(b"0123456789").unwrap();
    assert_eq!(cache.clear().unwrap_or_default(), Cleared::default());
}

#[test]
fn a_disk_that_is_full_is_done_without() {
    // Nothing can be written where nothing may be created; the temporary directory takes it.
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    pack(&cache, b"first").unwrap();
    let drafts = folder.path().join("cache").join(draft::DRAFTS);
    std::fs::remove_dir(&drafts).unwrap();
    std::fs::write(&drafts, "").unwrap();
    let bytes = noise(1000, 8);
    assert_eq!(all(pack(&cache, &bytes).unwrap().plain()).unwrap(), bytes);
    assert!(cache.layer(&digest(&bytes)).is_none());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let drafts = folder.path().join("cache").join(draft::DRAFTS);
    std::fs::create_dir_all(&drafts).unwrap();
    std::fs::write(drafts.join("dead"), "half").unwrap();
    let living = File::create(drafts.join("living")).unwrap();
    living.lock().unwrap();
    pack(&cache(folder.path()), b"any").unwrap();
    assert!(!drafts.join("dead").exists());
    assert!(drafts.join("living").exists());
}

#[test]
fn a_spool_is_bounded_has_no_name_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let mut spool = cache.spool(10).unwrap();
    spool.write_all(b"0123456789").unwrap();
    let error = spool.write_all(b"x").unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::FileTooLarge, "more than the 10 bytes that are spooled")
    );
    assert_eq!(spool.written(), 10);
    let names =
        std::fs::read_dir(folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["CACHEDIR.TAG", "drafts", "layers"]);
    let file = spool.into_file();
    let mut bytes = [0; 3];
    file.read_exact_at(&mut bytes, 4).unwrap();
    assert_eq!(&bytes, b"456");
}

#[test]
fn nobody_else_may_look_into_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let layer = pack(&cache, b"secret").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = folder.path().join("cache");
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join(LAYERS).join(entry::name(&layer.diff_id))), 0o600);
}

#[test]
fn clearing_removes_every_entry_and_tells_how_much() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    assert_eq!(cache.clear().unwrap(), Cleared::default());
    let held = pack(&cache, b"one").unwrap();
    pack(&cache, b"two").unwrap();
    let bytes = cache.contents().unwrap().bytes;
    assert_eq!(cache.clear().unwrap(), Cleared { files: 2, bytes });
    assert_eq!(cache.contents().unwrap().layers, []);
    assert_eq!(all(held.plain()).unwrap(), b"one");
}
