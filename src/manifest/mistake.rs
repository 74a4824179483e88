//! What is wrong in a manifest, told all at once to people and to programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::source::{Sources, Span};

/// More mistakes than this are counted, not told.
const MOST_TOLD: usize = 100;
/// The widest line an excerpt shows, in characters.
const WIDEST: usize = 140;

/// A place in a manifest or on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The file as it was named to us, or the option (`--set`).
    pub file: String,
    /// The line from 1, for an option which of its uses; 0 where the file as a whole is meant.
    pub line: u32,
    /// The column in characters from 1; 0 where the file as a whole is meant.
    pub column: u32,
    /// How many characters of that line are meant, at least 1.
    pub length: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file: String = self.file.chars().map(visible).collect();
        match self.line {
            0 => f.write_str(&file),
            line => write!(f, "{file}:{line}:{}", self.column),
        }
    }
}

/// One thing that is wrong. No field holds a value that came out of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Where.
    pub at: Position,
    /// What is wrong, in one line.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        let mut remarks: Vec<String> = self
            .expected
            .iter()
            .map(|expected| format!("expected {expected}"))
            .chain(self.hint.clone())
            .collect();
        if let Some(excerpt) = &self.excerpt {
            let carets = "^".repeat(excerpt.length);
            let indent = " ".repeat(excerpt.column - 1);
            let label = if remarks.is_empty() { String::new() } else { format!(" {}", remarks.remove(0)) };
            write!(f, "\n{:>5} | {}\n      | {indent}{carets}{label}", self.at.line, excerpt.line)?;
        }
        remarks.iter().try_for_each(|remark| write!(f, "\n      = {remark}"))
    }
}

/// Everything that is wrong with one manifest, by place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    told: Vec<Mistake>,
    untold: usize,
}

impl Mistakes {
    /// The mistakes, by place; the first hundred.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.told.iter()
    }

    /// How many there are, told or not.
    pub fn count(&self) -> usize {
        self.told.len() + self.untold
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.told.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            mistake.fmt(f)?;
        }
        match self.untold {
            0 => Ok(()),
            untold => write!(f, "\n… and {untold} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// A line of a source, cut to a width that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    line: String,
    column: usize,
    length: usize,
}

impl Excerpt {
    /// The part of `line` around the `length` characters at `column` (from 1).
    pub(crate) fn new(line: String, column: usize, length: usize) -> Self {
        let characters: Vec<char> = line.chars().map(visible).collect();
        let column = column.clamp(1, characters.len() + 1);
        let from = if characters.len() > WIDEST { (column - 1).saturating_sub(WIDEST / 2) } else { 0 };
        let to = characters.len().min(from + WIDEST);
        let mut line = String::new();
        line.push_str(if from > 0 { "…" } else { "" });
        line.extend(&characters[from..to]);
        line.push_str(if to < characters.len() { "…" } else { "" });
        let column = column - from + usize::from(from > 0);
        Self { line: line.trim_end().to_owned(), column, length: length.min(to - from).max(1) }
    }
}

/// The character as a terminal may be shown it: nothing that moves the cursor or turns the direction of writing.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A text of the user's between backticks, cut to 60 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    quoted.extend(text.chars().take(60).map(visible));
    quoted.push_str(if text.chars().nth(60).is_some() { "…`" } else { "`" });
    quoted
}

/// A list of words for a sentence: `` `a`, `b` or `c` ``.
pub(crate) fn choices<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(quote).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// The word among `words` that `text` was most likely meant to be.
pub(crate) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = text.chars().count();
    if length > 64 {
        return None;
    }
    let near = |word: &str| strsim::damerau_levenshtein(&text.to_lowercase(), word);
    words
        .into_iter()
        .map(|word| (near(word), word))
        .filter(|(distance, word)| *distance <= (length.max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `` did you mean `word`? `` for the nearest of `words`.
pub(crate) fn did_you_mean<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, words).map(|word| format!("did you mean {}?", quote(word)))
}

/// A mistake before its place is spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    at: Span,
    message: String,
    expected: Option<String>,
    hint: Option<String>,
}

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Drafts {
    drafts: Vec<Draft>,
    untold: usize,
}

impl Drafts {
    /// Notes a mistake; noting the same one again changes nothing. What is returned takes
    /// remarks on a new one.
    pub(crate) fn add(&mut self, at: Span, message: impl Into<String>) -> Remarks<'_> {
        let message = message.into();
        if self.drafts.iter().any(|draft| draft.at == at && draft.message == message) {
            return Remarks(None);
        }
        if self.is_full() {
            self.untold += 1;
            return Remarks(None);
        }
        self.drafts.push(Draft { at, message, expected: None, hint: None });
        Remarks(self.drafts.last_mut())
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// How many were found.
    pub(crate) fn count(&self) -> usize {
        self.drafts.len() + self.untold
    }

    /// Whether a mistake more would only be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.drafts.len() >= 2 * MOST_TOLD
    }

    /// The mistakes with their places spelled out, sorted.
    pub(crate) fn finish(mut self, sources: &Sources) -> Mistakes {
        self.drafts.sort_by_key(|draft| draft.at);
        let untold = self.untold + self.drafts.len().saturating_sub(MOST_TOLD);
        self.drafts.truncate(MOST_TOLD);
        let told = self.drafts.into_iter().map(|draft| Mistake {
            at: sources.position(draft.at),
            message: draft.message,
            expected: draft.expected,
            hint: draft.hint,
            excerpt: sources.excerpt(draft.at),
        });
        Mistakes { told: told.collect(), untold }
    }
}

/// Adds to a mistake what would have been right and what to do.
pub(crate) struct Remarks<'a>(Option<&'a mut Draft>);

impl Remarks<'_> {
    /// Remarks on a mistake that needs none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// What would have been right, as a phrase that follows "expected".
    pub(crate) fn expected(self, expected: impl Into<String>) -> Self {
        self.expected_if(Some(expected.into()))
    }

    /// What would have been right, where there is more to say than the message does.
    pub(crate) fn expected_if(mut self, expected: Option<String>) -> Self {
        if let (Some(draft), Some(expected)) = (&mut self.0, expected) {
            draft.expected = Some(expected);
        }
        self
    }

    /// What to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.hint_if(Some(hint.into()))
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint_if(mut self, hint: Option<String>) -> Self {
        if let (Some(draft), Some(hint)) = (&mut self.0, hint) {
            draft.hint = Some(hint);
        }
        self
    }
}

/// Writes `parts` as lines of a text.
pub(crate) fn lines(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().fold(String::new(), |mut text, part| {
        let _ = writeln!(text, "{part}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_its_mistake() {
        let line = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let excerpt = Excerpt::new(line, 501, 3);
        assert_eq!(excerpt.line.chars().count(), WIDEST + 2);
        let caret: String = excerpt.line.chars().skip(excerpt.column - 1).take(excerpt.length).collect();
        assert_eq!(caret, "bad");
    }

    #[test]
    fn nothing_quoted_reaches_the_terminal_raw() {
        assert_eq!(quote("a\u{1b}[2J\u{202e}b"), "`a\u{fffd}[2J\u{fffd}b`");
        assert_eq!(quote(&"a".repeat(61)).chars().count(), 63);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(nearest("imgae", ["image", "name"]), Some("image"));
        assert_eq!(nearest("Image", ["image"]), Some("image"));
        assert_eq!(nearest("zebra", ["image", "name"]), None);
        assert_eq!(nearest("b", ["a"]), Some("a"));
    }
}
