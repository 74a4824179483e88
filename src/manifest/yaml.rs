//! YAML text to a tree with places: the one file that knows the YAML parser.
//!
//! The parser gives events; the tree is built here, on a stack of our own, with bounds on depth and size so that no
//! text (nested brackets, anchors of anchors) makes more work than it has bytes.

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError};

use super::mistake::{Drafts, quote};
use super::source::Span;
use super::tree::{Entry, Kind, Node, Scalar, Style};

/// The deepest nesting of lists and maps.
const DEEPEST: usize = 64;
/// The most values in one manifest, those that aliases repeat included.
const MOST_NODES: usize = 20_000;

/// Where the text that is parsed stands in its source: its beginning for a file, behind the `=` for a `--set`.
pub(crate) type Origin = Span;

/// Parses `text` to its tree. Every duplicate key, unknown anchor and odd key is noted and passed over; at the first
/// error of syntax, or beyond a bound, parsing ends and there is no tree.
pub(crate) fn parse(text: &str, origin: Origin, drafts: &mut Drafts) -> Option<Node> {
    if let Some(bad) = text.char_indices().find(|(at, c)| is_forbidden(*at, *c)) {
        let (line, column) = line_and_column(text, bad.0);
        let at = Builder::new(origin, drafts).place(line, column, bad.0, bad.0 + bad.1.len_utf8());
        drafts.add(at, format!("the control character U+{:04X} is not allowed", u32::from(bad.1)));
        return None;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder::new(origin, drafts);
    for event in Parser::new_from_str_with_options(text, options) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                builder.syntax(text, &error);
                Err(End)
            }
        };
        if outcome.is_err() {
            return None;
        }
    }
    builder.root
}

/// The line and the column in characters, both from 1, of the byte `at`.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn is_forbidden(at: usize, c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || (c == '\u{feff}' && at > 0)
}

/// Parsing cannot go on; why is noted.
struct End;

enum Frame {
    List {
        at: Span,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Span,
        anchor: usize,
        entries: Vec<Entry>,
        key: Pending,
        seen: HashMap<String, u32>,
        merges: Vec<Node>,
    },
}

/// What is known of the entry that comes next in a map.
enum Pending {
    Nothing,
    Key {
        text: String,
        at: Span,
        style: Style,
    },
    /// The key is a mistake that was noted: its value is passed over.
    Bad,
}

struct Builder<'a> {
    origin: Origin,
    drafts: &'a mut Drafts,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    documents: usize,
    nodes: usize,
    /// Where the last event ended: what the parser stumbles over begins behind it.
    behind: usize,
    root: Option<Node>,
}

impl<'a> Builder<'a> {
    fn new(origin: Origin, drafts: &'a mut Drafts) -> Self {
        Self {
            origin,
            drafts,
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: 0,
            nodes: 0,
            behind: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: granit_parser::Span) -> Result<(), End> {
        let at = self.span(&span);
        self.behind = span.end.byte_offset().unwrap_or(0).max(self.behind);
        match &event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.drafts
                        .add(at, "a second document begins here")
                        .hint("a manifest is one document: put the second into a file of its own");
                    return Err(End);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                let style = if *style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                // The parser says `~` where nothing is written.
                let text = if at.start == at.end { String::new() } else { text.to_string() };
                let node = Node { at, kind: Kind::Scalar(Scalar { text, style }) };
                return self.finish(node, *anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                self.open(Frame::List { at, anchor: *anchor, items: Vec::new() })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                let (entries, merges) = (Vec::new(), Vec::new());
                let (key, seen) = (Pending::Nothing, HashMap::new());
                self.open(Frame::Map { at, anchor: *anchor, entries, key, seen, merges })?;
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(),
            Event::Alias(anchor) => return self.alias(*anchor, at),
            Event::UnresolvedAlias(name) => {
                self.drafts
                    .add(at, format!("there is no anchor {} before this", quote(&format!("&{name}"))))
                    .hint("a text that begins with * must be in quotes");
                self.pass_over();
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) -> Result<(), End> {
        let (Frame::List { at, .. } | Frame::Map { at, .. }) = &frame;
        let at = *at;
        self.stack.push(frame);
        if self.stack.len() > DEEPEST {
            return self.too_deep(at);
        }
        Ok(())
    }

    fn too_deep(&mut self, at: Span) -> Result<(), End> {
        self.drafts.add(at, format!("lists and maps are nested more than {DEEPEST} deep here"));
        Err(End)
    }

    fn close(&mut self) -> Result<(), End> {
        match self.stack.pop() {
            Some(Frame::List { at, anchor, items }) => {
                self.finish(Node { at, kind: Kind::List(items) }, anchor)
            }
            Some(Frame::Map { at, anchor, entries, seen, merges, .. }) => {
                let entries = self.merge(entries, &seen, merges)?;
                self.finish(Node { at, kind: Kind::Map(entries) }, anchor)
            }
            None => Ok(()),
        }
    }

    /// A whole node: it becomes the root, an item, a key or a value of what is open.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), End> {
        self.count(1, node.at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, seen, merges, .. }) => {
                match std::mem::replace(key, Pending::Nothing) {
                    Pending::Nothing => *key = read_key(node, seen, self.drafts),
                    Pending::Bad => {}
                    Pending::Key { text, style: Style::Plain, .. } if text == "<<" => merges.push(node),
                    Pending::Key { text, at, .. } => {
                        entries.push(Entry { key: text, key_at: at, value: node });
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes no value where one stands that is a mistake.
    fn pass_over(&mut self) {
        if let Some(Frame::Map { key, .. }) = self.stack.last_mut() {
            *key = match key {
                Pending::Nothing => Pending::Bad,
                Pending::Key { .. } | Pending::Bad => Pending::Nothing,
            };
        }
    }

    fn alias(&mut self, anchor: usize, at: Span) -> Result<(), End> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.drafts.add(at, "this alias stands inside its own anchor");
            return Err(End);
        };
        if self.stack.len() + node.depth() > DEEPEST {
            return self.too_deep(at);
        }
        let (size, node) = (node.size(), node.clone());
        self.count(size, at)?;
        self.finish(node, 0)
    }

    /// Adds to the entries of a map what its `<<` brings: its own keys win, then what comes first.
    fn merge(
        &mut self,
        mut entries: Vec<Entry>,
        seen: &HashMap<String, u32>,
        merges: Vec<Node>,
    ) -> Result<Vec<Entry>, End> {
        let mut taken: HashSet<String> = seen.keys().cloned().collect();
        for source in merges {
            let maps = match source.kind {
                Kind::List(items) => items,
                _ => vec![source],
            };
            for map in maps {
                let Kind::Map(brought) = map.kind else {
                    self.drafts
                        .add(map.at, format!("`<<` takes a map or a list of maps, not {}", map.describe()));
                    continue;
                };
                self.count(brought.len(), map.at)?;
                entries.extend(brought.into_iter().filter(|entry| taken.insert(entry.key.clone())));
            }
        }
        Ok(entries)
    }

    fn count(&mut self, nodes: usize, at: Span) -> Result<(), End> {
        self.nodes += nodes;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        self.drafts
            .add(at, format!("the manifest has more than {MOST_NODES} values here, repeated ones counted"))
            .hint("split it, or use fewer aliases");
        Err(End)
    }

    fn refuse_tag(&mut self, tagged: bool, span: &granit_parser::Span) {
        if tagged {
            let at = span.tag_span().map_or_else(|| self.span(span), |tag| self.span(&tag));
            self.drafts.add(at, "YAML tags are not used in a manifest").hint("put a text in quotes instead");
        }
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let byte = |marker: &Marker| marker.byte_offset().unwrap_or(0);
        self.place(span.start.line(), span.start.col() + 1, byte(&span.start), byte(&span.end))
    }

    /// A place in the text, counted from where the text stands in its source.
    fn place(&self, line: usize, column: usize, start: usize, end: usize) -> Span {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX / 2);
        let shift = if line <= 1 { self.origin.column - 1 } else { 0 };
        Span {
            source: self.origin.source,
            line: small(line.max(1)) + self.origin.line - 1,
            column: small(column.max(1)) + shift,
            start: small(start) + self.origin.start,
            end: small(end.max(start)) + self.origin.start,
        }
    }

    fn syntax(&mut self, text: &str, error: &ScanError) {
        let marker = error.marker();
        let mut start = marker.byte_offset().unwrap_or(0).min(text.len());
        let (message, hint) = explain(error.kind());
        // A quote that is never closed is noticed at the end: where it was opened is what helps.
        if matches!(error.kind(), ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent) {
            let from = self.behind.min(start);
            start = text[from..start].find(['"', '\'']).map_or(start, |quote| from + quote);
        }
        let (line, column) = line_and_column(text, start);
        let at = self.place(line, column, start, start + 1);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let in_flow = line.contains("${") && line.contains(['{', '[']) && !line.contains("\"${");
        let mixed =
            line.trim_start().starts_with("- ") && *error.kind() == ErrorKind::ExpectedBlockMappingKey;
        let (message, hint) = match (in_flow, mixed) {
            (true, _) => (message, Some("between { } or [ ] a value with ${…} must be in quotes")),
            (_, true) => explain(&ErrorKind::ExpectedBlockSequenceEntry),
            _ => (message, hint),
        };
        self.drafts.add(at, message).hint_if(hint.map(str::to_owned));
    }
}

fn read_key(node: Node, seen: &mut HashMap<String, u32>, drafts: &mut Drafts) -> Pending {
    let at = node.at;
    let Kind::Scalar(scalar) = node.kind else {
        drafts.add(at, format!("a key must be a single word, this is {}", node.describe()));
        return Pending::Bad;
    };
    if scalar.text.is_empty() {
        drafts.add(at, "a key is missing here");
        return Pending::Bad;
    }
    if let Some(line) = seen.get(&scalar.text) {
        drafts
            .add(at, format!("the key {} is stated twice", quote(&scalar.text)))
            .hint(format!("it was first stated in line {line}"));
        return Pending::Bad;
    }
    seen.insert(scalar.text.clone(), at.line);
    Pending::Key { text: scalar.text, at, style: scalar.style }
}

/// What an error of syntax means to somebody who does not know the grammar, and what to do.
fn explain(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let (message, hint) = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => ("a tab is used for indentation", "indent with spaces"),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => (
            "a `:` where no key can be",
            "a text with `: ` in it must be in quotes; or the line before lacks its `:`",
        ),
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::DocumentIndicatorInQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent => (
            "a quoted text is not closed",
            "close it with the same quote; its further lines must be indented",
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("a `{open}` is not closed"), Some("close it, or write one entry per line"));
        }
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnexpectedEofFlowMapping => {
            ("the text ends inside [ ] or { }", "close it")
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("a `{open}` is closed by `{close}`"), Some("close what was opened last first"));
        }
        ErrorKind::MisplacedFlowCollectionEnd => {
            ("a closing bracket that nothing opened", "take it away, or put the text in quotes")
        }
        ErrorKind::ExpectedFlowMappingSeparator => {
            ("`,` or `}` is missing here", "put a text with { } [ ] or , in quotes")
        }
        ErrorKind::ExpectedFlowSequenceSeparator => {
            ("`,` or `]` is missing here", "put a text with { } [ ] or , in quotes")
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => (
            "a key with its `:` is missing here",
            "write `key: value`; keys of one map begin in the same column",
        ),
        ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::BlockSequenceEntryNotAllowed => (
            "a list and something else are mixed here",
            "items of one list begin with `- ` in the same column",
        ),
        ErrorKind::InvalidIndentation => (
            "this line is indented by the wrong number of spaces",
            "keys of one map begin in the same column",
        ),
        ErrorKind::UnexpectedCharacter { character } => {
            return (
                format!("a text cannot begin with {}", quote(&character.to_string())),
                Some("put it in quotes"),
            );
        }
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate
        | ErrorKind::InvalidUnicodeEscape => {
            ("an unknown escape in a double-quoted text", "write \\\\ for a backslash, or use single quotes")
        }
        ErrorKind::RecursionLimitExceeded => {
            return (format!("lists and maps are nested more than {DEEPEST} deep here"), None);
        }
        other => return (format!("this is not YAML: {other}"), None),
    };
    (message.to_owned(), Some(hint))
}
