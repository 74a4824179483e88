//! The two range headers, as values.

use std::ops::RangeInclusive;

/// Which part of a blob a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: there is no header, or one of a kind that a server may pass over.
    Whole,
    /// These bytes, the last one included.
    Bytes(RangeInclusive<u64>),
    /// Bytes that the blob does not have.
    Unsatisfiable,
}

/// Reads a `Range` header for a blob of `size` bytes. Several ranges at once are answered with the whole.
pub(super) fn part(header: Option<&str>, size: u64) -> Part {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Part::Whole };
    let (from, to) = (from.trim(), to.trim());
    let bytes = match (from.is_empty(), number(from), to.is_empty(), number(to)) {
        (true, _, _, Some(0)) => return Part::Unsatisfiable,
        (true, _, _, Some(last)) => size.saturating_sub(last)..=size.saturating_sub(1),
        (_, Some(from), true, _) => from..=size.saturating_sub(1),
        (_, Some(from), _, Some(to)) if from <= to => from..=to.min(size.saturating_sub(1)),
        // RFC 9110 (14.2) leaves it to a server whether to reject what ends before it begins; a client that computed it
        // is better told than sent everything.
        (_, Some(_), _, Some(_)) => return Part::Unsatisfiable,
        _ => return Part::Whole,
    };
    if *bytes.start() >= size { Part::Unsatisfiable } else { Part::Bytes(bytes) }
}

/// Reads the `Content-Range` of a chunk, `FROM-TO` with or without the unit and the whole; `None` when it is neither.
pub(super) fn chunk(header: &str) -> Option<RangeInclusive<u64>> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (from, to) = text.split_once('-')?;
    let (from, to) = (number(from)?, number(to)?);
    (from <= to).then_some(from..=to)
}

fn number(text: &str) -> Option<u64> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_to_the_blob() {
        assert_eq!(part(Some("bytes=0-3"), 10), Part::Bytes(0..=3));
        assert_eq!(part(Some("bytes=4-"), 10), Part::Bytes(4..=9));
        assert_eq!(part(Some("bytes=4-400"), 10), Part::Bytes(4..=9));
        assert_eq!(part(Some("bytes=-3"), 10), Part::Bytes(7..=9));
        assert_eq!(part(Some("bytes=-30"), 10), Part::Bytes(0..=9));
    }

    #[test]
    fn a_part_that_is_not_there_is_unsatisfiable() {
        for header in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=5-4"] {
            assert_eq!(part(Some(header), 10), Part::Unsatisfiable, "{header}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
        assert_eq!(part(Some("bytes=-5"), 0), Part::Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_range_means_the_whole() {
        for header in ["bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=+1-2", "bytes=-", ""] {
            assert_eq!(part(Some(header), 10), Part::Whole, "{header}");
        }
        assert_eq!(part(None, 10), Part::Whole);
    }

    #[test]
    fn a_chunk_is_read_in_both_spellings() {
        assert_eq!(chunk("0-9"), Some(0..=9));
        assert_eq!(chunk("bytes 5-9/100"), Some(5..=9));
        assert_eq!(chunk("bytes=5-9"), Some(5..=9));
        for bad in ["", "9-0", "a-b", "5", "-5", "5-"] {
            assert_eq!(chunk(bad), None, "{bad:?}");
        }
    }
}
