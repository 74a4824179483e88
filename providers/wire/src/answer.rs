//! What came back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::address::authority;
use crate::error::{Error, ErrorKind};
use crate::retry::retry_after;

/// An answer, whatever its status; its body is still on the wire.
#[derive(Debug)]
pub struct Answer {
    pub(crate) response: reqwest::Response,
    pub(crate) operation: &'static str,
    pub(crate) url: Url,
    pub(crate) stall: Duration,
    pub(crate) attempts: u32,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The header `name` where it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// How long the peer wants to be left alone, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header(RETRY_AFTER.as_str())?, jiff::Timestamp::now())
    }

    /// Who answered: the request's URL, or where its redirects led.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How often the request was sent for this answer, redirects not counted.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The whole body. More than `limit` bytes are an error of kind [`TooLarge`](ErrorKind::TooLarge), found out without
    /// reading further.
    pub async fn read_up_to(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                let message = format!("the answer is larger than {limit} bytes");
                return Err(self.error(ErrorKind::TooLarge, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The beginning of the body, at most `limit` bytes; what cannot be read is left out. For texts that explain a refusal.
    pub async fn excerpt(mut self, limit: usize) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < limit {
            match self.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]),
                Ok(None) | Err(_) => break,
            }
        }
        body.freeze()
    }

    /// The next piece of the body as it arrives; `None` at its end. A peer that stands still is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Error::from_client(error, self.operation, &self.url).after(self.attempts)),
            Err(_) => {
                Err(Error::stalled(self.operation, authority(&self.url), self.stall).after(self.attempts))
            }
        }
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, self.operation, authority(&self.url), message).after(self.attempts)
    }
}
