//! Media types: what manifests, configurations and layers are called, by both of their specifications.

use longshore_contract::{Compression, Format};

/// An index by OCI.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A manifest by OCI.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image's configuration by OCI.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer by OCI, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// What stands where an artifact has nothing to say: `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An index by Docker.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A manifest by Docker.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An image's configuration by Docker.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A layer by OCI, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer by Docker, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A layer by OCI, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// A layer by Docker, not compressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// What an entry among a manifest's layers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A layer's tar, so compressed.
    Tar(Compression),
    /// A layer that is not to be distributed but fetched from where it says.
    Foreign,
    /// Nothing: `{}`.
    Empty,
    /// Something else.
    Other,
}

impl LayerKind {
    /// What an entry of this media type is.
    pub fn of(media_type: &str) -> Self {
        if media_type == OCI_EMPTY {
            return Self::Empty;
        }
        if media_type.starts_with(OCI_FOREIGN) || media_type.starts_with(DOCKER_FOREIGN) {
            return Self::Foreign;
        }
        let ending = match (media_type.strip_prefix(OCI_LAYER), media_type.strip_prefix(DOCKER_LAYER)) {
            (Some(""), _) | (_, Some("")) => return Self::Tar(Compression::Plain),
            (Some(ending), _) => ending.strip_prefix('+'),
            (_, Some(ending)) => ending.strip_prefix('.'),
            (None, None) => None,
        };
        match ending {
            Some("gzip") => Self::Tar(Compression::Gzip),
            Some("zstd") => Self::Tar(Compression::Zstd),
            _ => Self::Other,
        }
    }
}

/// How bytes that begin so are compressed; four of them tell. A tar begins with a name or with zeros, never with these.
pub fn compression_by(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or one that is passed over (as estargz's cousins begin).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::Plain,
    }
}

/// The format of a manifest of this media type; `None` where it is no single manifest's.
pub fn format_of(media_type: &str) -> Option<Format> {
    match media_type {
        OCI_MANIFEST => Some(Format::Oci),
        DOCKER_MANIFEST => Some(Format::Docker),
        _ => None,
    }
}

/// The media type of a manifest.
pub fn manifest_in(format: Format) -> &'static str {
    match format {
        Format::Oci => OCI_MANIFEST,
        Format::Docker => DOCKER_MANIFEST,
    }
}

/// The media type of an image's configuration.
pub fn config_in(format: Format) -> &'static str {
    match format {
        Format::Oci => OCI_CONFIG,
        Format::Docker => DOCKER_CONFIG,
    }
}

/// The media type of a layer.
pub fn layer_in(format: Format, compression: Compression) -> &'static str {
    match (format, compression) {
        (Format::Oci, Compression::Plain) => OCI_LAYER,
        (Format::Oci, Compression::Gzip) => OCI_LAYER_GZIP,
        (Format::Oci, Compression::Zstd) => OCI_LAYER_ZSTD,
        (Format::Docker, Compression::Plain) => DOCKER_LAYER,
        (Format::Docker, Compression::Gzip) => DOCKER_LAYER_GZIP,
        (Format::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for format in [Format::Oci, Format::Docker] {
            assert_eq!(format_of(manifest_in(format)), Some(format));
            for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
                assert_eq!(LayerKind::of(layer_in(format, compression)), LayerKind::Tar(compression));
            }
        }
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        for (first, found) in [
            (&[0x1f, 0x8b, 8, 0][..], Compression::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x50, 0x2a, 0x4d, 0x18], Compression::Zstd),
            (b"bin/", Compression::Plain),
            (&[0; 4], Compression::Plain),
            (b"", Compression::Plain),
        ] {
            assert_eq!(compression_by(first), found, "{first:?}");
        }
    }

    #[test]
    fn what_is_no_layer_of_ours_is_told_apart() {
        for (media_type, kind) in [
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LayerKind::Foreign),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LayerKind::Foreign),
            ("application/vnd.oci.empty.v1+json", LayerKind::Empty),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", LayerKind::Other),
            ("application/vnd.in-toto+json", LayerKind::Other),
            ("", LayerKind::Other),
        ] {
            assert_eq!(LayerKind::of(media_type), kind, "{media_type}");
        }
    }
}
