//! What a registry, and what runs images out of it, take of an image.

use std::fmt;

/// What a destination takes of an image. Whatever it does not take is changed or refused before anything is sent; what it
/// takes stays as it is, to the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The word for it on the command line.
    pub name: &'static str,
    /// What it is for, as a phrase that follows "for".
    pub summary: &'static str,
    /// Whether a manifest that lists others is taken.
    pub indexes: Taken,
    /// Whether what is no image is taken: artifacts, empty descriptors, layers that are fetched from elsewhere.
    pub others: Taken,
    /// The manifests that are taken; one that is not becomes the first. Never empty.
    pub formats: &'static [Format],
    /// The layers that are taken; one that is not is compressed with gzip, which is always among them. An image that was
    /// never in a registry has plain layers: they stay so where [`Compression::Plain`] comes first, else they are compressed.
    pub layers: &'static [Compression],
    /// What the images must be for, in words of [`Platform`](crate::Platform); empty: for anything.
    pub platforms: &'static [&'static str],
    /// The registries whose images are shaped so when nobody says otherwise: hosts, where `*` stands for one label or a part
    /// of one.
    pub hosts: &'static [&'static str],
}

/// Whether something is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// As it is.
    Yes,
    /// It is refused there, or pushed and then of no use.
    No,
}

/// The two ways of writing an image's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The OCI image specification's.
    Oci,
    /// Docker's, schema 2.
    Docker,
}

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// It is not.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Profile {
    /// As it is: what a registry by the specification takes.
    pub const OCI: Self = Self {
        name: "oci",
        summary: "registries by the specification: as it is",
        indexes: Taken::Yes,
        others: Taken::Yes,
        formats: &[Format::Oci, Format::Docker],
        layers: &[Compression::Gzip, Compression::Zstd, Compression::Plain],
        platforms: &[],
        hosts: &[],
    };

    /// One image as docker writes it: what every registry and every engine of the last ten years takes.
    pub const DOCKER: Self = Self {
        name: "docker",
        summary: "old registries and engines: one image, Docker schema 2, gzip",
        indexes: Taken::No,
        others: Taken::No,
        formats: &[Format::Docker],
        layers: &[Compression::Gzip],
        platforms: &[],
        hosts: &[],
    };

    /// Whether images for the registry `host` (a port may stand behind it) are shaped so when nobody says otherwise.
    pub fn claims(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        self.hosts.iter().any(|pattern| fits(pattern, &name))
    }
}

fn fits(pattern: &str, host: &str) -> bool {
    pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, label)| match pattern.split_once('*') {
            None => pattern == label,
            Some((before, behind)) => {
                label.len() > before.len() + behind.len()
                    && label.starts_with(before)
                    && label.ends_with(behind)
            }
        })
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oci => "OCI",
            Self::Docker => "Docker schema 2",
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_label_or_a_part_of_one_and_never_for_none() {
        let profile = Profile { hosts: &["*.registry.*.example.com", "cr-*.example.net"], ..Profile::DOCKER };
        for host in ["1.registry.east.example.com", "a-b.REGISTRY.x.example.com:443", "cr-1.example.net"] {
            assert!(profile.claims(host), "{host}");
        }
        for host in [
            "registry.east.example.com",
            ".registry.east.example.com",
            "1.registry.a.b.example.com",
            "1.registry.east.example.com.evil.net",
            "cr-.example.net",
            "example.net",
            "",
        ] {
            assert!(!profile.claims(host), "{host}");
        }
    }
}
