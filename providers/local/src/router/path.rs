//! What a request's path asks for.

use longshore_contract::{AliasName, FunctionName, Qualifier};

/// A request's path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// The function.
    pub(crate) function: FunctionName,
    /// Which face of it.
    pub(crate) at: Qualifier,
    /// `/NAME/QUALIFIER`: what stands before the function's own path.
    pub(crate) prefix: &'a str,
    /// The path the function gets, as it was sent: at least `/`.
    pub(crate) path: &'a str,
}

impl<'a> Asked<'a> {
    /// Takes a path apart; `None` where it does not begin with a function and one of its faces.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let (function, rest) = path.strip_prefix('/')?.split_once('/')?;
        let qualifier = rest.split('/').next().unwrap_or_default();
        let at = if qualifier == "$LATEST" {
            Qualifier::Latest
        } else if let Ok(version) = qualifier.parse() {
            Qualifier::Version(version)
        } else {
            Qualifier::Alias(qualifier.parse::<AliasName>().ok()?)
        };
        let (prefix, path) = path.split_at(1 + function.len() + 1 + qualifier.len());
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { function: function.parse().ok()?, at, prefix, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(path: &str) -> Option<(String, String, String, String)> {
        let asked = Asked::parse(path)?;
        Some((
            asked.function.to_string(),
            asked.at.to_string(),
            asked.prefix.to_owned(),
            asked.path.to_owned(),
        ))
    }

    #[test]
    fn what_follows_the_prefix_is_handed_on_as_it_is() {
        for (path, at, rest) in [
            ("/shop/live", "live", "/"),
            ("/shop/live/", "live", "/"),
            ("/shop/42/a/b", "42", "/a/b"),
            ("/shop/live//a%2Fb/../c", "live", "//a%2Fb/../c"),
            ("/shop/$LATEST/x", "$LATEST", "/x"),
        ] {
            let (function, qualifier, prefix, path) = taken_apart(path).unwrap();
            assert_eq!((function.as_str(), qualifier.as_str(), path.as_str()), ("shop", at, rest));
            assert_eq!(prefix, format!("/shop/{at}"));
        }
    }

    #[test]
    fn what_names_no_face_of_a_function_is_nothing() {
        for path in ["", "/", "/shop", "/shop/", "//live", "/sh%6Fp/live", "/_longshore/1", "shop/live"] {
            assert_eq!(taken_apart(path), None, "{path}");
        }
    }
}
