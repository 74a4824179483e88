//! What opening an image may use besides the image's own files: registries, container engines, the cache.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_contract::{Calls, Digest};
use longshore_wire::{Client, Limits};
use tokio::runtime::Handle;

use super::Content;
use super::engine::Environment;
use super::error::{ImageError, ImageErrorKind};
use super::mirrors::{Mirrors, VARIABLE};
use crate::cache::{Cache, Spool};
use crate::registry::{Keychain, Sessions};

/// Hears, in one line, what opening an image does that takes long or room.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// More than this is not spooled for one image.
const MOST_SPOOLED: u64 = 64 << 30;

/// What opening an image may use besides the image's own files. Clones share sessions and the cache.
#[derive(Clone)]
pub struct World {
    pub(super) sessions: Sessions,
    pub(super) keychain: Keychain,
    pub(super) plain_http: Vec<String>,
    pub(super) mirrors: Result<Mirrors, String>,
    pub(super) engine: Environment,
    pub(super) calls: Calls,
    cache: Cache,
    tell: Tell,
}

impl World {
    /// What the environment says: logins where container tools keep them, engines where docker's client looks for them, mirrors
    /// in `LONGSHORE_MIRRORS`. Registries are spoken to through `sessions`; layers that `cache` holds are not read again.
    /// Nothing is read or asked until an image is opened.
    pub fn from_environment(sessions: Sessions, cache: Cache) -> Self {
        let mirrors = std::env::var(VARIABLE).unwrap_or_default();
        Self {
            sessions,
            keychain: Keychain::from_environment(),
            plain_http: Vec::new(),
            mirrors: mirrors.parse(),
            engine: Environment::read(|name| std::env::var_os(name)),
            calls: Calls::default(),
            cache,
            tell: Arc::new(|line| tracing::info!("{line}")),
        }
    }

    /// The same with these mirrors, as `LONGSHORE_MIRRORS` would name them.
    pub fn mirrored(self, mirrors: &str) -> Result<Self, String> {
        Ok(Self { mirrors: Ok(mirrors.parse()?), ..self })
    }

    /// The same, speaking plain http to `hosts` too, as far as they are no loopback.
    pub fn plain_http(self, hosts: &[String]) -> Self {
        Self { plain_http: hosts.to_vec(), ..self }
    }

    /// The same, counting requests to registries into `calls`: those of reading layers later as well.
    pub fn counting(self, calls: &Calls) -> Self {
        Self { calls: calls.clone(), ..self }
    }

    /// The same, telling `tell` what takes long or room.
    pub fn telling(self, tell: Tell) -> Self {
        Self { tell, ..self }
    }

    pub(super) fn tell(&self, line: String) {
        (self.tell)(line);
    }

    /// A file in the cache's folder that is gone when nobody reads it any more, also when this process dies.
    pub(super) fn spool(&self) -> io::Result<Spool> {
        self.cache.spool(MOST_SPOOLED)
    }

    /// Where spools are, for people.
    pub(super) fn spool_folder(&self) -> PathBuf {
        self.cache.folder().map_or_else(std::env::temp_dir, PathBuf::from)
    }

    /// The plain layer `diff_id` of `size` bytes, where the cache holds it.
    pub(super) fn known_layer(&self, diff_id: &Digest, size: u64) -> Option<Content> {
        let layer = self.cache.layer(diff_id).filter(|layer| layer.plain_size == size)?;
        Some(Content::plain(layer))
    }

    /// What a spool that cannot be made or written came to.
    pub(super) fn of_spool(&self, name: &str, error: &io::Error) -> ImageError {
        let folder = self.spool_folder();
        ImageError::new(ImageErrorKind::Io, name, format!("the spool in {}: {error}", folder.display()))
            .hint("make room there, or set LONGSHORE_CACHE_DIR to a folder that has it")
    }

    /// The runtime that sockets are spoken through. What asks nobody needs none.
    pub(super) fn runtime(&self, name: &str) -> Result<Handle, ImageError> {
        Handle::try_current().map_err(|_| {
            ImageError::new(ImageErrorKind::Unsupported, name, "nobody can be asked outside of a runtime")
        })
    }
}

impl Default for World {
    /// What the environment says, with sessions of its own and no cache.
    fn default() -> Self {
        Self::from_environment(Sessions::new(Client::new(Limits::default())), Cache::nowhere())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("mirrors", &self.mirrors)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
