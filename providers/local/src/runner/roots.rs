//! Unpacked images, one root per digest.
//!
//! ```text
//! roots/HEX/root      the image's files
//! roots/HEX/boot      the boot of this machine that they were unpacked in
//! roots/partial-N     one that is being unpacked
//! ```
//!
//! A root appears by a rename, so a killed process leaves none half made. Its files are not synced, which would cost more
//! than it is worth for a copy: a root from an earlier boot is unpacked again instead.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_contract::Digest;

use super::error::StartError;
use super::unpack::{Root, unpack};
use crate::registry::{Registry, StoredImage};

const PARTIAL: &str = "partial-";

#[derive(Debug)]
pub(super) struct Roots {
    directory: PathBuf,
    boot: String,
    registry: Registry,
    partial: AtomicU64,
    /// Held while a digest is unpacked, so that it is done once.
    unpacking: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Roots {
    /// Opens the roots in `directory` and removes what is half made or from an earlier boot.
    pub(super) fn open(directory: &Path, registry: Registry) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kept = fs::read_to_string(entry.path().join("boot")).is_ok_and(|text| text.trim() == boot);
            let partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
            if partial || !kept {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            boot,
            registry,
            partial: AtomicU64::new(0),
            unpacking: Mutex::default(),
        })
    }

    /// The root of `image`, unpacked now where it was not yet.
    pub(super) async fn root(self: &Arc<Self>, image: &StoredImage) -> Result<PathBuf, StartError> {
        let lock = {
            let mut unpacking = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
            unpacking.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(unpacking.entry(image.digest.clone()).or_default())
        };
        let held = lock.lock_owned().await;
        let (roots, image) = (Arc::clone(self), image.clone());
        let work = move || {
            // Held to the end of the work, which goes on when nobody waits for it any more.
            let _held = held;
            roots.unpack_once(&image)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(root) => root,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    fn unpack_once(&self, image: &StoredImage) -> Result<PathBuf, StartError> {
        let home = self.directory.join(image.digest.hex());
        if home.exists() {
            return Ok(home.join("root"));
        }
        let number = self.partial.fetch_add(1, Ordering::Relaxed);
        let partial = self.directory.join(format!("{PARTIAL}{number}"));
        let made = self
            .unpack_into(&partial, image)
            .and_then(|()| fs::rename(&partial, &home).map_err(StartError::disk(&home)));
        if let Err(error) = made {
            if let Err(left) = fs::remove_dir_all(&partial) {
                tracing::warn!("{}: {left}", partial.display());
            }
            return Err(error);
        }
        Ok(home.join("root"))
    }

    fn unpack_into(&self, partial: &Path, image: &StoredImage) -> Result<(), StartError> {
        let path = partial.join("root");
        fs::create_dir_all(&path).map_err(StartError::disk(&path))?;
        unpack(&self.registry, image, &path)?;
        furnish(&path, image)?;
        let boot = partial.join("boot");
        fs::write(&boot, &self.boot).map_err(StartError::disk(&boot))
    }
}

/// Adds what a running image is given whether or not it brought it: places to mount on, and its working directory.
fn furnish(path: &Path, image: &StoredImage) -> Result<(), StartError> {
    let root = Root::open(path).map_err(StartError::disk(path))?;
    for name in ["proc", "dev", "tmp", "etc", &image.working_directory] {
        // Where the image has something else of that name, it goes without, or is told when it starts.
        if let Err(error) = root.make_folder(name) {
            tracing::debug!("{}: {name}: {error}", path.display());
        }
    }
    for name in ["resolv.conf", "hosts"] {
        if let Err(error) = root.make_file("etc", name) {
            tracing::debug!("{}: etc/{name}: {error}", path.display());
        }
    }
    Ok(())
}
