//! An OCI image layout in a directory.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Content;
use super::beneath::Beneath;
use super::content::Named;
use super::document::Descriptor;
use super::error::{ImageError, ImageErrorKind};
use super::tree::Store;

/// A layout's directory. Nothing outside it is opened, whatever its files say.
pub(super) struct Directory {
    name: String,
    beneath: Arc<Beneath>,
}

impl Directory {
    pub(super) fn open(path: &Path, name: String) -> Result<Self, ImageError> {
        match Beneath::new(path) {
            Ok(beneath) => Ok(Self { name, beneath: Arc::new(beneath) }),
            Err(error) => Err(ImageError::io(&name, &path.display().to_string(), &error)),
        }
    }
}

impl Store for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self, path: &str, limit: u64) -> Result<Option<Bytes>, ImageError> {
        let failed = |error: &_| ImageError::io(&self.name, path, error);
        let (file, size) = match self.beneath.open(Path::new(path)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let mut text = Vec::new();
        if size <= limit {
            file.take(limit + 1).read_to_end(&mut text).map_err(|error| failed(&error))?;
        }
        if size.max(text.len() as u64) > limit {
            let message = format!("{path}: {size} bytes are more than the {limit} that are read");
            return Err(ImageError::new(ImageErrorKind::Limit, &self.name, message));
        }
        Ok(Some(text.into()))
    }

    fn blob(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        let digest = &entry.digest;
        let name: PathBuf = ["blobs", "sha256", digest.hex()].iter().collect();
        match self.beneath.open(&name) {
            Ok(_) => Ok(Some(Content::Beneath(Named { directory: Arc::clone(&self.beneath), name }))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io(&self.name, &format!("blob {digest}"), &error)),
        }
    }
}
