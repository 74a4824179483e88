//! Writing an image as an OCI layout.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use longshore_contract::Digest;
use serde_json::json;

use super::document::REFERENCE_NAME;
use super::error::{ImageError, ImageErrorKind};
use super::{Blob, Hasher, Image, Kind};

impl Image {
    /// Writes it, with what refers to it, as an OCI layout into `directory`, which must be new or empty. Every byte is verified
    /// on the way. `index.json` is written last: a layout that was cut off is none. Blocks.
    pub fn save(&self, referrers: &[Self], directory: &Path, tag: Option<&str>) -> Result<(), ImageError> {
        let name = format!("oci:{}", directory.display());
        let failed = |what: &str, error: &io::Error| ImageError::io(&name, what, error);
        let blobs = directory.join("blobs/sha256");
        let there = match std::fs::read_dir(directory) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed("the directory", &error)),
        };
        if there {
            return Err(ImageError::new(ImageErrorKind::Io, &name, "the directory is not empty")
                .hint("name a directory that does not exist yet"));
        }
        std::fs::create_dir_all(&blobs).map_err(|error| failed("blobs/sha256", &error))?;
        let mut written = BTreeSet::new();
        let mut entries = Vec::new();
        for (image, tag) in std::iter::once((self, tag)).chain(referrers.iter().map(|image| (image, None))) {
            image.save_blobs(&blobs, &mut written)?;
            let mut entry = json!({
                "mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len()
            });
            if let Some(tag) = tag {
                entry["annotations"] = json!({ REFERENCE_NAME: tag });
            }
            entries.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": super::media::OCI_INDEX, "manifests": entries });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        for (file, document) in [("oci-layout", layout), ("index.json", index)] {
            std::fs::write(directory.join(file), document.to_string())
                .map_err(|error| failed(file, &error))?;
        }
        Ok(())
    }

    fn save_blobs(&self, blobs: &Path, written: &mut BTreeSet<Digest>) -> Result<(), ImageError> {
        let failed = |digest: &Digest, error: &io::Error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                ImageError::new(ImageErrorKind::Corrupt, &self.source, format!("blob {digest}: {error}"))
            }
            _ => ImageError::told_in(&self.source, error).unwrap_or_else(|| {
                ImageError::io(&self.source, &format!("{} ({digest})", blobs.display()), error)
            }),
        };
        match &self.kind {
            Kind::Manifest(parts) => {
                for blob in parts.layers.iter().chain([&parts.config]) {
                    if written.insert(blob.digest.clone()) {
                        copy(blob, blobs).map_err(|error| failed(&blob.digest, &error))?;
                    }
                }
            }
            Kind::Index(children) => {
                for child in children {
                    let Some(image) = &child.image else {
                        let message = format!("it lists {}, and its manifest is not there", child.digest);
                        return Err(ImageError::new(ImageErrorKind::Missing, &self.source, message)
                            .hint("pick one platform with --platform"));
                    };
                    image.save_blobs(blobs, written)?;
                }
            }
        }
        if written.insert(self.digest.clone()) {
            std::fs::write(blobs.join(self.digest.hex()), &self.manifest)
                .map_err(|error| failed(&self.digest, &error))?;
        }
        Ok(())
    }
}

fn copy(blob: &Blob, blobs: &Path) -> io::Result<()> {
    let mut reader = blob.content.open(blob.size)?;
    let mut file = File::create_new(blobs.join(blob.digest.hex()))?;
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; 1 << 18]);
    loop {
        let read = reader.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        file.write_all(&piece[..read])?;
    }
    let found = hasher.finish();
    if found == blob.digest {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("its bytes have the digest {found}")))
}
