//! What layers do to a root, and what hostile ones do not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use tar::EntryType;

use super::*;
use crate::testing::{Tar, digest_of, gzip};

/// A place to unpack in, with something beside it that nobody may touch.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/file"), "untouched").unwrap();
        Self { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }

    fn unpack_with(&self, layers: &[Vec<u8>], limits: &Limits) -> Result<(), UnpackError> {
        let layers: Vec<(Layer, &Vec<u8>)> = layers
            .iter()
            .map(|tar| {
                let digest = digest_of(tar);
                (Layer { digest: digest.clone(), packing: Packing::Plain, diff_id: digest }, tar)
            })
            .collect();
        self.unpack_as(&layers, limits)
    }

    fn unpack_as(&self, layers: &[(Layer, &Vec<u8>)], limits: &Limits) -> Result<(), UnpackError> {
        let mut apart = Vec::new();
        for (number, (layer, bytes)) in layers.iter().enumerate() {
            let (packed, directory) = (self.beside("packed", number), self.beside("layer", number));
            fs::write(&packed, bytes).unwrap();
            fs::create_dir(&directory).unwrap();
            take_apart_within(layer, |_| File::open(&packed), Users::One, &directory, limits)?;
            apart.push((layer.digest.clone(), directory));
        }
        put_together_within(&apart, Users::One, &self.root(), limits)
    }

    fn beside(&self, what: &str, number: usize) -> PathBuf {
        self.directory.path().join(format!("{what}-{number}"))
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<(), UnpackError> {
        self.unpack_with(layers, &LIMITS)
    }

    /// Unpacks a layer that must be refused, and answers with the reason. Nothing beside the root changed.
    fn refusal(&self, layers: &[Vec<u8>]) -> String {
        let error = self.unpack(layers).unwrap_err().to_string();
        self.assert_outside_is_untouched();
        error
    }

    fn assert_outside_is_untouched(&self) {
        let outside = self.directory.path().join("outside");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
        assert!(!self.directory.path().join("escaped").exists());
    }
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn layers_lie_on_each_other() {
    let place = Place::new();
    let lower = Tar::new()
        .directory("etc/")
        .file("etc/a", "lower")
        .file("etc/b", "lower")
        .directory("opt/app/")
        .file("opt/app/old", "old")
        .symlink("bin", "usr/bin")
        .directory("usr/bin")
        .file("turns/into/a/file", "x")
        .file("becomes", "a directory");
    let upper = Tar::new()
        .file("etc/a", "upper")
        .file("etc/.wh.b", "")
        .file("opt/app/new", "new")
        .file("opt/app/.wh..wh..opq", "")
        .file("bin/tool", "through the link")
        .file("turns/into", "a file")
        .directory("becomes")
        .file("becomes/inner", "inner")
        .hard_link("etc/c", "etc/a");
    place.unpack(&[lower.done(), upper.done()]).unwrap();
    assert_eq!(place.text("etc/a"), "upper");
    assert!(!place.has("etc/b") && !place.has("etc/.wh.b"));
    assert!(!place.has("opt/app/old"));
    assert_eq!(place.text("opt/app/new"), "new");
    assert_eq!(place.text("usr/bin/tool"), "through the link");
    assert!(place.root().join("bin").symlink_metadata().unwrap().is_symlink());
    assert_eq!(place.text("turns/into"), "a file");
    assert_eq!(place.text("becomes/inner"), "inner");
    let inode = |path: &str| fs::metadata(place.root().join(path)).unwrap().ino();
    assert_eq!(inode("etc/a"), inode("etc/c"));
}

#[test]
fn a_whiteout_is_about_lower_layers_only() {
    let place = Place::new();
    let lower = Tar::new()
        .file("d/lower", "l")
        .file("d/e/lower", "l")
        .file("gone/deep/file", "l")
        .file("fresh/old", "l");
    // The markers come last and first: their place in the layer means nothing.
    let upper = Tar::new()
        .file("d/upper", "u")
        .file("d/e/upper", "u")
        .file(".wh.d", "")
        .file(".wh.gone", "")
        .directory("fresh")
        .file(".wh.fresh", "")
        .file(".wh.was-never-there", "")
        .file("nowhere/.wh.x", "")
        .file(".wh..wh.plnk", "");
    place.unpack(&[lower.done(), upper.done()]).unwrap();
    assert!(!place.has("d/lower") && !place.has("d/e/lower") && !place.has("gone"));
    assert_eq!((place.text("d/upper"), place.text("d/e/upper")), ("u".to_owned(), "u".to_owned()));
    assert!(place.has("fresh") && !place.has("fresh/old"));
    assert!(!place.has("nowhere") && !place.has(".wh..wh.plnk"));
}

#[test]
fn permissions_and_times_are_kept_and_privileges_are_not() {
    let place = Place::new();
    let tar = Tar::new()
        .file_with("setuid", 0o6755, b"x")
        .file_with("script", 0o555, b"x")
        .file_with("nobody-reads", 0o000, b"x")
        .file_with("closed/inner", 0o644, b"x")
        .done();
    place.unpack(&[tar]).unwrap();
    assert_eq!(mode(place.root().join("setuid")), 0o755);
    assert_eq!(mode(place.root().join("script")), 0o555);
    assert_eq!(mode(place.root().join("nobody-reads")), 0o400);
    assert_eq!(fs::metadata(place.root().join("script")).unwrap().mtime(), 1_000_000);
}

#[test]
fn a_directory_that_says_read_only_can_still_be_filled() {
    let place = Place::new();
    let mut header = tar::Header::new_ustar();
    header.set_path("locked/").unwrap();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o2555);
    header.set_size(0);
    header.set_cksum();
    let lower = header.as_bytes().to_vec();
    place.unpack(&[lower, Tar::new().file("locked/a", "a").done()]).unwrap();
    assert_eq!(mode(place.root().join("locked")), 0o755);
    assert_eq!(place.text("locked/a"), "a");
}

#[test]
fn a_path_that_leads_upwards_is_refused() {
    for path in ["../escaped", "a/../../escaped", "/../escaped", "..", "a/.."] {
        let place = Place::new();
        let why = place.refusal(&[Tar::new().file(path, "x").done()]);
        assert!(why.contains("leads upwards"), "{path}: {why}");
    }
    let place = Place::new();
    let why = place.refusal(&[Tar::new().directory("../escaped/").done()]);
    assert!(why.contains("leads upwards"), "{why}");
}

#[test]
fn an_absolute_path_means_the_root() {
    let place = Place::new();
    let absolute = place.directory.path().join("outside/file");
    let absolute = absolute.to_str().unwrap();
    let tar = Tar::new().file("/etc/a", "a").file("//./b", "b").file(absolute, "inside").done();
    place.unpack(&[tar]).unwrap();
    assert_eq!((place.text("etc/a"), place.text("b")), ("a".to_owned(), "b".to_owned()));
    assert_eq!(place.text(absolute.trim_start_matches('/')), "inside");
    place.assert_outside_is_untouched();
}

#[test]
fn a_link_that_leads_out_is_not_written_through() {
    for target in ["../outside", "../../../../../../../../outside", "/outside"] {
        let place = Place::new();
        let absolute = place.directory.path().join("outside");
        for target in [target, absolute.to_str().unwrap()] {
            let place = Place::new();
            let first = Tar::new().symlink("link", target);
            // Inside the root the link leads nowhere, so there is nothing to write to.
            let why = place.refusal(&[first.file("link/file", "overwritten").done()]);
            assert!(why.contains("leads nowhere"), "{target}: {why}");
        }
        // The same in two layers, and with a place for the link to lead to.
        let layers = [
            Tar::new().directory("outside").symlink("link", target).done(),
            Tar::new().file("link/file", "inside").done(),
        ];
        place.unpack(&layers).unwrap();
        assert_eq!(place.text("outside/file"), "inside");
        place.assert_outside_is_untouched();
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let place = Place::new();
    let outside = place.directory.path().join("outside/file");
    let tar = Tar::new().symlink("a", outside.to_str().unwrap()).file("a", "inside").done();
    place.unpack(&[tar]).unwrap();
    assert_eq!(place.text("a"), "inside");
    assert!(place.root().join("a").symlink_metadata().unwrap().is_file());
    place.assert_outside_is_untouched();
}

#[test]
fn a_link_in_the_place_of_a_directory_is_replaced_and_not_followed() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    let tar =
        Tar::new().symlink("a", outside.to_str().unwrap()).directory("a").file("a/file", "inside").done();
    place.unpack(&[tar]).unwrap();
    assert_eq!(place.text("a/file"), "inside");
    place.assert_outside_is_untouched();
}

#[test]
fn a_hard_link_cannot_reach_out() {
    for target in ["../outside/file", "a/../../outside/file"] {
        let place = Place::new();
        let why = place.refusal(&[Tar::new().hard_link("stolen", target).done()]);
        assert!(why.contains("leads upwards"), "{why}");
    }
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    let through = Tar::new().symlink("link", outside.to_str().unwrap()).hard_link("stolen", "link/file");
    let why = place.refusal(&[through.done()]);
    assert!(why.contains("not there"), "{why}");
    // A hard link to a symbolic link is that link, not what it leads to.
    let place = Place::new();
    let file = place.directory.path().join("outside/file");
    let tar =
        Tar::new().symlink("link", file.to_str().unwrap()).hard_link("same", "link").file("same", "inside");
    place.unpack(&[tar.done()]).unwrap();
    assert_eq!(place.text("same"), "inside");
    place.assert_outside_is_untouched();
}

#[test]
fn writing_one_name_of_a_file_leaves_the_other_alone() {
    let place = Place::new();
    let lower = Tar::new().file("a", "lower").hard_link("b", "a").hard_link("a", "a").done();
    place.unpack(&[lower, Tar::new().file("b", "upper").done()]).unwrap();
    assert_eq!((place.text("a"), place.text("b")), ("lower".to_owned(), "upper".to_owned()));
}

#[test]
fn a_hard_link_to_a_directory_or_to_nothing_is_refused() {
    let place = Place::new();
    let why = place.refusal(&[Tar::new().directory("d").hard_link("e", "d").done()]);
    assert!(why.contains("a directory"), "{why}");
    let place = Place::new();
    let why = place.refusal(&[Tar::new().hard_link("e", "missing").done()]);
    assert!(why.contains("not there"), "{why}");
}

#[test]
fn a_whiteout_cannot_reach_out() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    let tar = Tar::new()
        .symlink("link", outside.to_str().unwrap())
        .file("link/.wh.file", "")
        .file("link/.wh..wh..opq", "")
        .done();
    place.unpack(&[tar]).unwrap();
    place.assert_outside_is_untouched();
    // Removing the link removes the link.
    let place = Place::new();
    let lower = Tar::new().symlink("link", outside.to_str().unwrap()).done();
    place.unpack(&[lower, Tar::new().file(".wh.link", "").done()]).unwrap();
    assert!(!place.has("link"));
    place.assert_outside_is_untouched();
    for name in [".wh.", ".wh..", ".wh..."] {
        let place = Place::new();
        let why = place.refusal(&[Tar::new().file("a/b", "x").file(&format!("a/{name}"), "").done()]);
        assert!(why.contains("a whiteout of"), "{name}: {why}");
    }
}

#[test]
fn devices_and_pipes_are_left_out() {
    let place = Place::new();
    let tar = Tar::new()
        .special(EntryType::Char, "null")
        .special(EntryType::Block, "disk")
        .special(EntryType::Fifo, "pipe")
        .file("file", "x")
        .done();
    place.unpack(&[tar]).unwrap();
    assert!(!place.has("null") && !place.has("disk") && !place.has("pipe") && place.has("file"));
}

#[test]
fn links_that_go_round_are_refused() {
    let place = Place::new();
    let why = place.refusal(&[Tar::new().symlink("a", "b").symlink("b", "a").file("a/file", "x").done()]);
    assert!(why.contains("too many links"), "{why}");
}

#[test]
fn a_file_where_a_directory_must_be_is_refused() {
    let place = Place::new();
    let why = place.refusal(&[Tar::new().file("a", "x").file("a/b", "x").done()]);
    assert!(why.contains("not a directory"), "{why}");
}

#[test]
fn a_tree_cannot_be_made_deeper_than_a_path_through_links() {
    let place = Place::new();
    let deep = "d/".repeat(40);
    let mut tar = Tar::new().directory(&deep);
    let mut layers = Vec::new();
    for turn in 0..8 {
        // Each turn begins where the last ended, under a short name.
        let from = if turn == 0 { String::new() } else { format!("l{}/", turn - 1) };
        tar = tar.directory(&format!("{from}{deep}")).symlink(&format!("l{turn}"), &format!("{from}{deep}"));
        layers.push(tar.done());
        tar = Tar::new();
    }
    let why = place.refusal(&layers);
    assert!(why.contains("deeper than"), "{why}");
}

#[test]
fn long_paths_are_refused() {
    let limits = Limits { path_bytes: 50, ..LIMITS.clone() };
    let place = Place::new();
    let error = place.unpack_with(&[Tar::new().file(&"a".repeat(51), "x").done()], &limits).unwrap_err();
    assert!(error.to_string().contains("a path of 51 bytes"), "{error}");
    let place = Place::new();
    let error = place.unpack_with(&[Tar::new().symlink("a", &"b".repeat(51)).done()], &limits).unwrap_err();
    assert!(error.to_string().contains("a link to a path of 51 bytes"), "{error}");
}

#[test]
fn too_many_entries_are_refused_over_all_layers() {
    let limits = Limits { entries: 3, ..LIMITS.clone() };
    let two = || Tar::new().file("a", "x").file("b", "x").done();
    Place::new().unpack_with(&[two()], &limits).unwrap();
    let error = Place::new().unpack_with(&[two(), two()], &limits).unwrap_err();
    assert!(error.to_string().contains("more than 3 entries"), "{error}");
    let limits = Limits { name_bytes: 3, ..LIMITS.clone() };
    let error = Place::new().unpack_with(&[two(), two()], &limits).unwrap_err();
    assert!(error.to_string().contains("names in the image"), "{error}");
}

#[test]
fn too_many_bytes_are_refused_over_all_layers() {
    let layer = |name: &str| Tar::new().file_with(name, 0o644, &[1; 10_000]).done();
    let limits = Limits { bytes: 20_000, ..LIMITS.clone() };
    Place::new().unpack_with(&[layer("a")], &limits).unwrap();
    let error = Place::new().unpack_with(&[layer("a"), layer("b")], &limits).unwrap_err();
    assert!(error.to_string().contains("more than 20000 bytes"), "{error}");
}

fn zipped(tar: &[u8]) -> (Layer, Vec<u8>) {
    let bytes = gzip(tar);
    let layer = Layer { digest: digest_of(&bytes), packing: Packing::Gzip, diff_id: digest_of(tar) };
    (layer, bytes)
}

fn zstandard(tar: &[u8]) -> (Layer, Vec<u8>) {
    let bytes = zstd::encode_all(tar, 1).unwrap();
    let layer = Layer { digest: digest_of(&bytes), packing: Packing::Zstandard, diff_id: digest_of(tar) };
    (layer, bytes)
}

#[test]
fn a_bomb_is_cut_off() {
    let tar = Tar::new().file_with("zeros", 0o644, &vec![0; 8 << 20]).done();
    for (layer, bytes) in [zipped(&tar), zstandard(&tar)] {
        let limits = Limits { ratio: 100, ratio_from: 1 << 20, ..LIMITS.clone() };
        let place = Place::new();
        let error = place.unpack_as(&[(layer.clone(), &bytes)], &limits).unwrap_err();
        assert!(error.to_string().contains("unpack to"), "{error}");
        Place::new().unpack_as(&[(layer, &bytes)], &LIMITS).unwrap();
    }
}

/// Ten gibibytes of zeroes in ten mebibytes, as somebody would send it.
#[test]
#[ignore = "takes seconds; .ci/run runs it"]
fn a_real_bomb_is_cut_off_long_before_its_end() {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeroes").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(10 << 30);
    header.set_cksum();
    let piece = vec![0; 16 << 20];
    // Gzip streams one behind the other are one stream: the same one, again and again, makes a large bomb quickly.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &piece).unwrap();
    let mut bytes = gzip(header.as_bytes());
    bytes.extend(encoder.finish().unwrap().repeat(640));
    assert!(bytes.len() < 16 << 20, "{}", bytes.len());
    let layer = Layer { digest: digest_of(&bytes), packing: Packing::Gzip, diff_id: digest_of(b"unknown") };
    let place = Place::new();
    let began = std::time::Instant::now();
    let error = place.unpack_as(&[(layer, &bytes)], &LIMITS).unwrap_err();
    assert!(error.to_string().contains("unpack to"), "{error}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let kept = fs::metadata(place.beside("layer", 0).join(CONTENTS).join("1")).unwrap();
    assert!(kept.blocks() * 512 < 1 << 20, "zeroes take no room: {}", kept.blocks());
}

#[test]
fn a_layer_that_the_disk_has_no_room_for_is_refused() {
    let limits = Limits { bytes: 1 << 20, ..LIMITS.clone() };
    let (layer, bytes) = zipped(&Tar::new().file_with("large", 0o644, &[7; 2 << 20]).done());
    let error = Place::new().unpack_as(&[(layer, &bytes)], &limits).unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

#[test]
#[ignore = "takes seconds; .ci/run runs it"]
fn a_hundred_thousand_files_are_unpacked() {
    let mut tar = Tar::new();
    for number in 0..100_000 {
        tar = tar.file(&format!("{}/{number}", number % 100), "");
    }
    let place = Place::new();
    let began = std::time::Instant::now();
    place.unpack(&[tar.done()]).unwrap();
    let files: usize =
        (0..100).map(|n| fs::read_dir(place.root().join(n.to_string())).unwrap().count()).sum();
    assert_eq!(files, 100_000);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_name_of_ten_megabytes_is_refused() {
    let name = vec![b'x'; 10 << 20];
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(name);
    let error = Place::new().unpack(&[bytes]).unwrap_err().to_string();
    assert!(error.contains("an extended header of 10485760 bytes"), "{error}");
}

#[test]
fn more_layers_than_any_image_has_are_refused() {
    let limits = Limits { layers: 3, ..LIMITS.clone() };
    let layers: Vec<Vec<u8>> = (0..4).map(|n| Tar::new().file(&n.to_string(), "").done()).collect();
    Place::new().unpack_with(&layers[..3], &limits).unwrap();
    let error = Place::new().unpack_with(&layers, &limits).unwrap_err();
    assert!(error.to_string().contains("more than 3 layers"), "{error}");
}

#[test]
fn a_sparse_file_stays_sparse() {
    let mut content = vec![0; 4 << 20];
    content[1 << 20] = 1;
    *content.last_mut().unwrap() = 2;
    let place = Place::new();
    place
        .unpack(&[Tar::new()
            .file_with("sparse", 0o644, &content)
            .file_with("zeroes", 0o600, &[0; 8192])
            .done()])
        .unwrap();
    assert_eq!(fs::read(place.root().join("sparse")).unwrap(), content);
    assert!(fs::metadata(place.root().join("sparse")).unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(fs::read(place.root().join("zeroes")).unwrap(), [0; 8192]);
}

#[test]
fn gzip_is_unpacked_and_both_digests_are_checked() {
    let (layer, bytes) = zipped(&Tar::new().file("a", "a").done());
    let place = Place::new();
    place.unpack_as(&[(layer.clone(), &bytes)], &LIMITS).unwrap();
    assert_eq!(place.text("a"), "a");

    let other = digest_of(b"other");
    let wrong = Layer { diff_id: other.clone(), ..layer.clone() };
    let error = Place::new().unpack_as(&[(wrong, &bytes)], &LIMITS).unwrap_err().to_string();
    assert!(error.contains(&format!("the image says {other}")), "{error}");
    let wrong = Layer { digest: other, ..layer.clone() };
    let error = Place::new().unpack_as(&[(wrong, &bytes)], &LIMITS).unwrap_err().to_string();
    assert!(error.contains("the digest of its bytes is"), "{error}");
    let cut = bytes[..bytes.len() - 20].to_vec();
    assert!(Place::new().unpack_as(&[(layer, &cut)], &LIMITS).is_err());
}

#[test]
fn zstd_is_unpacked_and_both_digests_are_checked() {
    let (layer, bytes) = zstandard(&Tar::new().file("a", "a").done());
    let place = Place::new();
    place.unpack_as(&[(layer.clone(), &bytes)], &LIMITS).unwrap();
    assert_eq!(place.text("a"), "a");
    let wrong = Layer { diff_id: digest_of(b"other"), ..layer.clone() };
    let error = Place::new().unpack_as(&[(wrong, &bytes)], &LIMITS).unwrap_err().to_string();
    assert!(error.contains("the image says"), "{error}");
    let cut = bytes[..bytes.len() - 3].to_vec();
    assert!(Place::new().unpack_as(&[(layer, &cut)], &LIMITS).is_err());
}

#[test]
fn what_comes_behind_the_archive_counts_for_the_digest() {
    let mut tar = Tar::new().file("a", "a").done();
    tar.extend([7; 100_000]);
    let place = Place::new();
    place.unpack(&[tar]).unwrap();
    assert_eq!(place.text("a"), "a");
}
