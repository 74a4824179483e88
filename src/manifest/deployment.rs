//! What a manifest comes to: everything stated, nothing left to be guessed.

use std::path::PathBuf;

use longshore_contract::{AliasName, Config, FunctionName, Platform, Secret, Settings, Tag};

use super::mistake::Position;
use super::scan::ScanPolicy;
use super::shift::ShiftSpec;
use super::smoke::Smoke;
use crate::image::ImageSource;

/// Everything that a manifest asks for.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What the functions belong to.
    pub name: String,
    /// The manifest's directory, absolute: what relative paths are relative to and where `build:` runs.
    pub directory: PathBuf,
    /// Where runs are recorded: a path as it was written, or a URL.
    pub ledger: String,
    /// One unit per function and target, in the manifest's order; with `--only`, those that it names.
    pub units: Vec<Unit>,
}

/// The shell command that makes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The command as it is written: what its `${…}` stand for is not shown to anybody.
    pub shown: String,
    /// The command as it is run.
    pub command: Secret,
}

/// One function on one target.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Where the manifest sends the function to this target, for errors that come later.
    pub at: Position,
    /// The function's name in the manifest.
    pub function: String,
    /// The target's name in the manifest.
    pub target: String,
    /// The provider's name, one that is registered.
    pub provider: String,
    /// What the provider connects with.
    pub settings: Settings,
    /// The shell command that makes the image.
    pub build: Option<Build>,
    /// The image as it was written, as in `oci:image`; `assemble` for one that is put together.
    pub source: String,
    /// The image.
    pub image: ImageSource,
    /// The platform to take out of an image for several; `None` for the first that the target's cloud runs.
    pub platform: Option<Platform>,
    /// The function's name in the cloud.
    pub name: FunctionName,
    /// The repository beneath the target's namespace or prefix: lower-case parts with `/` between them.
    pub repository: String,
    /// A label for the image in the registry; `None` where it is pushed by its digest only.
    pub tag: Option<Tag>,
    /// The alias whose traffic moves.
    pub alias: AliasName,
    /// The configuration in the cloud, as far as it is stated.
    pub config: Config,
    /// Which findings stop a deploy; `None` where the image is not scanned.
    pub scan: Option<ScanPolicy>,
    /// Requests that the new version must answer before it gets traffic.
    pub smoke: Vec<Smoke>,
    /// How traffic moves.
    pub shift: ShiftSpec,
}

impl Unit {
    /// The unit as users name it: `FUNCTION@TARGET`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.function, self.target)
    }
}
