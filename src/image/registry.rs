//! Images in registries: manifests and configurations are fetched when an image is opened, layers when they are read.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use longshore_contract::{Digest, Endpoint, PlainHttp, Platform, Reference, Repository};
use longshore_wire::{Answer, ErrorKind};
use tokio::runtime::Handle;

use super::document::{self, Descriptor};
use super::error::{ImageError, ImageErrorKind};
use super::remote::Remote;
use super::tree::{self, DOCUMENT_LIMIT, Store};
use super::world::World;
use super::{Content, Image, digest_of};
use crate::registry::{
    Access, Credentials, Purpose, Reach, RegistryError, RegistryErrorKind, accept_manifests,
};

const DIGEST_HEADER: &str = "docker-content-digest";
/// How many manifests are asked for at once.
const ABREAST: usize = 8;
/// So few pulls left are worth a word.
const FEW: u64 = 10;

/// Opens the image that `reference` names; of an index, what may serve `platform`, or everything. Mirrors are asked first.
/// Blocks, on a thread that may.
pub(super) fn open(
    reference: &Reference,
    platform: Option<&Platform>,
    source: String,
    world: &World,
) -> Result<Image, ImageError> {
    let mirrors = world
        .mirrors
        .as_ref()
        .map_err(|problem| ImageError::new(ImageErrorKind::Unreachable, &source, problem.clone()))?;
    for (mirror, endpoint) in mirrors.of(&reference.repository) {
        let shelf = Shelf::new(&mirror, endpoint, platform, &source, world)?;
        match shelf.open(reference) {
            Ok(image) => {
                world.tell(format!("reading {source} from {mirror}"));
                return Ok(image);
            }
            // Whatever is wrong with a mirror, the registry itself has the last word.
            Err(error) => world.tell(format!("the mirror {mirror} does not serve it ({})", error.message)),
        }
    }
    Shelf::new(&reference.repository, None, platform, &source, world)?.open(reference)
}

/// One repository, as it is read.
struct Shelf<'a> {
    name: &'a str,
    access: Access,
    runtime: Handle,
    platform: Option<&'a Platform>,
    world: &'a World,
    manifests: Mutex<HashMap<Digest, Bytes>>,
}

impl<'a> Shelf<'a> {
    fn new(
        repository: &Repository,
        endpoint: Option<Endpoint>,
        platform: Option<&'a Platform>,
        name: &'a str,
        world: &'a World,
    ) -> Result<Self, ImageError> {
        let plain_http = if world.plain_http.iter().any(|host| host == repository.host()) {
            PlainHttp::Allowed
        } else {
            PlainHttp::LoopbackOnly
        };
        let reach =
            Reach { endpoint, plain_http, credentials: Credentials::Keychain(world.keychain.clone()) };
        let access = Access::new(&world.sessions, repository, &reach, Purpose::Pull, &world.calls);
        let runtime = world.runtime(name)?;
        Ok(Self { name, access, runtime, platform, world, manifests: Mutex::default() })
    }

    fn open(&self, reference: &Reference) -> Result<Image, ImageError> {
        let asked = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_owned(),
        };
        let entry = self.runtime.block_on(self.root(&asked, reference.digest.as_ref()))?;
        tree::read_at(self, &entry)
    }

    /// Fetches what `asked` names.
    async fn root(&self, asked: &str, digest: Option<&Digest>) -> Result<Descriptor, ImageError> {
        let answer = self.ask(asked).await?;
        let answer = answer.ok_or_else(|| {
            let repository = self.access.repository();
            ImageError::new(
                ImageErrorKind::Missing,
                self.name,
                format!("{repository} has no manifest {asked}"),
            )
            .hint("check the tag; `skopeo list-tags docker://HOST/PATH` lists what there is")
        })?;
        self.tell_of_limits(&answer);
        let stated = answer.header(DIGEST_HEADER).and_then(|stated| stated.parse::<Digest>().ok());
        let content_type = answer.header(CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
        let media_type =
            content_type.map(str::trim).filter(|kind| document::is_manifest(kind)).map(str::to_owned);
        let bytes = self.take(answer, asked).await?;
        let found = digest_of(&bytes);
        if let Some(expected) = digest.or(stated.as_ref()).filter(|expected| **expected != found) {
            let host = self.access.repository().host();
            let message = format!(
                "manifest {asked}: {host} calls it {expected}, and its bytes have the digest {found}"
            );
            return Err(ImageError::new(ImageErrorKind::Corrupt, self.name, message));
        }
        let size = bytes.len() as u64;
        self.keep(found.clone(), bytes);
        Ok(Descriptor::of(media_type, found, size))
    }

    /// Asks for a manifest; `None` when there is none.
    async fn ask(&self, name: &str) -> Result<Option<Answer>, ImageError> {
        let doing = format!("read manifest {name}");
        let request = self.access.request("read manifest", Method::GET, &format!("manifests/{name}")).await;
        let request = accept_manifests(request.map_err(|error| self.of_registry(error))?);
        let answer = self.access.send(request).await.map_err(|error| self.of_registry(error))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::TOO_MANY_REQUESTS => {
                let limit = limit_of(&answer);
                Err(self.too_often(self.access.refused(&doing, answer).await, limit))
            }
            _ => Err(self.of_registry(self.access.refused(&doing, answer).await)),
        }
    }

    async fn take(&self, answer: Answer, name: &str) -> Result<Bytes, ImageError> {
        let limit = usize::try_from(DOCUMENT_LIMIT).expect("it is a few megabytes");
        answer.read_up_to(limit).await.map_err(|error| match error.kind {
            ErrorKind::TooLarge => {
                let message =
                    format!("manifest {name} has more than the {DOCUMENT_LIMIT} bytes that are read");
                ImageError::new(ImageErrorKind::Limit, self.name, message)
            }
            _ => self.of_registry(self.access.broken(error)),
        })
    }

    fn keep(&self, digest: Digest, bytes: Bytes) {
        self.manifests.lock().expect("nothing panics while it holds this").insert(digest, bytes);
    }

    fn kept(&self, digest: &Digest) -> Option<Bytes> {
        self.manifests.lock().expect("nothing panics while it holds this").get(digest).cloned()
    }

    async fn fetch(&self, digest: &Digest) -> Result<(), ImageError> {
        if self.kept(digest).is_none()
            && let Some(answer) = self.ask(digest.as_str()).await?
        {
            let bytes = self.take(answer, digest.as_str()).await?;
            self.keep(digest.clone(), bytes);
        }
        Ok(())
    }

    /// Says how many pulls are left where the registry counts them and they are few.
    fn tell_of_limits(&self, answer: &Answer) {
        let Some((left, window)) = answer.header("ratelimit-remaining").and_then(counted) else { return };
        let host = self.access.repository().host();
        tracing::debug!(host, left, "pulls left");
        if left <= FEW {
            self.world.tell(format!("{host} lets you pull {left} more images{}", within(window)));
        }
    }

    fn too_often(&self, error: RegistryError, limit: Option<(u64, Option<u64>)>) -> ImageError {
        let host = self.access.repository().host().to_owned();
        let told = self.of_registry(error);
        let limit =
            limit.map(|(limit, window)| format!(" ({limit} pulls{})", within(window))).unwrap_or_default();
        ImageError { message: format!("{}: its limit on pulls is reached{limit}", told.message), ..told }.hint(format!(
            "wait, log in (docker login {host}) for a higher limit, or read from a mirror: LONGSHORE_MIRRORS={host}=MIRROR"
        ))
    }

    fn of_registry(&self, error: RegistryError) -> ImageError {
        ImageError::of_registry(self.name, &error)
    }
}

impl ImageError {
    /// What whoever was asked for some bytes of `name` said, where that travels inside `error`.
    pub(crate) fn told_in(name: &str, error: &std::io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        let told = inner.downcast_ref::<Self>().cloned();
        told.or_else(|| inner.downcast_ref().map(|said| Self::of_registry(name, said)))
    }

    /// From what a registry said while the image `name` was read out of it.
    pub(super) fn of_registry(name: &str, error: &RegistryError) -> Self {
        let kind = match error.kind {
            RegistryErrorKind::RepositoryMissing => ImageErrorKind::Missing,
            RegistryErrorKind::Unauthorized | RegistryErrorKind::Keychain => ImageErrorKind::Unauthorized,
            RegistryErrorKind::Denied => ImageErrorKind::Denied,
            RegistryErrorKind::Unreachable => ImageErrorKind::Unreachable,
            RegistryErrorKind::Unavailable => ImageErrorKind::Unavailable,
            RegistryErrorKind::DigestMismatch => ImageErrorKind::Corrupt,
            RegistryErrorKind::Image
            | RegistryErrorKind::TagTaken
            | RegistryErrorKind::Unreadable
            | RegistryErrorKind::Refused
            | RegistryErrorKind::Protocol => ImageErrorKind::Protocol,
        };
        let hint = match kind {
            // Many registries do not tell what is not there from what is hidden.
            ImageErrorKind::Unauthorized | ImageErrorKind::Denied => {
                let more = "or there is no such image: then check its name";
                Some(error.hint.as_ref().map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}")))
            }
            _ => error.hint.clone(),
        };
        Self { hint, ..Self::new(kind, name, error.to_string()) }
    }
}

/// `COUNT;w=SECONDS`, as registries that count pulls say it.
pub(super) fn counted(text: &str) -> Option<(u64, Option<u64>)> {
    let (count, rest) = text.split_once(';').unwrap_or((text, ""));
    let window = rest.split(';').find_map(|part| part.trim().strip_prefix("w=")?.parse().ok());
    Some((count.trim().parse().ok()?, window))
}

fn limit_of(answer: &Answer) -> Option<(u64, Option<u64>)> {
    answer.header("ratelimit-limit").and_then(counted)
}

fn within(window: Option<u64>) -> String {
    match window {
        Some(seconds) if seconds >= 3600 => format!(" in {} h", seconds / 3600),
        Some(seconds) => format!(" in {seconds} s"),
        None => String::new(),
    }
}

impl Store for Shelf<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn file(&self, _path: &str, _limit: u64) -> Result<Option<Bytes>, ImageError> {
        Ok(None)
    }

    fn blob(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        let (digest, size) = (entry.digest.clone(), entry.size);
        Ok(Some(Remote::content(self.access.clone(), digest, size, self.runtime.clone())))
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        self.runtime.block_on(self.fetch(&entry.digest))?;
        Ok(self.kept(&entry.digest).map(Content::Bytes))
    }

    fn wants(&self, entry: &Descriptor) -> bool {
        let Some(wanted) = self.platform else { return true };
        entry
            .platform
            .as_ref()
            .and_then(document::DescribedPlatform::read)
            .is_none_or(|has| has.serves(wanted))
    }

    fn expect(&self, entries: &[&Descriptor]) -> Result<(), ImageError> {
        let fetches = futures::stream::iter(entries).map(|entry| self.fetch(&entry.digest));
        self.runtime.block_on(fetches.buffer_unordered(ABREAST).try_collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_limits_are_read_as_registries_write_them() {
        assert_eq!(counted("100;w=21600"), Some((100, Some(21600))));
        assert_eq!(counted("7"), Some((7, None)));
        assert_eq!(counted("many"), None);
        assert_eq!(
            (within(Some(21600)), within(Some(60)), within(None)),
            (" in 6 h".into(), " in 60 s".into(), String::new())
        );
    }
}
