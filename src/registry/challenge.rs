//! What a registry asks for: `WWW-Authenticate`, read. Pure.

use std::collections::BTreeMap;

use super::errand::Purpose;

/// One challenge of a `WWW-Authenticate` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    pub(super) scheme: String,
    /// By their names in lower case.
    pub(super) parameters: BTreeMap<String, String>,
}

/// Reads the challenges of all `headers`, several in one as well. What cannot be read ends a header and keeps what was read
/// before it.
pub(super) fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers {
        read_one(header, &mut challenges);
    }
    challenges
}

fn read_one(header: &str, challenges: &mut Vec<Challenge>) {
    let first = challenges.len();
    let mut text = Text(header);
    loop {
        text.skip(" \t,");
        let Some(word) = text.token() else { return };
        text.skip(" \t");
        // A word and an equals sign is a parameter; a word alone is a scheme.
        if !text.take('=') {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            continue;
        }
        text.skip(" \t");
        let Some(value) = text.value() else { return };
        let Some(challenge) = challenges[first..].last_mut() else { return };
        challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
    }
}

struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn skip(&mut self, characters: &str) {
        self.0 = self.0.trim_start_matches(|c| characters.contains(c));
    }

    fn take(&mut self, character: char) -> bool {
        let rest = self.0.strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            // `token68` ends in equals signs; it is read and never used.
            let value = self.token().unwrap_or_default().to_owned();
            self.skip("=");
            return Some(value);
        }
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

/// What a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// The errand's own repository.
    pub(super) path: String,
    pub(super) purpose: Purpose,
    /// Another repository of the same registry that is read from.
    pub(super) also: Option<String>,
}

impl Scope {
    /// It as a token service reads it: what the registry asked for, with what we need added to the entries of the
    /// repositories. Entries are separated by spaces.
    pub(super) fn text(&self, challenged: Option<&str>) -> String {
        let mut entries: Vec<String> =
            challenged.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        need(&mut entries, &self.path, self.purpose.actions());
        if let Some(also) = &self.also {
            need(&mut entries, also, Purpose::Pull.actions());
        }
        entries.join(" ")
    }
}

/// Adds to the entry of `path` the actions it lacks.
fn need(entries: &mut Vec<String>, path: &str, needed: &[&str]) {
    let prefix = format!("repository:{path}:");
    match entries.iter_mut().find(|entry| entry.starts_with(&prefix)) {
        Some(entry) => {
            let stated = entry[prefix.len()..].to_owned();
            let mut actions: Vec<&str> = stated.split(',').filter(|action| !action.is_empty()).collect();
            for action in needed {
                if !actions.contains(action) {
                    actions.push(action);
                }
            }
            *entry = format!("{prefix}{}", actions.join(","));
        }
        None => entries.push(format!("{prefix}{}", needed.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(header: &str) -> String {
        read([header])
            .iter()
            .map(|challenge| {
                let parameters = challenge.parameters.iter().map(|(key, value)| format!(" {key}={value}"));
                format!("{}{}", challenge.scheme, parameters.collect::<String>())
            })
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (header, expected) in [
            (r#"Basic realm="Registry Realm""#, "basic realm=Registry Realm"),
            (
                r#"Bearer realm="https://auth.h.io/token",service="h.io",scope="repository:a/b:pull,push""#,
                "bearer realm=https://auth.h.io/token scope=repository:a/b:pull,push service=h.io",
            ),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm="c""#,
                "negotiate | basic realm=a, b | bearer realm=c",
            ),
            (r#"Negotiate YWJj==, bearer  Realm = "x\"y" , service=plain"#, "negotiate | yWJj"),
            (r#"BEARER realm=https://h/token,service=s"#, "bearer realm=https://h/token service=s"),
            (r#"Bearer realm="unended"#, "bearer"),
            ("", ""),
            (",,,", ""),
            ("=x", ""),
        ] {
            if header.starts_with("Negotiate YW") {
                let found = read([header]);
                let bearer = found.iter().find(|challenge| challenge.scheme == "bearer").unwrap();
                assert_eq!(bearer.parameters["realm"], "x\"y");
                assert_eq!(bearer.parameters["service"], "plain");
                continue;
            }
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn a_scope_keeps_what_was_asked_for_and_adds_what_is_needed() {
        for (purpose, also, challenged, expected) in [
            (Purpose::Push, None, None, "repository:a/b:pull,push"),
            (Purpose::Push, None, Some("repository:a/b:pull"), "repository:a/b:pull,push"),
            (Purpose::Push, None, Some("repository:a/b:push,pull,delete"), "repository:a/b:push,pull,delete"),
            (Purpose::Push, None, Some("repository:c:pull"), "repository:c:pull repository:a/b:pull,push"),
            (Purpose::Push, Some("c"), None, "repository:a/b:pull,push repository:c:pull"),
            (
                Purpose::Push,
                Some("c"),
                Some("repository:c:* repository:a/b:pull"),
                "repository:c:*,pull repository:a/b:pull,push",
            ),
            (Purpose::Pull, None, None, "repository:a/b:pull"),
            (Purpose::Pull, None, Some("repository:a/b:pull"), "repository:a/b:pull"),
        ] {
            let scope = Scope { path: "a/b".to_owned(), purpose, also: also.map(str::to_owned) };
            assert_eq!(scope.text(challenged), expected);
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic_or_read_more_than_is_there(header in ".{0,200}") {
            let found = read([header.as_str()]);
            prop_assert!(found.len() <= header.len());
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Basic a=b, Bearer realm=\"{quoted}\", service=s");
            let found = read([header.as_str()]);
            prop_assert_eq!(&found[1].parameters["realm"], &value);
            prop_assert_eq!(&found[1].parameters["service"], "s");
        }
    }
}
