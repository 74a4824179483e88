//! An alias's description: the user's own text and, behind it, Longshore's breadcrumb.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::intent::RunId;
use crate::names::Version;

/// What a run leaves in an alias's description, so that a machine without the ledger knows where to go back to.
///
/// It is a hint: anybody can write it. It is checked against the version itself before it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breadcrumb {
    /// The run that wrote the alias last.
    pub run: RunId,
    /// Whether that run still means to move the alias.
    pub progress: Progress,
    /// What was live before, newest first.
    pub prev: Vec<Version>,
    /// The first 12 hexadecimal digits of the digest that the run brings.
    pub digest: String,
}

/// Whether a run is still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The run means to write the alias again.
    Open,
    /// The run has come to its end.
    Ended,
}

/// An alias's description, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The user's own text, without the breadcrumb.
    pub text: String,
    /// The breadcrumb behind it, if there is one that can be read.
    pub breadcrumb: Option<Breadcrumb>,
}

const OPENING: &str = "[longshore 1 ";

impl Note {
    /// Takes a description apart. Text that only looks like a breadcrumb stays text.
    pub fn parse(description: &str) -> Self {
        let Some((text, rest)) =
            description.rfind(OPENING).map(|at| (&description[..at], &description[at + OPENING.len()..]))
        else {
            return Self { text: description.to_owned(), breadcrumb: None };
        };
        match rest.strip_suffix(']').and_then(parse_fields) {
            Some(breadcrumb) => Self { text: text.trim_end().to_owned(), breadcrumb: Some(breadcrumb) },
            None => Self { text: description.to_owned(), breadcrumb: None },
        }
    }

    /// The description in at most `limit` bytes: the user's text first, then the breadcrumb with as many of the
    /// previous versions as fit. Where the two do not fit together the user's text is cut, at a character; a breadcrumb
    /// that would not fit alone even without previous versions is left out.
    pub fn render(&self, limit: usize) -> String {
        let Some(breadcrumb) = &self.breadcrumb else { return cut(&self.text, limit).to_owned() };
        let least = breadcrumb.render(0);
        if least.len() > limit {
            return cut(&self.text, limit).to_owned();
        }
        // The user's text gives way only as far as one previous version needs: without it there is no way back.
        let wanted = breadcrumb.render(breadcrumb.prev.len().min(1));
        let room = limit.saturating_sub(wanted.len().min(limit) + 1);
        let text = cut(&self.text, room);
        let separator = if text.is_empty() { "" } else { " " };
        let fit = (0..=breadcrumb.prev.len())
            .rev()
            .map(|count| breadcrumb.render(count))
            .find(|rendered| text.len() + separator.len() + rendered.len() <= limit)
            .unwrap_or(least);
        format!("{text}{separator}{fit}")
    }
}

impl Breadcrumb {
    fn render(&self, count: usize) -> String {
        let mut out = format!("{OPENING}run={}", self.run);
        if self.progress == Progress::Open {
            out.push_str(" open=1");
        }
        if count > 0 {
            let prev: Vec<&str> = self.prev.iter().take(count).map(Version::as_str).collect();
            let _ = write!(out, " prev={}", prev.join(","));
        }
        let _ = write!(out, " digest={}]", self.digest);
        out
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn parse_fields(fields: &str) -> Option<Breadcrumb> {
    let (mut run, mut progress, mut prev, mut digest) = (None, Progress::Ended, Vec::new(), None);
    for field in fields.split(' ') {
        match field.split_once('=')? {
            ("run", value) => run = Some(value.parse().ok()?),
            ("open", "1") => progress = Progress::Open,
            ("open", _) => progress = Progress::Ended,
            ("prev", value) => prev = value.split(',').map(str::parse).collect::<Result<_, _>>().ok()?,
            ("digest", value) if value.len() == 12 && value.chars().all(|c| c.is_ascii_hexdigit()) => {
                digest = Some(value.to_owned());
            }
            // A later version of Longshore may add fields; what we know stays readable.
            (_, _) => {}
        }
    }
    Some(Breadcrumb { run: run?, progress, prev, digest: digest? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crumb(prev: &[&str]) -> Breadcrumb {
        Breadcrumb {
            run: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().unwrap(),
            progress: Progress::Open,
            prev: prev.iter().map(|version| version.parse().unwrap()).collect(),
            digest: "3f9a61c0b2de".to_owned(),
        }
    }

    #[test]
    fn a_note_comes_back_as_it_went_in() {
        let note =
            Note { text: "checkout, owned by ann".to_owned(), breadcrumb: Some(crumb(&["41", "39", "36"])) };
        let text = note.render(256);
        assert_eq!(
            text,
            "checkout, owned by ann [longshore 1 run=01J8Z0B4Q5W6X7Y8Z9A0B1C2D3 open=1 prev=41,39,36 digest=3f9a61c0b2de]"
        );
        assert_eq!(Note::parse(&text), note);
    }

    #[test]
    fn what_does_not_fit_is_cut_oldest_first_and_the_text_last() {
        let note = Note { text: "é".repeat(100), breadcrumb: Some(crumb(&["41", "39", "36"])) };
        for limit in 0..400 {
            let text = note.render(limit);
            assert!(text.len() <= limit, "{limit}: {text}");
            if limit >= 90 {
                let prev = Note::parse(&text).breadcrumb.expect("a breadcrumb fits in 90 bytes").prev;
                assert_eq!(prev.first().map(Version::as_str), Some("41"), "{limit}: {text}");
            }
        }
    }

    #[test]
    fn a_forged_breadcrumb_stays_text() {
        for forged in [
            "[longshore 1 run=x digest=3f9a61c0b2de]",
            "[longshore 1 ]",
            "[longshore 1 run",
            "[longshore 1 run=01J8Z0B4Q5W6X7Y8Z9A0B1C2D3 prev=$LATEST digest=3f9a61c0b2de]",
        ] {
            assert_eq!(Note::parse(forged), Note { text: forged.to_owned(), breadcrumb: None });
        }
    }
}
