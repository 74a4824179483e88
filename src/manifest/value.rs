//! Single values: how each is written and what it becomes.

use std::time::Duration;

use jiff::civil::Date;
use longshore_contract::{AliasName, FunctionName, Platform, Secret, Share, Tag};
use serde_json::Value;

use super::shape::{Form, FromText, Leaf, Refusal};

/// The longest time that can be stated.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Where paths in a URL or a container begin.
const ROOT: &str = "/";

impl FromText for String {
    fn leaf() -> Leaf {
        Leaf { word: "text".into(), expected: String::new(), form: Form::AnyText }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() { Err(Refusal::plain()) } else { Ok(text.to_owned()) }
    }
}

impl FromText for Secret {
    fn leaf() -> Leaf {
        Leaf { word: "text".into(), expected: String::new(), form: Form::AnyText }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        Ok(Self::new(text))
    }
}

impl FromText for bool {
    fn leaf() -> Leaf {
        Leaf { word: "true or false".into(), expected: String::new(), form: Form::Boolean }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(match text.to_lowercase().as_str() {
                "yes" | "on" | "true" => Refusal::hint("write `true`"),
                "no" | "off" | "false" => Refusal::hint("write `false`"),
                _ => Refusal::plain(),
            }),
        }
    }
}

/// The version of the manifest's format: there is one so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FormatVersion;

impl FromText for FormatVersion {
    fn leaf() -> Leaf {
        let word = "a version of the manifest's format that this Longshore knows".into();
        Leaf { word, expected: "`1`".to_owned(), form: Form::Integer(1, 1) }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "1" { Ok(Self) } else { Err(Refusal::plain()) }
    }
}

/// A whole number between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<const LEAST: u64, const MOST: u64>(pub(crate) u64);

impl<const LEAST: u64, const MOST: u64> FromText for Number<LEAST, MOST> {
    fn leaf() -> Leaf {
        let word = format!("a whole number from {LEAST} to {MOST}").into();
        Leaf { word, expected: String::new(), form: Form::Integer(LEAST, MOST) }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (LEAST..=MOST).contains(number));
        number.map(Self).ok_or_else(Refusal::plain)
    }
}

impl FromText for Duration {
    fn leaf() -> Leaf {
        Leaf {
            word: "a duration".into(),
            expected: "whole numbers with units, the largest first: `800ms`, `30s`, `5m`, `1h30m`, `2d`"
                .to_owned(),
            form: Form::Text("^([0-9]+(d|h|m|s|ms))+$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Refusal::hint(format!("did you mean `{text}s`?")));
        }
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let (mut rest, mut sum, mut next) = (text, 0_u64, 0);
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (unit, tail) = tail.split_at(letters);
            let found = units[next..].iter().position(|(name, _)| *name == unit).map(|found| next + found);
            let (Some(found), Ok(number)) = (found, number.parse::<u64>()) else {
                return Err(Refusal::plain());
            };
            let added = number.checked_mul(units[found].1).and_then(|length| sum.checked_add(length));
            sum = added.ok_or_else(Refusal::plain)?;
            (rest, next) = (tail, found + 1);
        }
        match Self::from_millis(sum) {
            _ if text.is_empty() => Err(Refusal::plain()),
            duration if duration.is_zero() => Err(refused("a duration of zero is no time at all")),
            duration if duration > LONGEST => Err(refused("a duration is at most 30 days")),
            duration => Ok(duration),
        }
    }
}

fn refused(message: &str) -> Refusal {
    Refusal { message: Some(message.to_owned()), hint: None }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromText for Size {
    fn leaf() -> Leaf {
        Leaf {
            word: "a size".into(),
            expected: "a whole number with `KiB`, `MiB` or `GiB`, as in `512MiB`".to_owned(),
            form: Form::Text("^[0-9]+(KiB|MiB|GiB)$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let Ok(number) = number.parse::<u64>() else { return Err(Refusal::plain()) };
        let factor = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => {
                let meant = match unit.trim().to_lowercase().as_str() {
                    "k" | "kb" | "ki" | "kib" => "KiB",
                    "" | "m" | "mb" | "mi" | "mib" => "MiB",
                    "g" | "gb" | "gi" | "gib" => "GiB",
                    _ => return Err(Refusal::plain()),
                };
                return Err(Refusal::hint(format!("did you mean `{number}{meant}`?")));
            }
        };
        let bytes = number.checked_mul(factor).filter(|bytes| (1..=1 << 50).contains(bytes));
        bytes.map(Self).ok_or_else(|| refused("a size is at least 1KiB and at most 1048576GiB"))
    }
}

impl FromText for Share {
    fn leaf() -> Leaf {
        Leaf {
            word: "a percentage".into(),
            expected: "a number from `0%` to `100%` with its `%`, at most two decimals, as in `0.5%`"
                .to_owned(),
            form: Form::Text("^(100(\\.00?)?|[0-9]{1,2}(\\.[0-9]{1,2})?)%$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|_| match format!("{text}%").parse::<Self>() {
            Ok(share) => Refusal::hint(format!("did you mean `{share}`?")),
            Err(_) => Refusal::plain(),
        })
    }
}

impl FromText for Date {
    fn leaf() -> Leaf {
        Leaf {
            word: "a date".into(),
            expected: "a day of the calendar as `YYYY-MM-DD`".to_owned(),
            form: Form::Text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let spelled = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        text.parse().ok().filter(|_| spelled).ok_or_else(Refusal::plain)
    }
}

/// Reads a type of the contract whose `EXPECTED` is `a thing (how it is written)`.
macro_rules! contract_value {
    ($type:ident, $form:expr) => {
        impl FromText for $type {
            fn leaf() -> Leaf {
                let (word, rest) = $type::EXPECTED.split_once(" (").unwrap_or(($type::EXPECTED, ""));
                Leaf { word: word.into(), expected: rest.trim_end_matches(')').to_owned(), form: $form }
            }

            fn from_text(text: &str) -> Result<Self, Refusal> {
                text.parse().map_err(|_| Refusal::plain())
            }
        }
    };
}
contract_value!(Platform, Form::Text("^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$"));
contract_value!(AliasName, Form::AnyText);
contract_value!(FunctionName, Form::AnyText);
contract_value!(Tag, Form::AnyText);

/// Declares a text that fits a check.
macro_rules! checked_text {
    ($(#[doc = $doc:literal])+ $type:ident, $word:literal, $expected:expr, $form:expr, $check:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $type(pub(crate) String);

        impl FromText for $type {
            fn leaf() -> Leaf {
                Leaf { word: $word.into(), expected: $expected.to_owned(), form: $form }
            }

            fn from_text(text: &str) -> Result<Self, Refusal> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(Refusal::plain()) }
            }
        }
    };
}

checked_text!(
    /// The name of the manifest, which function names are made from.
    Word,
    "a name",
    WORD_EXPECTED,
    Form::AnyText,
    is_word
);

checked_text!(
    /// Where an image's repository lies beneath its registry's namespace.
    RepositoryPath,
    "a repository's path",
    "parts of lower-case letters, digits, `.`, `_` and `-`, with `/` between them, as in `shop/checkout`",
    Form::AnyText,
    is_repository_path
);

checked_text!(
    /// A path in the image.
    ImagePath,
    "an absolute path",
    "a path in the image that begins with `/` and has no `..`",
    Form::Text("^/"),
    |text| text.starts_with(ROOT) && !has_control(text) && !text.split(ROOT).any(|part| part == "..")
);

checked_text!(
    /// The path of an HTTP request.
    RequestPath,
    "a path of a request",
    "a path that begins with `/`, with its query, without spaces",
    Form::Text("^/[^ ]*$"),
    |text| text.starts_with(ROOT) && !text.contains(|c: char| c.is_control() || c == ' ' || c == '#')
);

/// What [`is_word`] accepts.
pub(crate) const WORD_EXPECTED: &str =
    "letters, digits, `-` and `_`, beginning with a letter or digit, at most 64";

/// Whether a text can name a function, a target or an environment.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether a text can be a repository's path, as the contract's own rule has it beneath any host.
pub(crate) fn is_repository_path(text: &str) -> bool {
    !text.contains(':') && format!("localhost/{text}").parse::<longshore_contract::Repository>().is_ok()
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// The permission bits of a file in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl FromText for Mode {
    fn leaf() -> Leaf {
        Leaf {
            word: "a file mode".into(),
            expected: "three octal digits in quotes or behind a 0, as in `0755`".to_owned(),
            form: Form::AnyText,
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let octal = digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        u32::from_str_radix(digits, 8).ok().filter(|_| octal).map(Self).ok_or_else(Refusal::plain)
    }
}

/// What a value without quotes stands for in JSON, by YAML's core schema.
pub(crate) fn json(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let plain = text.strip_prefix('+').unwrap_or(text);
    let number = if !numeric {
        None
    } else if let Ok(number) = plain.parse::<i64>() {
        Some(number.into())
    } else if let Ok(number) = plain.parse::<u64>() {
        Some(number.into())
    } else {
        plain.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::super::shape::spell;
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_falling_units() {
        let read = |text: &str| Duration::from_text(text).map(|duration| duration.as_millis());
        assert_eq!(read("800ms"), Ok(800));
        assert_eq!(read("1h30m"), Ok(5_400_000));
        assert_eq!(read("1d1ms"), Ok(86_400_001));
        for text in ["800ms", "30s", "1h30m", "2d", "1m1s1ms"] {
            assert_eq!(spell(Duration::from_text(text).unwrap()), text);
        }
        for bad in
            ["", "s", "30", "1.5h", "30m1h", "5m5m", "-5s", "5 m", "5M", "0s", "31d", "99999999999999999999s"]
        {
            assert!(Duration::from_text(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Duration::from_text("30"), Err(Refusal::hint("did you mean `30s`?")));
    }

    #[test]
    fn sizes_are_binary_and_others_are_suggested_away() {
        assert_eq!(Size::from_text("512MiB"), Ok(Size(512 << 20)));
        assert_eq!(Size::from_text("512MB"), Err(Refusal::hint("did you mean `512MiB`?")));
        assert_eq!(Size::from_text("512"), Err(Refusal::hint("did you mean `512MiB`?")));
        for bad in ["", "MiB", "1.5GiB", "0MiB", "-1MiB", "512TiB", "18446744073709551615GiB"] {
            assert!(Size::from_text(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_percentage_without_its_sign_is_suggested() {
        assert_eq!(Share::from_text("5%").map(Share::points), Ok(500));
        assert_eq!(Share::from_text("5"), Err(Refusal::hint("did you mean `5%`?")));
        assert_eq!(Share::from_text("101%"), Err(Refusal::plain()));
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        assert!(Date::from_text("2027-01-31").is_ok());
        for bad in ["2027-02-30", "2027-1-31", "31.01.2027", "2027-01-31T00:00:00", ""] {
            assert!(Date::from_text(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_without_quotes_are_what_yaml_says() {
        assert_eq!(json("true"), Value::Bool(true));
        assert_eq!(json("-7"), Value::from(-7));
        assert_eq!(json("18446744073709551615"), Value::from(u64::MAX));
        assert_eq!(json("1.5e3"), Value::from(1500.0));
        for text in ["yes", "1.2.3", "0x1f", "inf", "nan", "1e", "2027-01-31", "-", ".", "1e999", "five"] {
            assert_eq!(json(text), Value::String(text.to_owned()));
        }
    }

    #[test]
    fn paths_stay_where_they_are_put() {
        assert!(ImagePath::from_text("/app/bin").is_ok());
        assert!(ImagePath::from_text("/app/../etc").is_err());
        assert!(ImagePath::from_text("app").is_err());
        assert!(is_repository_path("shop/checkout"));
        for bad in ["", "Shop", "shop//x", "/shop", "shop/", "../x", "shop:x", "shop@x"] {
            assert!(!is_repository_path(bad), "{bad:?}");
        }
        assert_eq!(Mode::from_text("0755"), Ok(Mode(0o755)));
        assert_eq!(Mode::from_text("644"), Ok(Mode(0o644)));
        assert!(Mode::from_text("0o755").is_err());
        assert!(Mode::from_text("0888").is_err());
    }
}
