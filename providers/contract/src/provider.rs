//! How a cloud is found, connected to and, where it is embedded, kept running.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::calls::Calls;
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::functions::Functions;
use crate::metrics::Metrics;
use crate::names::{FunctionName, Place, Version};
use crate::profile::Profile;
use crate::registry::Registry;
use crate::scanner::Scanner;
use crate::settings::{SettingKey, Settings};

/// One cloud account and region, configured and ready to be asked.
#[async_trait]
pub trait Provider: Debug + Send + Sync {
    /// Which cloud this is, for the ledger's folders.
    fn place(&self) -> &Place;

    /// What this provider can do, known without I/O.
    fn capabilities(&self) -> &Capabilities;

    /// What it takes of an image: what is pushed for its functions is shaped so.
    fn profile(&self) -> &'static Profile;

    /// Asks the cloud whether a run on `function` can succeed: reachability, credentials, what is in the way. An empty
    /// answer means that nothing was found; what could not be looked at is a finding, not silence.
    async fn preflight(&self, function: &FunctionName) -> Result<Vec<Finding>>;

    /// Its registry.
    fn registry(&self) -> &dyn Registry;

    /// Its functions.
    fn functions(&self) -> &dyn Functions;

    /// Its image scanner; `None` where it has none, so that this is known before anything is done.
    fn scanner(&self) -> Option<&dyn Scanner> {
        None
    }

    /// Its metrics; `None` where it has none.
    fn metrics(&self) -> Option<&dyn Metrics> {
        None
    }

    /// The same connection, counting its requests into `calls`.
    fn metered(&self, calls: Calls) -> Arc<dyn Provider>;
}

/// Something a preflight found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is in the way.
    pub severity: Severity,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Whether a finding is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The run would fail.
    Blocking,
    /// The run can go on; somebody should know.
    Notice,
}

/// The one thing a provider crate exports.
pub struct Registration {
    /// The word for it in `provider:` and in addresses.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The keys it takes under a target.
    pub settings: &'static [SettingKey],
    /// The setting that the second part of `PROVIDER:REGION:NAME:ALIAS` stands for.
    pub region_setting: &'static str,
    /// Connects without I/O on a network. What a remote cloud's address or settings lack is an error of kind
    /// [`Invalid`](crate::ErrorKind::Invalid).
    pub connect: fn(&Settings) -> Result<Arc<dyn Provider>>,
    /// Present where the cloud itself is embedded in this program.
    pub embedded: Option<&'static dyn Embedded>,
}

/// A cloud that runs out of this program: one daemon per state directory.
#[async_trait]
pub trait Embedded: Send + Sync {
    /// Makes sure the daemon runs and answers; starts it, wholly detached, when it does not. Returns once both
    /// endpoints accept connections. Two callers at once start one daemon.
    async fn up(&self, settings: &Settings) -> Result<EmbeddedStatus>;

    /// Makes sure that the daemon of a cloud that exists runs, as [`Embedded::up`] does; `None`, and nothing is made, where
    /// the settings name no cloud that was ever started.
    async fn wake(&self, settings: &Settings) -> Result<Option<EmbeddedStatus>>;

    /// Ends the daemon and every function it runs; waits until both are gone. Fine when it does not run.
    async fn down(&self, settings: &Settings) -> Result<()>;

    /// What runs; `None` when the daemon does not.
    async fn status(&self, settings: &Settings) -> Result<Option<EmbeddedStatus>>;

    /// Copies the log of a version, of all of a function's versions or of the daemon itself to `out`, oldest line
    /// first; goes on as lines come when `follow` asks for it, until the task is dropped.
    async fn logs(
        &self,
        settings: &Settings,
        of: &LogsOf,
        follow: Follow,
        out: &mut (dyn std::io::Write + Send),
    ) -> Result<()>;

    /// Runs the daemon in this process on the state in `directory`, until it is told to end. What [`Embedded::up`]
    /// starts; blocks.
    fn serve(&self, directory: &Path) -> Result<()>;
}

/// Whose log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogsOf {
    /// The daemon's own.
    Daemon,
    /// All versions of a function.
    Function(FunctionName),
    /// One version.
    Version(FunctionName, Version),
}

/// Whether reading goes on when the end of a log is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It stops there.
    ToEnd,
    /// It waits for more.
    Forever,
}

/// What an embedded cloud is doing.
#[derive(Debug, Clone)]
pub struct EmbeddedStatus {
    /// Its state directory, absolute.
    pub directory: std::path::PathBuf,
    /// The daemon's process.
    pub pid: u32,
    /// Whether it ran already.
    pub started: Started,
    /// Where its registry listens.
    pub registry: SocketAddr,
    /// Where its functions answer.
    pub functions: SocketAddr,
    /// What was counted since the daemon started, a row per version that was called or is running.
    pub traffic: Vec<Traffic>,
}

/// Whether a daemon ran already when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It was started for this.
    Now,
    /// It ran.
    Before,
}

/// One version's traffic since its daemon started.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// The function.
    pub function: FunctionName,
    /// The version.
    pub version: Version,
    /// Processes that run now.
    pub instances: u32,
    /// Requests answered, errors included.
    pub invocations: u64,
    /// Requests answered with a status of 500 or more, or not at all.
    pub errors: u64,
    /// Requests turned away because the version was at its limit; they are no invocations.
    pub throttles: u64,
    /// The median latency in milliseconds; `None` when nothing was answered.
    pub p50_ms: Option<f64>,
    /// The 95th percentile of latency in milliseconds; `None` when nothing was answered.
    pub p95_ms: Option<f64>,
}
