//! The registries that belong to no cloud of ours: the one list of them.
//!
//! Written down from their documentation and from what they are seen to answer; where the two disagree, from the latter.
//! Those of the clouds are with the clouds.

use super::known::{Exchange, KnownRegistry, Mounts, PLAIN};

/// How many blobs are on their way at once to a registry that is spread over many machines: what other clients send at
/// once, and are let.
const WIDE: usize = 6;

/// Every public registry that is known by name, and those that people run themselves and that call themselves something.
pub const REGISTRIES: &[KnownRegistry] = &[
    KnownRegistry {
        name: "Docker Hub",
        hosts: &["docker.io"],
        answers_at: Some("registry-1.docker.io"),
        login_keys: &["https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"],
        login: Some("your Docker ID and a personal access token that may write"),
        uploads: WIDE,
        limits: Some(
            "Docker Hub counts pulls, of everybody behind one address where nobody is logged in: log in (docker login), \
             wait for the hours to pass, or pull through a mirror",
        ),
        ..PLAIN
    },
    KnownRegistry {
        name: "GitHub Container Registry",
        hosts: &["ghcr.io"],
        login: Some("your GitHub name and a token with write:packages (in Actions: GITHUB_TOKEN)"),
        uploads: WIDE,
        ..PLAIN
    },
    KnownRegistry {
        name: "Google Container Registry and Artifact Registry",
        hosts: &["gcr.io", "*.gcr.io", "*-docker.pkg.dev", "docker.pkg.dev"],
        login: Some(
            "the user _json_key with a service account's key file, or oauth2accesstoken with \
             `gcloud auth print-access-token`",
        ),
        uploads: WIDE,
        mounts: Mounts::Never,
        repositories: Some("gcloud artifacts repositories create"),
        ..PLAIN
    },
    KnownRegistry {
        name: "Azure Container Registry",
        hosts: &["*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"],
        login: Some(
            "the user 00000000-0000-0000-0000-000000000000 with the token that the Azure CLI's login gives \
             with --expose-token, or a service principal's id and secret",
        ),
        exchange: Some(&Exchange { user: "00000000-0000-0000-0000-000000000000", path: "oauth2/exchange" }),
        uploads: WIDE,
        ..PLAIN
    },
    KnownRegistry {
        name: "Quay",
        hosts: &["quay.io", "*.quay.io"],
        login: Some("a robot account (ORGANISATION+NAME) and its token"),
        ..PLAIN
    },
    KnownRegistry {
        name: "Harbor",
        services: &["harbor-registry"],
        login: Some("a robot account (robot$PROJECT+NAME) and its secret"),
        // 412, where a rule of the project fixes the tag.
        fixed_tag_codes: &["TAG_INVALID", "PRECONDITION"],
        repositories: Some("the first part of its path must be a project that exists"),
        ..PLAIN
    },
];
