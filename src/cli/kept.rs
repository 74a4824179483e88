//! Where the cache is, out of the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Limit};

const FOLDER: &str = "LONGSHORE_CACHE_DIR";
const LIMIT: &str = "LONGSHORE_CACHE_MAX";

/// The cache in `LONGSHORE_CACHE_DIR`, else in `XDG_CACHE_HOME`, else in `~/.cache`; with none of them nothing is kept. `Err`
/// says which variable is wrong.
pub(super) fn cache(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Cache, String> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let limit = match set(LIMIT) {
        None => Limit::Default,
        Some(text) => {
            let text = text.to_string_lossy();
            text.parse::<Limit>().map_err(|error| format!("{LIMIT}: {error}"))?
        }
    };
    // What a shell names is relative to where the shell is; the two others are absolute or wrong.
    let named = set(FOLDER).and_then(|folder| std::path::absolute(folder).ok());
    let absolute = |name: &str| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = named
        .or_else(|| absolute("XDG_CACHE_HOME").map(|folder| folder.join("longshore")))
        .or_else(|| absolute("HOME").map(|home| home.join(Path::new(".cache/longshore"))));
    Ok(folder.map_or_else(Cache::nowhere, |folder| Cache::at(folder, limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_set_says_where_it_is() {
        let folder = |set: &[(&str, &str)]| {
            let lookup =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            let cache = cache(&lookup).unwrap();
            cache.folder().map(Path::to_owned)
        };
        let all = [("LONGSHORE_CACHE_DIR", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(folder(&all), Some("/a".into()));
        assert_eq!(folder(&all[1..]), Some("/b/longshore".into()));
        assert_eq!(folder(&all[2..]), Some("/c/.cache/longshore".into()));
        assert_eq!(
            folder(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/c")]),
            Some("/c/.cache/longshore".into())
        );
        assert_eq!(folder(&[("LONGSHORE_CACHE_DIR", ""), ("HOME", "")]), None);
    }

    #[test]
    fn a_limit_that_is_none_names_its_variable() {
        let lookup = |name: &str| (name == "LONGSHORE_CACHE_MAX").then(|| "much".into());
        let error = cache(&lookup).unwrap_err();
        assert!(error.starts_with("LONGSHORE_CACHE_MAX: \"much\" is not a size"), "{error}");
    }
}
