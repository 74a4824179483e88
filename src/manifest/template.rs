//! What `${…}` says, without looking anything up.

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it is.
    Literal(String),
    /// Something to be looked up.
    Slot(Slot),
    /// A `${` that cannot be understood.
    Malformed(Malformed),
}

/// What a `${…}` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    /// `${vars.NAME}`.
    Variable(String),
    /// `${env.NAME}` or `${env.NAME:-default}`.
    Environment { name: String, default: Option<String> },
    /// `${git.…}`.
    Git(GitFact),
    /// `${run.id}`.
    Run,
}

/// What git knows about the manifest's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GitFact {
    /// The commit, 40 digits.
    Sha,
    /// The commit's first 12 digits.
    Short,
    /// The branch that is checked out.
    Branch,
    /// The tag that names exactly this commit.
    Tag,
    /// `-dirty` where something is not committed, otherwise nothing.
    Dirty,
}

impl GitFact {
    /// Every fact with its word in `${git.…}`.
    pub(crate) const WORDS: [(&'static str, Self); 5] = [
        ("sha", Self::Sha),
        ("short", Self::Short),
        ("branch", Self::Branch),
        ("tag", Self::Tag),
        ("dirty", Self::Dirty),
    ];
}

/// Why a `${` cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It has no `}`.
    Open,
    /// What stands in it is none of the words there are.
    Unknown(String),
}

/// Takes a text apart. `$${` stands for `${`; a `$` before anything else is text.
pub(crate) fn parse(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, behind) = (&rest[..at], &rest[at + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            literal.push_str(escaped);
            literal.push_str("${");
            rest = behind;
            continue;
        }
        literal.push_str(before);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        let Some(end) = behind.find('}') else {
            pieces.push(Piece::Malformed(Malformed::Open));
            return pieces;
        };
        let inside = &behind[..end];
        pieces.push(match slot(inside) {
            Some(slot) => Piece::Slot(slot),
            None => Piece::Malformed(Malformed::Unknown(inside.to_owned())),
        });
        rest = &behind[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// Whether a text holds anything to be looked up.
pub(crate) fn has_slots(text: &str) -> bool {
    text.contains("${") && parse(text).iter().any(|piece| !matches!(piece, Piece::Literal(_)))
}

fn slot(inside: &str) -> Option<Slot> {
    let (root, rest) = inside.split_once('.')?;
    match root {
        "vars" => word(rest).then(|| Slot::Variable(rest.to_owned())),
        "env" => {
            let (name, default) = match rest.split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (rest, None),
            };
            let fits = !name.starts_with(|c: char| c.is_ascii_digit()) && !name.contains('-') && word(name);
            fits.then(|| Slot::Environment { name: name.to_owned(), default })
        }
        "git" => GitFact::WORDS.iter().find(|(word, _)| *word == rest).map(|(_, fact)| Slot::Git(*fact)),
        "run" => (rest == "id").then_some(Slot::Run),
        _ => None,
    }
}

fn word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_slots() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        assert_eq!(
            parse("a${vars.x}b${git.sha}"),
            [
                literal("a"),
                Piece::Slot(Slot::Variable("x".into())),
                literal("b"),
                Piece::Slot(Slot::Git(GitFact::Sha))
            ]
        );
        let default = |default: &str| {
            [Piece::Slot(Slot::Environment { name: "X".into(), default: Some(default.into()) })]
        };
        assert_eq!(parse("${env.X:-}"), default(""));
        assert_eq!(parse("${env.X:-a:-b}"), default("a:-b"));
    }

    #[test]
    fn a_doubled_dollar_is_text() {
        assert_eq!(parse("$${vars.x} $5 $"), [Piece::Literal("${vars.x} $5 $".into())]);
        assert_eq!(parse("$$${run.id}"), [Piece::Literal("$${run.id}".into())]);
        assert!(!has_slots("$${x}"));
        assert!(has_slots("${"));
    }

    #[test]
    fn what_is_not_understood_is_kept_to_be_told() {
        for inside in ["", "HOME", "vars.", "vars.a b", "env.1X", "env.A-B", "git.commit", "run", "run.ids"] {
            let pieces = parse(&format!("${{{inside}}}"));
            assert_eq!(pieces, [Piece::Malformed(Malformed::Unknown(inside.into()))], "{inside}");
        }
        assert_eq!(parse("${vars.x"), [Piece::Malformed(Malformed::Open)]);
    }
}
