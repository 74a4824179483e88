//! Unpacked images: the layers, each once, and a root per image made of them.
//!
//! ```text
//! roots/layers/DIFF_ID/       a layer taken apart: its files' contents and its index
//! roots/images/DIGEST/root    an image's files, links to the contents of its layers
//! roots/images/DIGEST/layers  the layers that it is made of, a line each
//! roots/boot                  the boot of this machine that all of it was made in, and for which users
//! roots/partial-N             what is being made, or removed
//! ```
//!
//! Everything appears by a rename, so a killed process leaves nothing half made. Files are not synced, which would cost more
//! than it is worth for a copy: what is from an earlier boot is made again instead.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use longshore_contract::Digest;
use tokio::sync::RwLock;

use super::error::StartError;
use super::sandbox::Users;
use super::unpack::{Root, put_together, take_apart};
use crate::registry::{Layer, Registry, StoredImage};

/// What isolation is tried with.
pub(super) const PROBE: &str = "partial-probe";
const PARTIAL: &str = "partial-";
const BOOT: &str = "boot";
const LAYERS: &str = "layers";
const IMAGES: &str = "images";

#[derive(Debug)]
pub(super) struct Roots {
    directory: PathBuf,
    users: Users,
    registry: Registry,
    partial: AtomicU64,
    /// Held while a layer or an image is made, so that it is done once.
    making: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// The images that something runs on.
    held: Mutex<HashMap<Digest, Weak<()>>>,
    /// Shared by all who make images, so that nobody removes what they make them of.
    keeping: Arc<RwLock<()>>,
}

/// The root of an image, which is not removed as long as this is.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    _held: Arc<()>,
}

impl Held {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Roots {
    /// Opens the roots in `directory`, for images whose users are `users`, and removes what is half made, from an earlier
    /// boot, or for other users.
    pub(super) fn open(directory: &Path, registry: Registry, users: Users) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let wanted = format!("{} {users:?} 1", boot.trim());
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let marked = directory.join(BOOT);
        let kept = fs::read_to_string(&marked).is_ok_and(|text| text == wanted);
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
            if (partial || !kept) && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        for name in [LAYERS, IMAGES] {
            fs::create_dir_all(directory.join(name))?;
        }
        fs::write(&marked, wanted)?;
        Ok(Self {
            directory: directory.to_owned(),
            users,
            registry,
            partial: AtomicU64::new(0),
            making: Mutex::default(),
            held: Mutex::default(),
            keeping: Arc::default(),
        })
    }

    /// The root of `image`, unpacked now where it was not yet.
    pub(super) async fn root(self: &Arc<Self>, image: &StoredImage) -> Result<Held, StartError> {
        // Held to the end of the work, which goes on when nobody waits for it any more.
        let keeping = Arc::clone(&self.keeping).read_owned().await;
        let (roots, image) = (Arc::clone(self), image.clone());
        let work = move || {
            let _keeping = keeping;
            let path = roots.image(&image)?;
            Ok(Held { path, _held: roots.hold(&image.digest) })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(root) => root,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    fn hold(&self, digest: &Digest) -> Arc<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, held| held.strong_count() > 0);
        let alive = held.get(digest).and_then(Weak::upgrade).unwrap_or_default();
        held.insert(digest.clone(), Arc::downgrade(&alive));
        alive
    }

    /// Removes the images that are not among `wanted` and that nothing runs on, and the layers that no other is made of.
    pub(super) async fn retain(self: &Arc<Self>, wanted: HashSet<Digest>) -> io::Result<()> {
        let keeping = Arc::clone(&self.keeping).write_owned().await;
        let roots = Arc::clone(self);
        let work = move || {
            let removed = roots.put_aside(&wanted);
            // What lies aside is nobody's: others may go on while it is deleted.
            drop(keeping);
            removed?.into_iter().try_for_each(fs::remove_dir_all)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn put_aside(&self, wanted: &HashSet<Digest>) -> io::Result<Vec<PathBuf>> {
        let mut kept: HashSet<String> = wanted.iter().map(|digest| digest.hex().to_owned()).collect();
        {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let running = held.iter().filter(|(_, held)| held.strong_count() > 0);
            kept.extend(running.map(|(digest, _)| digest.hex().to_owned()));
        }
        let (mut removed, mut layers) = (Vec::new(), HashSet::new());
        for (name, path) in entries(&self.directory.join(IMAGES))? {
            if kept.contains(&name) {
                let of = fs::read_to_string(path.join(LAYERS))?;
                layers.extend(of.lines().map(str::to_owned));
            } else {
                removed.push(path);
            }
        }
        for (name, path) in entries(&self.directory.join(LAYERS))? {
            if !layers.contains(&name) {
                removed.push(path);
            }
        }
        let aside = removed.into_iter().map(|path| {
            let aside = self.partial();
            fs::rename(path, &aside).map(|()| aside)
        });
        aside.collect()
    }

    fn partial(&self) -> PathBuf {
        let number = self.partial.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{PARTIAL}{number}"))
    }

    fn image(&self, image: &StoredImage) -> Result<PathBuf, StartError> {
        let home = self.directory.join(IMAGES).join(image.digest.hex());
        self.once(&image.digest, &home, |partial| {
            let layers = image.layers.iter().map(|layer| {
                let path = self.layer(layer)?;
                Ok((layer.digest.clone(), path))
            });
            let layers = layers.collect::<Result<Vec<_>, StartError>>()?;
            let root = partial.join("root");
            fs::create_dir(&root).map_err(StartError::disk(&root))?;
            put_together(&layers, self.users, &root)?;
            furnish(&root, image, self.users)?;
            let names: Vec<&str> = image.layers.iter().map(|layer| layer.diff_id.hex()).collect();
            let list = partial.join(LAYERS);
            fs::write(&list, names.join("\n")).map_err(StartError::disk(&list))
        })?;
        Ok(home.join("root"))
    }

    fn layer(&self, layer: &Layer) -> Result<PathBuf, StartError> {
        let home = self.directory.join(LAYERS).join(layer.diff_id.hex());
        self.once(&layer.diff_id, &home, |partial| {
            take_apart(&self.registry, layer, self.users, partial).map_err(StartError::from)
        })?;
        Ok(home)
    }

    /// Makes `home` by `make` in another place, where it is not there yet.
    fn once(
        &self,
        digest: &Digest,
        home: &Path,
        make: impl FnOnce(&Path) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let lock = {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            making.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(making.entry(digest.clone()).or_default())
        };
        let _made_once = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if home.exists() {
            return Ok(());
        }
        let partial = self.partial();
        let made = fs::create_dir(&partial)
            .map_err(StartError::disk(&partial))
            .and_then(|()| make(&partial))
            .and_then(|()| fs::rename(&partial, home).map_err(StartError::disk(home)));
        if made.is_err()
            && let Err(left) = fs::remove_dir_all(&partial)
        {
            tracing::warn!("{}: {left}", partial.display());
        }
        made
    }
}

fn entries(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(directory)?.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    entries.collect()
}

/// Adds what a running image is given whether or not it brought it: places to mount on, and its working directory.
fn furnish(path: &Path, image: &StoredImage, users: Users) -> Result<(), StartError> {
    let root = Root::open_for(path, users).map_err(StartError::disk(path))?;
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
