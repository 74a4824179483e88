//! What an error quotes of a function's log. Errors are kept, shown and passed on for good, so they get little of it and
//! none of the function's secrets.

use longshore_contract::Secret;

/// How many lines are quoted, and how many characters of one.
const LINES: usize = 5;
const CHARACTERS: usize = 200;

/// A value shorter than this is no secret, and would be found in every other word.
const SHORTEST: usize = 6;

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";

/// A line as it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// From its beginning to its end.
    Whole,
    /// Its beginning; the rest was let go.
    Cut,
}

/// Quotes the last of `lines`, oldest first. No control character is left in them, and no value of `environment` that is
/// long enough to be a secret.
pub(super) fn quote<'a>(
    lines: &[(String, Kept)],
    environment: impl IntoIterator<Item = &'a Secret>,
) -> Vec<String> {
    let secrets = secrets(environment);
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().map(|(line, kept)| quote_line(line, *kept, &secrets)).collect()
}

/// What must not be shown. Of a value of several lines a log has every line on its own.
fn secrets<'a>(environment: impl IntoIterator<Item = &'a Secret>) -> Vec<&'a str> {
    let values = environment.into_iter().map(Secret::expose);
    values
        .flat_map(|value| std::iter::once(value).chain(value.lines()))
        .filter(|value| value.chars().count() >= SHORTEST)
        .collect()
}

fn quote_line(line: &str, kept: Kept, secrets: &[&str]) -> String {
    let shown = hide(line, kept, secrets);
    let spaced = shown.chars().map(|c| if c == '\t' { ' ' } else { c });
    let mut plain: String = spaced.filter(|c| !c.is_control()).collect();
    if plain != shown {
        // A value may have come about where a character went.
        plain = hide(&plain, kept, secrets);
    }
    match plain.char_indices().nth(CHARACTERS) {
        Some((end, _)) => plain[..end].to_owned(),
        None => plain,
    }
}

/// Puts [`HIDDEN`] in the place of every stretch of `line` that secrets cover; they may overlap. Where the line was cut, so
/// may have been a secret.
fn hide(line: &str, kept: Kept, secrets: &[&str]) -> String {
    let line = match kept {
        Kept::Whole => line,
        // The cut may have gone through a character.
        Kept::Cut => line.trim_end_matches(char::REPLACEMENT_CHARACTER),
    };
    let covered = |rest: &str| {
        let whole =
            secrets.iter().filter(|secret| rest.starts_with(**secret)).map(|secret| secret.len()).max();
        let begun = kept == Kept::Cut && secrets.iter().any(|secret| secret.starts_with(rest));
        if begun { Some(rest.len()) } else { whole }
    };
    let (mut shown, mut until) = (String::new(), 0);
    for (at, c) in line.char_indices() {
        if let Some(length) = covered(&line[at..]) {
            if at >= until {
                shown.push_str(HIDDEN);
            }
            until = until.max(at + length);
        }
        if at >= until {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(lines: &[&str], environment: &[&str]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| ((*line).to_owned(), Kept::Whole)).collect();
        let environment: Vec<Secret> = environment.iter().map(|value| Secret::new(*value)).collect();
        quote(&lines, &environment)
    }

    #[test]
    fn five_lines_of_two_hundred_characters_are_quoted() {
        let long = "ä".repeat(300);
        let lines = ["1", "2", "3", "4", "5", "6", &long];
        assert_eq!(quoted(&lines, &[]), ["3", "4", "5", "6", &"ä".repeat(200)]);
        assert_eq!(quoted(&["one"], &[]), ["one"]);
        assert!(quoted(&[], &[]).is_empty());
    }

    #[test]
    fn control_characters_are_taken_out() {
        assert_eq!(quoted(&["\x1b[31mred\x1b[0m\ta\rb\u{7}\u{9b}c"], &[]), ["[31mred[0m abc"]);
    }

    #[test]
    fn a_value_of_the_environment_is_hidden_wherever_it_stands() {
        let line = "token=hunter2 and again:hunter2! abc stays";
        assert_eq!(
            quoted(&[line], &["hunter2", "abc", "stay"]),
            ["token=[hidden] and again:[hidden]! abc stays"]
        );
        assert_eq!(quoted(&["pass-word-long"], &["pass-word", "pass-word-long"]), ["[hidden]"]);
        assert_eq!(quoted(&["abcdefghi+"], &["abcdef", "defghi"]), ["[hidden]+"], "values that overlap");
        assert_eq!(quoted(&["it is hidden"], &["hidden"]), ["it is [hidden]"]);
        assert_eq!(quoted(&["hun\x1bter2"], &["hunter2"]), ["[hidden]"], "also between control characters");
        assert_eq!(quoted(&["äöüäöü"], &["äöüäöü"]), ["[hidden]"], "six characters, not six bytes");
        assert_eq!(quoted(&["äöü"], &["äöü"]), ["äöü"], "six bytes, not six characters");
    }

    #[test]
    fn a_value_of_several_lines_is_hidden_line_by_line() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n";
        let lines: Vec<&str> = key.lines().chain(["done"]).collect();
        assert_eq!(quoted(&lines, &[key]), ["[hidden]", "[hidden]", "[hidden]", "done"]);
    }

    #[test]
    fn no_part_of_a_value_is_left_at_a_cut() {
        let secret = "s3cret".repeat(50);
        let line = format!("{}{secret}", "x".repeat(150));
        assert_eq!(quoted(&[&line], &[&secret]), [format!("{}[hidden]", "x".repeat(150))]);
        // The line was cut when it was kept, within the value.
        let environment = [Secret::new(secret.clone())];
        let cut = |text: String| quote(&[(text, Kept::Cut)], &environment);
        assert_eq!(cut(format!("is {}", &secret[..40])), ["is [hidden]"]);
        assert_eq!(cut(format!("is {}\u{fffd}", &secret[..40])), ["is [hidden]"]);
        assert_eq!(cut("is none".to_owned()), ["is none"]);
    }
}
