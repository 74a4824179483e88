//! Images in a container engine: docker's, or podman's, which speaks docker's words.
//!
//! The engine is asked what a name means, and then for that image by its id, so that a name that moves meanwhile changes
//! nothing. It answers with a docker archive, which is read as one while it comes.

mod place;

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use http::{Method, StatusCode};
use longshore_wire::{Answer, Client, Limits, PlainHttp, Request, Trust};
use serde::Deserialize;
use tokio::runtime::Handle;
use url::Url;

use super::Image;
use super::archive::Archive;
use super::docker_archive;
use super::error::{ImageError, ImageErrorKind};
use super::source::StoredName;
use super::world::World;
use crate::registry::one_line;
use place::{Place, Way, through};

pub(super) use place::Environment;

/// Docker writes a whole image to its own disk before the first byte comes.
const FIRST_BYTE: std::time::Duration = std::time::Duration::from_secs(30 * 60);
const ANSWER_LIMIT: usize = 4 << 20;

/// What an engine says of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    id: String,
    #[serde(default)]
    size: u64,
}

/// Reads the image that the engine calls `name`. Blocks, on a thread that may.
pub(super) fn open(name: &StoredName, source: &str, world: &World) -> Result<Image, ImageError> {
    let engine = Engine::find(source, world)?;
    let inspected = engine.inspect(name)?;
    world.tell(format!(
        "reading {source} from {} ({} MiB), layers through {}",
        engine.shown,
        inspected.size >> 20,
        world.spool_folder().display()
    ));
    let body = engine.export(&inspected.id)?;
    let archive = Archive::spooled(body, source.to_owned(), "the engine's answer", world)?;
    docker_archive::read(&archive, None)
}

/// An engine that was found.
struct Engine<'a> {
    source: &'a str,
    client: Client,
    url: Url,
    trust: Trust,
    shown: String,
    runtime: Handle,
}

impl<'a> Engine<'a> {
    fn find(source: &'a str, world: &World) -> Result<Self, ImageError> {
        let place = world.engine.place().map_err(|unclear| ImageError {
            hint: unclear.hint,
            ..ImageError::new(ImageErrorKind::Unreachable, source, unclear.message)
        })?;
        let (way, shown) = match place {
            Place::Stated { way, by } => (way, format!("the engine of {by}")),
            Place::Usual(sockets) => {
                let mut tried = Vec::new();
                let found = sockets.into_iter().find(|socket| {
                    let outcome = std::os::unix::net::UnixStream::connect(socket);
                    tried
                        .extend(outcome.as_ref().err().map(|error| format!("{}: {error}", socket.display())));
                    outcome.is_ok()
                });
                let socket = found.ok_or_else(|| nobody(source, &tried.join("; ")))?;
                let shown = format!("the engine at {}", socket.display());
                (through(socket), shown)
            }
        };
        let limits = Limits { answer: FIRST_BYTE, ..Limits::default() };
        let (client, url, plain_http) = match way {
            Way::Road { url, road } => {
                let client = Client::through(limits, &road)
                    .map_err(|problem| ImageError::new(ImageErrorKind::Unreachable, source, problem))?;
                (client, url, PlainHttp::LoopbackOnly)
            }
            Way::Plain(url) => (Client::new(limits), url, PlainHttp::Allowed),
        };
        let trust = Trust { plain_http, ca: None };
        Ok(Self { source, client, url, trust, shown, runtime: world.runtime(source)? })
    }

    fn inspect(&self, name: &StoredName) -> Result<Inspected, ImageError> {
        let answer = self.ask("look for image", &format!("images/{}/json", name.as_str()))?;
        let text =
            self.runtime.block_on(answer.read_up_to(ANSWER_LIMIT)).map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&text).map_err(|_| {
            let message = format!("{} answers as no engine does", self.shown);
            ImageError::new(ImageErrorKind::Protocol, self.source, message)
        })
    }

    fn export(&self, id: &str) -> Result<impl Read, ImageError> {
        let answer = self.ask("export image", &format!("images/get?names={}", id.trim()))?;
        let broken = |error: &longshore_wire::Error| io::Error::other(self.broken(error));
        Ok(Pieces { answer, runtime: &self.runtime, piece: Bytes::new(), broken })
    }

    /// Asks, and takes nothing but a yes.
    fn ask(&self, operation: &'static str, path: &str) -> Result<Answer, ImageError> {
        let url = self.url.join(path).map_err(|_| {
            ImageError::new(ImageErrorKind::Protocol, self.source, format!("no URL can be made for {path}"))
        })?;
        let request = Request::new(operation, Method::GET, url).trust(self.trust.clone());
        let answer = self.runtime.block_on(self.client.send(request)).map_err(|error| self.broken(&error))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => {
                let said = said(&self.runtime.block_on(answer.excerpt(64 << 10)));
                Err(self.refused(operation, status, &said))
            }
        }
    }

    fn refused(&self, operation: &str, status: StatusCode, said: &str) -> ImageError {
        let Self { source, shown, .. } = self;
        if status == StatusCode::NOT_FOUND {
            return ImageError::new(
                ImageErrorKind::Missing,
                *source,
                format!("{shown} has no such image ({said})"),
            )
            .hint("`docker images` or `podman images` lists what there is; build or pull it first");
        }
        let kind =
            if status.is_server_error() { ImageErrorKind::Unavailable } else { ImageErrorKind::Protocol };
        ImageError::new(kind, *source, format!("{operation}: {shown} answered {}: {said}", status.as_u16()))
    }

    fn broken(&self, error: &longshore_wire::Error) -> ImageError {
        let kind = match error.kind {
            longshore_wire::ErrorKind::Timeout
            | longshore_wire::ErrorKind::Stalled
            | longshore_wire::ErrorKind::Lost => ImageErrorKind::Unavailable,
            _ => ImageErrorKind::Unreachable,
        };
        let message = format!("{}: {}: {}", self.shown, error.operation, error.message);
        let told = ImageError::new(kind, self.source, message);
        if error.message.contains("ermission denied") {
            told.hint("your user may not use its socket: join the group docker, or use a rootless engine")
        } else if kind == ImageErrorKind::Unreachable {
            told.hint("start it, or say with DOCKER_HOST where it is")
        } else {
            told
        }
    }
}

fn nobody(source: &str, tried: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Unreachable, source, format!("no container engine answers ({tried})")).hint(
        "start docker or podman (systemctl --user start podman.socket), or say with DOCKER_HOST where it is; without \
         an engine: docker-archive:FILE or oci:DIR",
    )
}

/// The text in an engine's error document.
pub(super) fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    match serde_json::from_slice::<Said>(body) {
        Ok(Said { message }) => one_line(message.as_bytes()),
        Err(_) => one_line(body),
    }
}

/// An answer's body as a reader. Blocks.
struct Pieces<'a, F> {
    answer: Answer,
    runtime: &'a Handle,
    piece: Bytes,
    broken: F,
}

impl<F: Fn(&longshore_wire::Error) -> io::Error> Read for Pieces<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.answer.chunk()) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(error) => return Err((self.broken)(&error)),
            }
        }
        let read = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
