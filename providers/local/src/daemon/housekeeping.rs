//! What the daemon does for its disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_contract::Digest;
use longshore_model::Service;

use crate::control::store::Store;
use crate::registry::Registry;

/// How often images that nobody needs are looked for, and how long they are kept for a client that is not done yet.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Collects what nobody needs in the registry, now and once a day. Never ends by itself.
pub(crate) async fn tidy(registry: Registry, store: Arc<Store>) {
    let mut days = tokio::time::interval(DAY);
    loop {
        days.tick().await;
        let store = Arc::clone(&store);
        match registry.collect(move || images(&store.service()), DAY).await {
            Ok(gone) if gone == Default::default() => {}
            Ok(gone) => {
                tracing::info!(
                    manifests = gone.manifests,
                    blobs = gone.blobs,
                    bytes = gone.bytes,
                    "collected"
                );
            }
            Err(error) => {
                tracing::error!("nothing more is collected today: the registry's directory: {error}")
            }
        }
    }
}

/// Every image that a function runs or could be sent back to.
fn images(service: &Service) -> Vec<Digest> {
    let mut images = BTreeSet::new();
    for function in service.functions().values() {
        let head = [Some(&function.head.content), function.head.fallback.as_ref()];
        let versions = function.versions.values().map(|version| &version.content);
        images.extend(head.into_iter().flatten().chain(versions).map(|content| content.image.digest.clone()));
    }
    images.into_iter().collect()
}
