//! Which part of the API a path names. Names of repositories have slashes in them, so a path is read from its end.

use longshore_contract::Tag;

use super::digest::ContentDigest;
use super::name::RepositoryPath;
use super::refusal::Refusal;

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// `/v2/`
    Api,
    /// `/v2/NAME/blobs/DIGEST`
    Blob(RepositoryPath, ContentDigest),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(RepositoryPath),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(RepositoryPath, String),
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(RepositoryPath, ManifestName),
    /// `/v2/NAME/tags/list`
    Tags(RepositoryPath),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(RepositoryPath, ContentDigest),
}

impl Subject {
    /// What can be done with it, as the `Allow` header says it.
    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Self::Api => "GET, HEAD",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
        }
    }
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ManifestName {
    Digest(ContentDigest),
    Tag(Tag),
}

/// Reads the path of a request.
pub(super) fn subject(path: &str) -> Result<Subject, Refusal> {
    let nowhere =
        || Refusal::unsupported(http::StatusCode::NOT_FOUND, "no such part of the distribution API");
    let rest = match path.strip_prefix("/v2") {
        Some("" | "/") => return Ok(Subject::Api),
        Some(rest) => rest.strip_prefix('/').ok_or_else(nowhere)?,
        None => return Err(nowhere()),
    };
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Ok(Subject::Uploads(repository(name)?));
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Subject::Tags(repository(name)?));
    }
    let (rest, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return Ok(Subject::Upload(repository(name)?, last.to_owned()));
    }
    // Some clients write a digest's colon as %3A. Nothing else in a path of this API may need an escape.
    let last = last.replace("%3A", ":").replace("%3a", ":");
    if let Some(name) = rest.strip_suffix("/blobs") {
        return Ok(Subject::Blob(repository(name)?, digest(&last)?));
    }
    if let Some(name) = rest.strip_suffix("/referrers") {
        return Ok(Subject::Referrers(repository(name)?, digest(&last)?));
    }
    let name = repository(rest.strip_suffix("/manifests").ok_or_else(nowhere)?)?;
    let manifest = match last.contains(':') {
        true => ManifestName::Digest(digest(&last)?),
        false => ManifestName::Tag(last.parse().map_err(Refusal::manifest_invalid)?),
    };
    Ok(Subject::Manifest(name, manifest))
}

/// Reads the name of a repository.
pub(super) fn repository(text: &str) -> Result<RepositoryPath, Refusal> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(100).collect();
        Refusal::name_invalid(format!(
            "{shown:?} is not the name of a repository: lower-case letters, digits and . _ - between them, parts \
             separated by /, at most 255 characters"
        ))
    })
}

/// Reads a digest.
pub(super) fn digest(text: &str) -> Result<ContentDigest, Refusal> {
    text.parse().map_err(Refusal::digest_invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_read_from_its_end() {
        let hex = "0".repeat(64);
        let digest: ContentDigest = format!("sha256:{hex}").parse().unwrap();
        for (path, expected) in [
            ("/v2".to_owned(), Subject::Api),
            ("/v2/".to_owned(), Subject::Api),
            ("/v2/a/b/tags/list".to_owned(), Subject::Tags(name("a/b"))),
            ("/v2/tags/list/tags/list".to_owned(), Subject::Tags(name("tags/list"))),
            ("/v2/a/blobs/uploads/".to_owned(), Subject::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Subject::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/x".to_owned(), Subject::Upload(name("a"), "x".to_owned())),
            (format!("/v2/a/b/blobs/sha256:{hex}"), Subject::Blob(name("a/b"), digest.clone())),
            (format!("/v2/a/blobs/sha256%3A{hex}"), Subject::Blob(name("a"), digest.clone())),
            (format!("/v2/a/referrers/sha256:{hex}"), Subject::Referrers(name("a"), digest.clone())),
            (
                format!("/v2/blobs/manifests/sha256:{hex}"),
                Subject::Manifest(name("blobs"), ManifestName::Digest(digest)),
            ),
            (
                "/v2/a/manifests/v1.0".to_owned(),
                Subject::Manifest(name("a"), ManifestName::Tag("v1.0".parse().unwrap())),
            ),
        ] {
            assert_eq!(subject(&path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in [
            "/",
            "/v3/",
            "/v2x/a/tags/list",
            "/v2/a",
            "/v2/tags/list",
            "/v2/../a/tags/list",
            "/v2/a/../../b/tags/list",
            "/v2/%2e%2e/a/tags/list",
            "/v2/A/tags/list",
            "/v2/a/blobs/sha256:12",
            "/v2/a/blobs/..",
            "/v2/a/referrers/v1",
            "/v2/a/referrers/",
            "/v2/a/manifests/..",
            "/v2/a/manifests/",
            "/v2//manifests/a",
        ] {
            assert!(subject(path).is_err(), "{path}");
        }
    }
}
