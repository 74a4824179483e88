//! Why an instance did not start, in words for the person whose image it is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_contract::Platform;

use super::instance::Exit;
use super::unpack::UnpackError;

/// Why an instance did not start. Where the program itself spoke, `Display` goes on with its last lines, each on a line
/// of its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The image could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Neither the image nor the configuration names a command.
    #[error(
        "the image has neither an entrypoint nor a command: set one in the image, or `command` in config"
    )]
    NoCommand,
    /// The command is not in the image.
    #[error("{program:?} is not in the image{}", searched(program, search))]
    NotFound {
        /// The first word of the command line.
        program: String,
        /// Where it was looked for.
        search: String,
    },
    /// The command is there and must not be executed.
    #[error("{program} in the image is not executable: build the image with `chmod +x {program}`")]
    NotExecutable {
        /// Where it is in the image.
        program: String,
    },
    /// The command was built for another machine.
    #[error(
        "exec format error: {program} in the image is built for {architecture} and this machine runs {host}"
    )]
    WrongArchitecture {
        /// Where it is in the image.
        program: String,
        /// What it was built for.
        architecture: String,
        /// What this machine runs.
        host: Platform,
    },
    /// The command is neither a program nor a script.
    #[error(
        "exec format error: {program} in the image is neither a program nor a script that begins with #!"
    )]
    NotAProgram {
        /// Where it is in the image.
        program: String,
    },
    /// The command needs something that is not there.
    #[error(
        "{program} in the image needs {interpreter}, which is not there: build it statically, or on the base image \
         that has it"
    )]
    NoInterpreter {
        /// Where it is in the image.
        program: String,
        /// What it needs.
        interpreter: String,
    },
    /// The image's user has a name that the image does not know.
    #[error("the image runs as {name:?}, which its /etc/passwd or /etc/group does not have: use a number")]
    NoUser {
        /// The name.
        name: String,
    },
    /// The image's working directory is not a directory.
    #[error("the image's working directory {directory:?} is not a directory in it")]
    NoWorkingDirectory {
        /// What the image says.
        directory: String,
    },
    /// The command line or the environment has a zero byte, or a variable without a name.
    #[error("{what} cannot be handed to a program: it has a zero byte, or a name that is empty or has a =")]
    NotText {
        /// Which word or variable; never a value.
        what: String,
    },
    /// The port that the configuration states is taken.
    #[error(
        "port {port} is taken by {by}: leave `port` out of config, and the function is told a free one in PORT"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Who has it.
        by: String,
    },
    /// No port is free.
    #[error("no port on 127.0.0.1 is free for the function: {0}")]
    NoPort(#[source] io::Error),
    /// The kernel gives us no namespaces and the program needs its files in their places.
    #[error(
        "{program} needs the files around it, and this kernel does not let us give it a root of its own ({why}): allow \
         user namespaces (`sysctl kernel.unprivileged_userns_clone=1`, or where AppArmor restricts them `sysctl \
         kernel.apparmor_restrict_unprivileged_userns=0`), or use an image with one static program"
    )]
    NeedsIsolation {
        /// Where it is in the image.
        program: String,
        /// What the kernel said.
        why: String,
    },
    /// The process could not be started.
    #[error("{step}: {source}")]
    Spawn {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A container engine did not do what it was asked.
    #[error("{step}: {source}")]
    Engine {
        /// What was asked of which.
        step: String,
        /// What it said.
        source: io::Error,
    },
    /// It ended before it listened.
    #[error("the function {exit} before it listened on port {port}{}", Quoted(tail))]
    Exited {
        /// How it ended.
        exit: Exit,
        /// Where it should have listened.
        port: u16,
        /// The last lines it wrote, oldest first, bounded and without the values of its environment.
        tail: Vec<String>,
    },
    /// It did not listen in time.
    #[error(
        "the function did not listen on port {port} within {} ms: the port is in its environment as PORT, and 127.0.0.1 \
         or every address is where to listen{}",
        patience.as_millis(),
        Quoted(tail)
    )]
    Silent {
        /// Where it should have listened.
        port: u16,
        /// How long it was waited for.
        patience: Duration,
        /// The last lines it wrote, oldest first, bounded and without the values of its environment.
        tail: Vec<String>,
    },
    /// A file of ours could not be read or written.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }
}

fn searched(program: &str, search: &str) -> String {
    if program.contains('/') { String::new() } else { format!(" (PATH is {search:?})") }
}

/// The end of a log, for people.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("; it wrote nothing");
        }
        f.write_str("; its last lines:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
