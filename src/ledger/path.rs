//! Names as parts of a path: any text becomes one component that no file system reads as something else.

use std::fmt::Write as _;

/// `text` as one component of a path. Letters, digits, `-`, `_` and dots that are not at the beginning stay; every
/// other byte becomes `%` and two hexadecimal digits; the empty text becomes `%`.
pub(super) fn encode(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The text that [`encode`] made `component` from; `None` where it made no such thing.
pub(super) fn decode(component: &str) -> Option<String> {
    if component == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(byte);
            rest = behind;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode(&text) == component).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable_and_a_namespace_does_not_become_a_folder() {
        assert_eq!(encode("shop-checkout"), "shop-checkout");
        assert_eq!(encode("ns/shop"), "ns%2Fshop");
        assert_eq!(encode(".."), "%2E.");
        assert_eq!(encode(""), "%");
        assert_eq!(decode("../x"), None);
        assert_eq!(decode("ns%2fshop"), None);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in ".*") {
            let component = encode(&text);
            prop_assert!(!component.contains('/') && !component.starts_with('.') && !component.is_empty());
            prop_assert_eq!(decode(&component), Some(text));
        }

        #[test]
        fn no_component_is_read_as_two_names(component in "[%a-fA-F0-9./]{0,8}") {
            if let Some(text) = decode(&component) {
                prop_assert_eq!(encode(&text), component);
            }
        }
    }
}
