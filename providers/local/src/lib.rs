//! A cloud in a directory: an OCI registry on loopback, functions that really run, aliases that really split traffic.
//!
//! One daemon per state directory (`daemon`) serves the registry, the control API and the
//! functions' requests. The provider side talks to it with one HTTP request per operation and keeps nothing of its own.
//!
//! Reading order: `state` is what lies in the directory, `control` what can be asked of the daemon and how writes are kept,
//! `runtime_api` how functions ask for events, `router` how requests reach functions, `daemon` how all of it is started
//! and ended, `provider` the contract's side.

use longshore_contract::{Registration, SettingKey, SettingKind};

mod control;
mod daemon;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod provider;
mod reactor;
pub mod registry;
mod router;
pub mod runner;
mod runtime_api;
mod state;
#[cfg(test)]
mod testing;

/// What this crate offers to the core.
pub fn registration() -> Registration {
    Registration {
        name: provider::NAME,
        summary: "a cloud in a directory on this machine",
        settings: SETTINGS,
        region_setting: provider::STATE,
        connect: provider::connect,
        embedded: Some(&daemon::Daemon),
    }
}

const SETTINGS: &[SettingKey] = &[
    SettingKey {
        name: provider::STATE,
        doc: "The directory that holds the cloud; `.longshore/local` beside the manifest when absent, unless \
              LONGSHORE_LOCAL_DIR names another.",
        kind: SettingKind::Path,
        example: ".longshore/local",
    },
    SettingKey {
        name: provider::ALIAS_WRITES,
        doc: "`checked` rehearses a cloud whose alias writes are not guarded: compare, write, read back.",
        kind: SettingKind::OneOf(&["atomic", "checked"]),
        example: "checked",
    },
    SettingKey {
        name: provider::SCAN_REPORTS,
        doc: "The folder in which scanners leave their reports (trivy or grype JSON, SARIF), each named \
              `DIGEST-IN-HEX.json` or `REPOSITORY.json`; without it nothing is scanned.",
        kind: SettingKind::Path,
        example: "scans",
    },
    SettingKey {
        name: provider::RUNTIME,
        doc: "What runs functions: `own` is this program, the others are container engines, reached through their socket.",
        kind: SettingKind::OneOf(runner::Runtime::WORDS),
        example: "podman",
    },
];
