//! `cache`: what is kept of compressed layers.

use super::super::args::{CacheArgs, CacheVerb};
use super::super::session::{invalid, shown};
use super::super::{Answer, faults, kept};
use crate::cache::{Cache, Cleared};
use crate::report::cache::{CacheFacts, ClearedFacts, KeptFacts};
use crate::report::{Body, Outcome};

/// Shows the cache, or empties it.
pub(super) fn cache(args: &CacheArgs) -> Result<Answer, Answer> {
    let cache = kept::cache(&|name| std::env::var_os(name)).map_err(invalid)?;
    let cleared = match args.verb {
        CacheVerb::Show => None,
        CacheVerb::Clear => Some(cache.clear().map_err(|error| unusable(&cache, &error))?),
    };
    let contents = cache.contents().map_err(|error| unusable(&cache, &error))?;
    let layers = contents.layers.into_iter().map(|layer| KeptFacts {
        diff_id: layer.diff_id.to_string(),
        plain_size: layer.plain_size,
        digest: layer.digest.to_string(),
        size: layer.size,
        used: layer.used.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    Ok(Answer::done(Body::Cache {
        cache: CacheFacts {
            folder: cache.folder().map(shown),
            bytes: contents.bytes,
            limit: contents.limit,
            layers: layers.collect(),
            cleared: cleared.map(|Cleared { files, bytes }| ClearedFacts { files, bytes }),
        },
    }))
}

fn unusable(cache: &Cache, error: &std::io::Error) -> Answer {
    let folder = cache.folder().map(shown).unwrap_or_default();
    let hint = Some("LONGSHORE_CACHE_DIR names another folder".to_owned());
    Answer::failed(
        Outcome::Failed,
        vec![faults::fault("cache", format!("the cache in {folder}: {error}"), hint)],
    )
}
