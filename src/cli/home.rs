//! Where a ledger is.

use std::path::Path;
use std::sync::Arc;

use crate::ledger::{DirectoryLedger, Ledger, ScratchLedger};

/// The ledger that `url` names: a directory, relative to `directory`. `Err` says why it names none.
pub(super) fn open(url: &str, directory: &Path) -> Result<Arc<dyn Ledger>, String> {
    match url.split_once("://") {
        None => Ok(Arc::new(DirectoryLedger::new(directory.join(url)))),
        Some(("file", path)) => Ok(Arc::new(DirectoryLedger::new(path))),
        Some((scheme, _)) => Err(format!(
            "a ledger at {scheme}:// comes with a later version; this one keeps it in a directory, as in `.longshore/ledger`"
        )),
    }
}

/// The ledger of a machine that has none: nothing is known, and what is written is known to this process only. The
/// alias's own description carries what another machine needs.
pub(super) fn none() -> Arc<dyn Ledger> {
    Arc::new(ScratchLedger::default())
}
