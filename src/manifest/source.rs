//! The texts that were read, and places in them.

use std::ops::Range;

use super::mistake::{Excerpt, Position};

/// A place in one of the [`Sources`]: where a key or a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    /// Which source.
    pub(crate) source: u16,
    /// Its line, from 1.
    pub(crate) line: u32,
    /// Its column in characters, from 1.
    pub(crate) column: u32,
    /// The byte it begins at.
    pub(crate) start: u32,
    /// The byte behind its end.
    pub(crate) end: u32,
}

impl Span {
    /// The whole of `source`, for what has no place in it.
    pub(crate) fn whole(source: u16) -> Self {
        Self { source, line: 0, column: 0, start: 0, end: 0 }
    }

    /// The first character of `source`.
    pub(crate) fn first(source: u16) -> Self {
        Self { source, line: 1, column: 1, start: 0, end: 1 }
    }
}

struct Source {
    name: String,
    text: String,
    /// How many lines stand before this text under the same name.
    lines_before: u32,
    /// Bytes whose characters are not shown in excerpts.
    hidden: Vec<Range<usize>>,
}

/// Every text that took part: the file first, then options of the command line.
#[derive(Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// Takes in a text. Texts with the same name count their lines on, so that the third `--set` is line 3.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> u16 {
        let lines_before = self.0.iter().filter(|source| source.name == name).count();
        self.0.push(Source {
            name: name.to_owned(),
            text: text.to_owned(),
            lines_before: u32::try_from(lines_before).unwrap_or(u32::MAX),
            hidden: Vec::new(),
        });
        u16::try_from(self.0.len() - 1).unwrap_or(u16::MAX)
    }

    /// The text of a source.
    pub(crate) fn text(&self, source: u16) -> &str {
        self.0.get(usize::from(source)).map_or("", |source| &source.text)
    }

    /// Keeps the characters at `span` out of every excerpt.
    pub(crate) fn hide(&mut self, span: Span) {
        if let Some(source) = self.0.get_mut(usize::from(span.source)) {
            source.hidden.push(span.start as usize..span.end as usize);
        }
    }

    /// The place of the `nth` `${` (counted from 0) in the scalar at `span`; the whole scalar where its spelling in the
    /// source hides it.
    pub(crate) fn slot(&self, span: Span, nth: usize) -> Span {
        let text = self.text(span.source);
        let Some(scalar) = text.get(span.start as usize..span.end as usize) else { return span };
        let mut from = 0;
        let mut seen = 0;
        while let Some(found) = scalar[from..].find("${").map(|offset| from + offset) {
            let escaped = found > from && scalar[..found].ends_with('$');
            if !escaped && seen == nth {
                let end = scalar[found..].find('}').map_or(scalar.len(), |offset| found + offset + 1);
                return within(text, span, found, end);
            }
            seen += usize::from(!escaped);
            from = found + 2;
        }
        span
    }

    /// Where `span` is, for people and programs.
    pub(crate) fn position(&self, span: Span) -> Position {
        let Some(source) = self.0.get(usize::from(span.source)) else { return Position::default() };
        let line = if span.line == 0 { 0 } else { span.line + source.lines_before };
        let text = source.text.get(span.start as usize..span.end as usize).unwrap_or_default();
        let first_line = text.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        let length = u32::try_from(first_line.chars().count()).unwrap_or(1).max(1);
        Position { file: source.name.clone(), line, column: span.column, length }
    }

    /// The line that `span` begins in, with hidden characters starred out; nothing for a source as a whole.
    pub(crate) fn excerpt(&self, span: Span) -> Option<Excerpt> {
        let source = self.0.get(usize::from(span.source)).filter(|_| span.line > 0)?;
        let start = (span.start as usize).min(source.text.len());
        let before = source.text.get(..start)?;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = source.text[start..].find('\n').map_or(source.text.len(), |newline| start + newline);
        let line = source.text[begin..end].trim_end_matches('\r');
        let hidden = |at: usize| source.hidden.iter().any(|range| range.contains(&at));
        let shown = line.char_indices().map(|(at, c)| if hidden(begin + at) { '*' } else { c });
        let length = self.position(span).length;
        Some(Excerpt::new(shown.collect(), span.column as usize, length as usize))
    }
}

/// The part of `span` from byte `from` to byte `to` of its own text.
fn within(text: &str, span: Span, from: usize, to: usize) -> Span {
    let start = span.start as usize;
    let before = &text[start..start + from];
    let newlines = before.matches('\n').count();
    let column = match before.rfind('\n') {
        Some(newline) => before[newline + 1..].chars().count() + 1,
        None => span.column as usize + before.chars().count(),
    };
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span {
        source: span.source,
        line: span.line + small(newlines),
        column: small(column),
        start: small(start + from),
        end: small(start + to),
    }
}
