//! What a base already has where files are put: a directory entry over a symbolic link would replace the link, so the names
//! in the layers below are read before a layer is put on top.

use std::collections::BTreeMap;
use std::io::{self, Read};

use longshore_contract::Digest;

use super::super::Blob;
use super::super::digest::Hashing;
use super::super::error::{ImageError, ImageErrorKind};
use super::NAME;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Link(String),
    File,
}

/// The paths of a base's layers, the upper winning over the lower. Paths have no leading slash.
#[derive(Debug, Default)]
pub(super) struct Below(BTreeMap<String, Kind>);

const MOST_PATHS: usize = 2_000_000;
const MOST_LINKS: usize = 40;

impl Below {
    /// Reads the names in `layers`, and verifies both digests of each: what is interpreted is verified.
    pub(super) fn read(layers: &[Blob], diff_ids: &[Digest]) -> Result<Self, ImageError> {
        let mut below = Self::default();
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let failed = |message: String| {
                ImageError::new(
                    ImageErrorKind::Corrupt,
                    NAME,
                    format!("base layer {}: {message}", layer.digest),
                )
            };
            let opened = layer.content.open(layer.size).map_err(|error| failed(error.to_string()))?;
            let mut packed = Hashing::of(io::BufReader::with_capacity(1 << 18, opened));
            let found = if layer.media_type.ends_with("gzip") {
                let mut plain = Hashing::of(flate2::read::MultiGzDecoder::new(&mut packed));
                below.names(&mut plain).map_err(|error| failed(error.to_string()))?;
                plain.finish()
            } else if layer.media_type.ends_with(".tar") {
                let mut plain = Hashing::of(&mut packed);
                below.names(&mut plain).map_err(|error| failed(error.to_string()))?;
                plain.finish()
            } else {
                let message =
                    format!("base layer {} is {}, which is not read", layer.digest, layer.media_type);
                return Err(ImageError::new(ImageErrorKind::Unsupported, NAME, message)
                    .hint("use a base whose layers are tar or tar+gzip"));
            };
            io::copy(&mut packed, &mut io::sink()).map_err(|error| failed(error.to_string()))?;
            let packed = packed.finish();
            if packed != layer.digest {
                return Err(failed(format!("its bytes have the digest {packed}")));
            }
            if found != *diff_id {
                return Err(failed(format!(
                    "its contents have the digest {found}, the configuration says {diff_id}"
                )));
            }
        }
        Ok(below)
    }

    /// Takes the names of one layer's tar, and reads it to its end.
    fn names(&mut self, plain: &mut impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(&mut *plain);
        for entry in archive.entries()?.raw(true) {
            let entry = entry?;
            let header = entry.header();
            let kind = match header.entry_type() {
                kind if kind.is_gnu_longname()
                    || kind.is_pax_local_extensions()
                    || kind.is_gnu_longlink() =>
                {
                    // A path too long for its header is far below where files are put; losing it loses nothing.
                    continue;
                }
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_symlink() => {
                    let target = header.link_name_bytes().unwrap_or_default();
                    Kind::Link(String::from_utf8_lossy(&target).into_owned())
                }
                _ => Kind::File,
            };
            self.take(&String::from_utf8_lossy(&header.path_bytes()), kind);
            if self.0.len() > MOST_PATHS {
                return Err(io::Error::other(format!("more than {MOST_PATHS} paths are not read")));
            }
        }
        io::copy(plain, &mut io::sink())?;
        Ok(())
    }

    fn take(&mut self, path: &str, kind: Kind) {
        let path = normal(path);
        let (parent, name) =
            path.rsplit_once('/').map_or(("", path.as_str()), |(parent, name)| (parent, name));
        let within =
            |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        if name == ".wh..wh..opq" {
            self.remove_beneath(parent);
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = within(gone);
            self.remove_beneath(&gone);
            self.0.remove(&gone);
        } else if !path.is_empty() {
            if kind != Kind::Directory {
                self.remove_beneath(&path);
            }
            self.0.insert(path, kind);
        }
    }

    fn remove_beneath(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let gone: Vec<String> = self
            .0
            .range(prefix.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&prefix))
            .cloned()
            .collect();
        for path in gone {
            self.0.remove(&path);
        }
    }

    pub(super) fn at(&self, path: &str) -> Option<&Kind> {
        self.0.get(path)
    }

    /// Where files put into the directory `path` really go: symbolic links on the way are followed within the image.
    pub(super) fn resolve(&self, path: &str) -> Result<String, String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut at, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            match self.0.get(&at.join("/")) {
                Some(Kind::Link(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(format!("too many symbolic links on the way to /{path}"));
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    left.extend(target.split('/').rev().map(str::to_owned));
                }
                Some(Kind::File) => {
                    return Err(format!("/{} is a file in the base, not a directory", at.join("/")));
                }
                Some(Kind::Directory) | None => {}
            }
        }
        Ok(at.join("/"))
    }
}

/// A path without empty parts, `.` and a leading slash; `..` never leads above the root.
pub(super) fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(entries: &[(&str, Kind)]) -> Below {
        let mut below = Below::default();
        for (path, kind) in entries {
            below.take(path, kind.clone());
        }
        below
    }

    #[test]
    fn links_of_the_base_are_followed_within_the_image() {
        let link = |to: &str| Kind::Link(to.to_owned());
        let base = below(&[
            ("./usr/bin/", Kind::Directory),
            ("bin", link("usr/bin")),
            ("a", link("/bin")),
            ("up", link("../../../bin")),
            ("x", link("y")),
            ("y", link("x")),
            ("etc/passwd", Kind::File),
        ]);
        assert_eq!(base.resolve("bin").unwrap(), "usr/bin");
        assert_eq!(base.resolve("a/b").unwrap(), "usr/bin/b");
        assert_eq!(base.resolve("up").unwrap(), "usr/bin");
        assert!(base.resolve("x").unwrap_err().contains("too many"));
        assert!(base.resolve("etc/passwd/x").unwrap_err().contains("is a file in the base"));
    }

    #[test]
    fn a_whiteout_takes_away_what_lies_below() {
        let base = below(&[
            ("d/", Kind::Directory),
            ("d/e/", Kind::Directory),
            ("d/f", Kind::File),
            ("l", Kind::Link("d".into())),
            (".wh.l", Kind::File),
            ("d/.wh..wh..opq", Kind::File),
        ]);
        assert_eq!((base.at("d"), base.at("d/e"), base.at("l")), (Some(&Kind::Directory), None, None));
    }
}
