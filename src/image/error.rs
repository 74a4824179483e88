//! Why an image cannot be used.

/// Why an image cannot be opened, picked or read. `Display` is one line: which source, what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {message}")]
pub struct ImageError {
    /// What sort of failure it is.
    pub kind: ImageErrorKind,
    /// The source, as it was written.
    pub source_name: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do next, where we know.
    pub hint: Option<String>,
}

/// The sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// A file or a blob is not there.
    Missing,
    /// No such tag, or several images and no tag.
    Tag,
    /// No image for the platform that was asked for.
    Platform,
    /// What was read is not what its digest or size says, or no image at all.
    Corrupt,
    /// It is larger, deeper or more than what is read.
    Limit,
    /// It is an image, of a kind that is not read.
    Unsupported,
    /// A file could not be read or written.
    Io,
    /// The registry wants other credentials, or some at all.
    Unauthorized,
    /// The credentials are good and do not allow this.
    Denied,
    /// The registry or the engine cannot be reached.
    Unreachable,
    /// The registry or the engine cannot answer now, or lost its voice while it did.
    Unavailable,
    /// The registry or the engine answered with something that none answers.
    Protocol,
}

impl ImageError {
    /// Whether the image, or somebody, said no, as opposed to something having broken or not answered.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self.kind,
            ImageErrorKind::Unreachable | ImageErrorKind::Unavailable | ImageErrorKind::Protocol
        )
    }

    pub(crate) fn new(
        kind: ImageErrorKind,
        source_name: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, source_name: source_name.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// From what the operating system said about `what`.
    pub(crate) fn io(source_name: &str, what: &str, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ImageErrorKind::Missing,
            _ => ImageErrorKind::Io,
        };
        Self::new(kind, source_name, format!("{what}: {error}"))
    }
}
