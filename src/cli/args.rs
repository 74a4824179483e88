//! The command line as types. Parsing validates and does nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use longshore_contract::{Platform, Profile, RunId};

use crate::providers;

/// Help that fits a screen: what the verb does, how it is called, its arguments.
const HELP: &str = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Deploys the container images of serverless functions
#[derive(Debug, Parser)]
#[command(name = "longshore", version, about, disable_help_subcommand = true, help_template = TOP)]
#[command(max_term_width = 80, subcommand_value_name = "VERB", after_help = AFTER)]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
    /// How the result is told.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where more is.
const AFTER: &str = "`longshore VERB --help` tells more of a verb.";

const TOP: &str = "{about}\n\n{usage-heading} {usage}\n\n{subcommands}\n\n{options}{after-help}";

/// How the result is told; the same for every verb.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Tell the result as human text, json or jsonl
    #[arg(long, global = true, value_name = "FORM", default_value = "human", hide_default_value = true)]
    #[arg(hide_possible_values = true, env = "LONGSHORE_OUTPUT", hide_env = true)]
    pub output: Output,
    /// Use colours: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(hide_possible_values = true)]
    pub color: Color,
    /// Log more on stderr; twice for all of it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Human,
    /// One document.
    Json,
    /// An event per line as it happens, the document last.
    Jsonl,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that wants them.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which manifest, and how it is read.
#[derive(Debug, Clone, Args)]
pub struct ManifestArgs {
    /// The manifest [default: deploy.yaml]
    #[arg(short, long, value_name = "FILE", default_value = "deploy.yaml", hide_default_value = true)]
    pub file: PathBuf,
    /// Lay one of the manifest's environments over it
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Set any value of the manifest, as in vars.tag=1.2
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Act on this FUNCTION or FUNCTION@TARGET only
    #[arg(long, value_name = "FUNCTION")]
    pub only: Vec<String>,
}

const SUBJECT: &str = "FUNCTION[@TARGET][:ALIAS] of the manifest [default: all of it], or
PROVIDER:REGION:NAME:ALIAS without one";

/// What a verb acts on, and where its ledger is.
#[derive(Debug, Clone, Args)]
pub struct SubjectArgs {
    /// What is acted on; everything in the manifest where it is absent.
    #[arg(value_name = "SUBJECT", help = SUBJECT)]
    pub subject: Option<String>,
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Where the ledger is when there is no manifest
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a first manifest
    Init(InitArgs),
    /// Look for all that would make a deploy fail
    Check(CheckArgs),
    /// Show what deploy would do
    Plan(PlanArgs),
    /// Push, publish and shift traffic to the new version
    Deploy(DeployArgs),
    /// Push an image to registries
    Push(PushArgs),
    /// Judge images by their scan, as deploy would
    Scan(ScanArgs),
    /// Show what is live and which runs are open
    Status(SubjectArgs),
    /// Bring back at once what was live before
    Rollback(RollbackArgs),
    /// Continue a run that was interrupted
    Resume(ActArgs),
    /// Give an open run's version all traffic now
    Promote(ActArgs),
    /// Return an open run to where it began
    Abort(ActArgs),
    /// List past runs
    History(HistoryArgs),
    /// Send a request to a function
    Invoke(InvokeArgs),
    /// Show what is in an image, or shape it for a destination
    Image(ImageArgs),
    /// Show or clear what is kept of compressed layers
    Cache(CacheArgs),
    /// Run the cloud in a directory on this machine
    Local(LocalArgs),
    /// Print the manifest's JSON schema
    #[command(help_template = HELP)]
    Schema,
    /// Print completions for a shell
    #[command(help_template = HELP)]
    Completions {
        /// The shell: bash, elvish, fish, powershell or zsh
        #[arg(hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// Every verb as it is typed; a test compares them with the parser's.
    pub const WORDS: [&'static str; 18] = [
        "init",
        "check",
        "plan",
        "deploy",
        "push",
        "scan",
        "status",
        "rollback",
        "resume",
        "promote",
        "abort",
        "history",
        "invoke",
        "image",
        "cache",
        "local",
        "schema",
        "completions",
    ];

    /// Whether this is the hidden verb that runs the embedded cloud's daemon in this process.
    pub fn runs_as_daemon(&self) -> bool {
        matches!(self, Self::Local(LocalArgs { verb: LocalVerb::Serve { .. } }))
    }

    /// The verb as it is typed.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Check(_) => "check",
            Self::Plan(_) => "plan",
            Self::Deploy(_) => "deploy",
            Self::Push(_) => "push",
            Self::Scan(_) => "scan",
            Self::Status(_) => "status",
            Self::Rollback(_) => "rollback",
            Self::Resume(_) => "resume",
            Self::Promote(_) => "promote",
            Self::Abort(_) => "abort",
            Self::History(_) => "history",
            Self::Invoke(_) => "invoke",
            Self::Image(image) => image.verb.word(),
            Self::Cache(cache) => cache.verb.word(),
            Self::Local(local) => local.verb.word(),
            Self::Schema => "schema",
            Self::Completions { .. } => "completions",
        }
    }
}

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct InitArgs {
    /// Where to write it [default: deploy.yaml]
    #[arg(short, long, value_name = "FILE", default_value = "deploy.yaml", hide_default_value = true)]
    pub file: PathBuf,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct CheckArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Stop after the manifest and its images; ask no cloud
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct PlanArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Run the manifest's build: hooks first
    #[arg(long)]
    pub with_build: bool,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct DeployArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: run the manifest's build: hooks first
    #[arg(long, requires = "dry_run")]
    pub with_build: bool,
    /// Where a run is open: continue it
    #[arg(long, conflicts_with_all = ["abort", "dry_run"])]
    pub resume: bool,
    /// Where a run is open: return it, then deploy
    #[arg(long, conflicts_with = "dry_run")]
    pub abort: bool,
    /// Let an image pass that the scan policy refuses, and why
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub waive_scan: Option<String>,
    /// A line about this run for the ledger
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct ScanArgs {
    /// Of what.
    #[arg(value_name = "SUBJECT", help = "FUNCTION[@TARGET][:ALIAS] of the manifest [default: all of it]")]
    pub subjects: Vec<String>,
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Judge what serves now instead of what would be deployed
    #[arg(long)]
    pub live: bool,
}

const SOURCE: &str = "The image: docker-daemon:NAME, docker-archive:FILE[:NAME],
oci:DIR[:TAG], oci-archive:FILE or HOST/PATH[:TAG]";

/// Arguments of `push`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct PushArgs {
    /// The image.
    #[arg(value_name = "SOURCE", help = SOURCE)]
    pub source: String,
    /// Where to.
    #[arg(value_name = "DESTINATION", required = true, help = "Where to, as HOST/PATH[:TAG]")]
    pub destinations: Vec<String>,
    /// The one image of this platform out of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// What the destination takes; absent: what its host is known to take.
    #[arg(long, value_name = "NAME", value_parser = profile, help = profiles("What the destination takes", "by its host"))]
    pub profile: Option<&'static Profile>,
    /// Keep what vouches for the image beside it
    #[arg(long, requires = "platform")]
    pub keep_attestations: bool,
    /// Hash every blob here before it is sent
    #[arg(long)]
    pub verify: bool,
    /// Speak plain http to this registry; loopback never needs it
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct RollbackArgs {
    /// On what.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// To this version instead of what was live before
    #[arg(long, value_name = "VERSION")]
    pub to: Option<longshore_contract::Version>,
    /// Only look whether it would work
    #[arg(long)]
    pub check: bool,
    /// A line about this run for the ledger
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// Arguments of `resume`, `promote` and `abort`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct ActArgs {
    /// On what.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Only if this is the run that is open
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunId>,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct HistoryArgs {
    /// Of what.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// At most this many runs [default: 20]
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, hide_default_value = true)]
    pub limit: usize,
}

/// Arguments of `invoke`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct InvokeArgs {
    /// Of what.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// An event as JSON, or - to read it from stdin [default: {}]
    #[arg(short, long, value_name = "JSON", conflicts_with_all = ["path", "method"])]
    pub payload: Option<String>,
    /// Send an HTTP request to this path instead
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// The method of the HTTP request [default: GET]
    #[arg(long, value_name = "METHOD", requires = "path")]
    pub method: Option<String>,
    /// Ask this version instead of the alias
    #[arg(long, value_name = "VERSION")]
    pub version: Option<longshore_contract::Version>,
}

/// The profile that is called `name`.
fn profile(name: &str) -> Result<&'static Profile, String> {
    let known = providers::profiles();
    known.iter().find(|profile| profile.name == name).ok_or_else(|| format!("there is {}", words(known)))
}

/// The help of an option that names one.
fn profiles(what: &str, default: &str) -> String {
    format!("{what}: {} [default: {default}]", words(providers::profiles()))
}

fn words(profiles: &[Profile]) -> String {
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name).collect();
    match names.split_last() {
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Arguments of `image`.
#[derive(Debug, Args)]
#[command(help_template = HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct ImageArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: ImageVerb,
}

/// The verbs of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Show what is in it and what each destination would change
    Inspect(ImageInspectArgs),
    /// Bring it into a destination's shape, and show or write what came of it
    Shape(ImageShapeArgs),
}

impl ImageVerb {
    fn word(&self) -> &'static str {
        match self {
            Self::Inspect(_) => "image inspect",
            Self::Shape(_) => "image shape",
        }
    }
}

/// Arguments of `image inspect`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct ImageInspectArgs {
    /// The image, as `push` takes it
    pub source: String,
    /// Tell which layers this other image has too
    #[arg(long, value_name = "OTHER")]
    pub with: Option<String>,
}

/// Arguments of `image shape`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct ImageShapeArgs {
    /// The image, as `push` takes it
    pub source: String,
    /// What the destination takes.
    #[arg(long, value_name = "NAME", value_parser = profile, default_value = "oci", hide_default_value = true)]
    #[arg(help = profiles("What the destination takes", "oci"))]
    pub profile: &'static Profile,
    /// The one image of this platform out of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Keep what vouches for the image beside it
    #[arg(long, requires = "platform")]
    pub keep_attestations: bool,
    /// Write it as an OCI layout into a new directory: oci:DIR[:TAG]
    #[arg(long, value_name = "LAYOUT")]
    pub to: Option<String>,
}

/// Arguments of `cache`.
#[derive(Debug, Args)]
#[command(help_template = HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct CacheArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: CacheVerb,
}

/// The verbs of `cache`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum CacheVerb {
    /// Show where it is and what is in it
    #[command(help_template = HELP)]
    Show,
    /// Remove everything in it
    #[command(help_template = HELP)]
    Clear,
}

impl CacheVerb {
    fn word(self) -> &'static str {
        match self {
            Self::Show => "cache show",
            Self::Clear => "cache clear",
        }
    }
}

/// Arguments of `local`.
#[derive(Debug, Args)]
#[command(help_template = HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct LocalArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: LocalVerb,
}

/// The verbs of `local`.
#[derive(Debug, Subcommand)]
pub enum LocalVerb {
    /// Start it, unless it runs
    Up(LocalStateArgs),
    /// End it and every function it runs
    Down(LocalStateArgs),
    /// Show where it listens and what it served
    Status(LocalStateArgs),
    /// Print its log, or a function's
    Logs(LocalLogsArgs),
    /// Run it in this process; what `up` starts
    #[command(hide = true)]
    Serve {
        /// The state directory
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
}

impl LocalVerb {
    fn word(&self) -> &'static str {
        match self {
            Self::Up(_) => "local up",
            Self::Down(_) => "local down",
            Self::Status(_) => "local status",
            Self::Logs(_) => "local logs",
            Self::Serve { .. } => "local serve",
        }
    }
}

/// Which local cloud.
#[derive(Debug, Clone, Args)]
#[command(help_template = HELP)]
pub struct LocalStateArgs {
    /// The manifest whose local target is meant [default: deploy.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    pub file: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// Arguments of `local logs`.
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub struct LocalLogsArgs {
    /// A function's name in the cloud, or NAME:VERSION [default: the daemon]
    #[arg(value_name = "NAME")]
    pub of: Option<String>,
    /// Which cloud.
    #[command(flatten)]
    pub state: LocalStateArgs,
    /// Go on as lines come
    #[arg(long)]
    pub follow: bool,
}
