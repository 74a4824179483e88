//! Small files of large things, made in a moment.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A tar of these files.
pub(crate) fn tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap().flush().unwrap();
}

fn header(name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_cksum();
    header
}

/// A tar of one file of `size` zeros, as a hole in the file.
pub(crate) fn sparse_tar(path: &Path, name: &str, size: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(header(name, size).as_bytes()).unwrap();
    file.set_len(512 + size.next_multiple_of(512) + 1024).unwrap();
}

/// A tar of one file of `size` zeros in gzip, whose members are copies of each other; answers with its length.
pub(crate) fn gzip_of_tar(path: &Path, name: &str, size: u64) -> u64 {
    const PIECE: usize = 64 << 20;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    for _ in 0..PIECE / block.len() {
        encoder.write_all(&block).unwrap();
    }
    let zeros = encoder.finish().unwrap();
    let mut file = File::create(path).unwrap();
    let mut encoder = GzEncoder::new(&mut file, Compression::fast());
    encoder.write_all(header(name, size).as_bytes()).unwrap();
    encoder.finish().unwrap();
    for _ in 0..size.div_ceil(PIECE as u64) {
        file.write_all(&zeros).unwrap();
    }
    file.metadata().unwrap().len()
}

/// `size` zeros in zstd frames that are copies of each other.
pub(crate) fn zstd(size: u64) -> Vec<u8> {
    const PIECE: usize = 64 << 20;
    let frame = zstd::encode_all(std::io::Read::take(std::io::repeat(0), PIECE as u64), 1).unwrap();
    frame.repeat(usize::try_from(size).unwrap().div_ceil(PIECE))
}
