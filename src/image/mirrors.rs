//! Where else images of a registry may be read: mirrors and pull-through caches. Sources only; nothing is written there.

use std::str::FromStr;

use longshore_contract::{Endpoint, PlainHttp, Repository};

/// The variable that names them.
pub(super) const VARIABLE: &str = "LONGSHORE_MIRRORS";

/// Mirrors, each for one registry, in the order they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mirrors(Vec<(String, Mirror)>);

/// A place that holds, or fetches, what a registry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    host: String,
    /// What stands before the path there; empty, or with a slash at its end.
    prefix: String,
    /// Where a scheme was stated.
    endpoint: Option<Endpoint>,
}

impl Mirrors {
    /// Where `repository` may be read instead, in the order that is tried.
    pub(super) fn of(&self, repository: &Repository) -> Vec<(Repository, Option<Endpoint>)> {
        let there = self.0.iter().filter(|(host, _)| host == repository.host());
        there
            .filter_map(|(_, Mirror { host, prefix, endpoint })| {
                let text = format!("{host}/{prefix}{}", repository.path());
                Some((text.parse().ok()?, endpoint.clone()))
            })
            .collect()
    }
}

impl FromStr for Mirrors {
    type Err = String;

    /// `HOST=MIRROR[,HOST=MIRROR…]`, a mirror as `[http://|https://]HOST[:PORT][/PREFIX]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(entry).collect::<Result<_, _>>().map(Self)
    }
}

fn entry(text: &str) -> Result<(String, Mirror), String> {
    let wrong = || {
        let shown: String = text.chars().take(100).collect();
        format!(
            "{VARIABLE}: {shown:?} is not HOST=MIRROR (docker.io=mirror.example, ghcr.io=https://cache.example/ghcr)"
        )
    };
    let (of, mirror) = text.split_once('=').ok_or_else(wrong)?;
    let (scheme, rest) = match mirror.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        Some(_) => return Err(wrong()),
        None => (None, mirror),
    };
    let rest = rest.trim_end_matches('/');
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    // Both are checked as what they become: hosts of repositories.
    let fits = |host: &str, path: &str| {
        format!("{host}/{path}").parse::<Repository>().is_ok_and(|parsed| parsed.host() == host)
    };
    if !fits(of, "a") || !fits(host, &format!("{prefix}a")) {
        return Err(wrong());
    }
    let endpoint = scheme.map(|scheme| Endpoint {
        url: format!("{scheme}://{host}"),
        // Whoever writes http there means it.
        plain_http: if scheme == "http" { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly },
        ca: None,
    });
    Ok((of.to_owned(), Mirror { host: host.to_owned(), prefix, endpoint }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(mirrors: &str, repository: &str) -> Vec<String> {
        let mirrors: Mirrors = mirrors.parse().unwrap();
        let there = mirrors.of(&repository.parse().unwrap());
        there
            .into_iter()
            .map(|(repository, endpoint)| match endpoint {
                Some(endpoint) => format!("{repository} by {}", endpoint.url),
                None => repository.to_string(),
            })
            .collect()
    }

    #[test]
    fn a_repository_is_found_under_its_mirrors_in_their_order() {
        let mirrors =
            "docker.io=http://10.0.0.1:5000, docker.io=cache.example/hub/,ghcr.io=https://cache.example/ghcr";
        assert_eq!(
            places(mirrors, "ubuntu"),
            ["10.0.0.1:5000/library/ubuntu by http://10.0.0.1:5000", "cache.example/hub/library/ubuntu"]
        );
        assert_eq!(places(mirrors, "ghcr.io/a/b"), ["cache.example/ghcr/a/b by https://cache.example"]);
        assert!(places(mirrors, "quay.io/a/b").is_empty() && places("", "ubuntu").is_empty());
    }

    #[test]
    fn what_is_no_mirror_is_named() {
        for text in
            ["docker.io", "docker.io=", "=h.io", "docker.io=ftp://h.io", "docker.io=h.io/UP", "a b=h.io"]
        {
            let error = text.parse::<Mirrors>().unwrap_err();
            assert!(
                error.starts_with("LONGSHORE_MIRRORS: ") && error.contains("is not HOST=MIRROR"),
                "{error}"
            );
        }
    }
}
