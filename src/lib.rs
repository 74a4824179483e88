//! placeholder
pub mod ledger;
pub mod rollback;
pub mod shift;
