//! What the cache holds, in the words of the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::human::{bytes, short_digest, table};

/// What the cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheFacts {
    /// Where it is; none where nothing is kept.
    pub folder: Option<String>,
    /// How many bytes on disk it has.
    pub bytes: u64,
    /// How many it may have.
    pub limit: u64,
    /// Its layers, the one used last first.
    pub layers: Vec<KeptFacts>,
    /// What was removed, for `cache clear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared: Option<ClearedFacts>,
}

/// A layer that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptFacts {
    /// The digest of its uncompressed bytes.
    pub diff_id: String,
    /// How many they are.
    pub plain_size: u64,
    /// The digest of its compressed bytes.
    pub digest: String,
    /// How many they are.
    pub size: u64,
    /// When it was last used.
    pub used: String,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClearedFacts {
    /// How many files.
    pub files: u64,
    /// How many bytes on disk.
    pub bytes: u64,
}

/// The cache as text.
pub(super) fn cache(facts: &CacheFacts) -> String {
    let Some(folder) = &facts.folder else {
        return "nothing is kept: neither LONGSHORE_CACHE_DIR nor HOME is set\n".to_owned();
    };
    if let Some(ClearedFacts { files, bytes: count }) = facts.cleared {
        return format!("{folder}: {files} layers removed, {}\n", bytes(count));
    }
    let mut out = format!("{folder}\n{} of at most {}\n", bytes(facts.bytes), bytes(facts.limit));
    if !facts.layers.is_empty() {
        let mut rows = table(&["LAYER", "SIZE", "UNCOMPRESSED", "LAST USED"]);
        for layer in &facts.layers {
            rows.add_row([
                short_digest(&layer.digest),
                bytes(layer.size),
                bytes(layer.plain_size),
                layer.used.clone(),
            ]);
        }
        let _ = writeln!(out, "\n{}", rows);
    }
    out
}
