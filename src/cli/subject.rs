//! What a verb acts on, parsed.

use std::str::FromStr;

use longshore_contract::{AliasName, AliasRef, FunctionName};

/// What a verb acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubjectWord {
    /// A function of the manifest.
    Listed {
        /// The function.
        function: String,
        /// One of its targets; all where none is named.
        target: Option<String>,
        /// Another alias than the manifest's.
        alias: Option<AliasName>,
    },
    /// An alias by its full address; no manifest is needed.
    Addressed {
        /// The provider's word.
        provider: String,
        /// The region, or what stands for it.
        region: String,
        /// The alias.
        at: AliasRef,
    },
}

impl FromStr for SubjectWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [listed] => Self::listed(listed, None),
            [listed, alias] => Self::listed(listed, Some(alias)),
            // A region may hold colons (a directory's name can), a name and an alias cannot.
            [provider, region @ .., name, alias] if !region.is_empty() => Ok(Self::Addressed {
                provider: (*provider).to_owned(),
                region: region.join(":"),
                at: AliasRef {
                    function: name.parse::<FunctionName>().map_err(|error| error.to_string())?,
                    alias: alias.parse::<AliasName>().map_err(|error| error.to_string())?,
                },
            }),
            _ => Err(format!("{text:?} is neither FUNCTION[@TARGET][:ALIAS] nor PROVIDER:REGION:NAME:ALIAS")),
        }
    }
}

impl SubjectWord {
    fn listed(text: &str, alias: Option<&str>) -> Result<Self, String> {
        let (function, target) = match text.split_once('@') {
            Some((function, target)) => (function, Some(target.to_owned())),
            None => (text, None),
        };
        if function.is_empty() || target.as_ref().is_some_and(String::is_empty) {
            return Err(format!("{text:?} is not FUNCTION[@TARGET]"));
        }
        let alias = alias.map(str::parse::<AliasName>).transpose().map_err(|error| error.to_string())?;
        Ok(Self::Listed { function: function.to_owned(), target, alias })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let listed = |function: &str, target: Option<&str>, alias: Option<&str>| SubjectWord::Listed {
            function: function.to_owned(),
            target: target.map(str::to_owned),
            alias: alias.map(|alias| alias.parse().unwrap()),
        };
        assert_eq!("checkout".parse(), Ok(listed("checkout", None, None)));
        assert_eq!("checkout@here:beta".parse(), Ok(listed("checkout", Some("here"), Some("beta"))));
        let addressed = "local:/srv/a:b:shop-checkout:live".parse::<SubjectWord>().unwrap();
        let SubjectWord::Addressed { provider, region, at } = addressed else { panic!("an address") };
        assert_eq!((provider.as_str(), region.as_str()), ("local", "/srv/a:b"));
        assert_eq!(at.to_string(), "shop-checkout:live");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in ["", "@here", "checkout@", "checkout:42", "local:x:live", "local:x:shop:42", ":::"] {
            assert!(bad.parse::<SubjectWord>().is_err(), "{bad:?}");
        }
    }
}
