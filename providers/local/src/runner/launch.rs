//! From an order to a command that can be started.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use longshore_contract::Secret;

use super::Launch;
use super::error::StartError;
use super::log::{Log, Output};
use super::program::{self, Linkage};
use super::sandbox::{self, Isolation, Sandbox};
use super::spawn;
use super::unpack::Root;
use super::user::{self, User};
use crate::registry::StoredImage;

/// Where programs are where an image says nothing.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most bytes of an image's list of users.
const USERS_LIMIT: u64 = 4 << 20;

/// A process with all that it needs, before it starts.
pub(super) struct Prepared {
    /// Where the program is in the image, for messages.
    program: String,
    command: Command,
    sandbox: Option<Sandbox>,
    directory: CString,
}

/// Prepares the process of `launch` in `root`, which is told `port` and where its runtime `api` is. Nothing is started and nothing changes.
pub(super) fn prepare(
    launch: &Launch,
    root: &Path,
    isolation: &Isolation,
    port: u16,
    api: SocketAddr,
) -> Result<Prepared, StartError> {
    let image = &launch.image;
    let root = Root::open(root).map_err(StartError::disk(root))?;
    let words = words(launch)?;
    let user = user_of(&root, image)?;
    let environment = environment(launch, &user, port, api)?;
    let search = environment.get("PATH").map_or(SEARCH, Secret::expose);

    let inside = Path::new("/").join(&image.working_directory);
    let real = root.real(&inside).ok().map(|real| root.path().join(real)).filter(|path| path.is_dir());
    let real =
        real.ok_or_else(|| StartError::NoWorkingDirectory { directory: image.working_directory.clone() })?;
    let program = program::find(&root, &words[0], search, &inside)?;

    let name = program.inside.display().to_string();
    let (path, directory, sandbox) = match isolation {
        Isolation::Own => (program.inside, inside, Some(sandbox::plan(&root, &user)?)),
        Isolation::None { .. } if program.linkage == Linkage::Static => {
            (root.path().join(program.real), real, None)
        }
        Isolation::None { why } => {
            return Err(StartError::NeedsIsolation { program: name, why: why.clone() });
        }
    };
    let mut command = Command::new(path);
    command.arg0(&words[0]).args(&words[1..]).env_clear().stdin(Stdio::null());
    command.envs(environment.iter().map(|(key, value)| (key, value.expose())));
    // It was opened by this name: there is no zero byte in it.
    let directory = CString::new(directory.as_os_str().as_bytes()).unwrap_or_default();
    Ok(Prepared { program: name, command, sandbox, directory })
}

impl Prepared {
    /// Starts the process, with its output going to `log`.
    pub(super) async fn spawn(mut self, log: Arc<Log>) -> Result<(Output, Child), StartError> {
        let failed = |source| StartError::Spawn { step: "opening the function's output".to_owned(), source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        self.command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let output = Output::copy(reader, log).map_err(failed)?;
        // The command goes into the call, and our ends of the pipe with it: what stays open is the function's.
        let child = spawn::spawn(self.command, self.sandbox, self.directory).await;
        let child = child.map_err(|unstarted| unstarted.of(&self.program))?;
        Ok((output, child))
    }
}

/// The command line: the configuration's, or the image's.
fn words(launch: &Launch) -> Result<Vec<String>, StartError> {
    let image = &launch.image;
    let words = match &launch.command {
        Some(command) => command.clone(),
        None => image.entrypoint.iter().chain(&image.command).cloned().collect(),
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(StartError::NoCommand);
    }
    match words.iter().position(|word| word.contains('\0')) {
        Some(index) => Err(StartError::NotText { what: format!("word {} of the command line", index + 1) }),
        None => Ok(words),
    }
}

fn user_of(root: &Root, image: &StoredImage) -> Result<User, StartError> {
    let read = |path: &str| {
        let mut text = Vec::new();
        let file = root.file(Path::new(path));
        // An image without users is fine as long as it wants none by name.
        let _ = file.and_then(|file| file.take(USERS_LIMIT).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    };
    user::resolve(&image.user, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|name| StartError::NoUser { name })
}

/// The image's environment, under the function's own, under what it must know to be reached.
fn environment(
    launch: &Launch,
    user: &User,
    port: u16,
    api: SocketAddr,
) -> Result<BTreeMap<String, Secret>, StartError> {
    let home = user.home.clone().unwrap_or_else(|| "/".to_owned());
    let mut environment: BTreeMap<String, Secret> = [("PATH", SEARCH.to_owned()), ("HOME", home)]
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into();
    environment
        .extend(launch.image.environment.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    environment.extend(launch.environment.clone());
    environment.insert("PORT".to_owned(), port.to_string().into());
    environment.insert("AWS_LAMBDA_RUNTIME_API".to_owned(), api.to_string().into());
    let unfit = |(key, value): &(&String, &Secret)| {
        key.is_empty() || key.contains(['=', '\0']) || value.expose().contains('\0')
    };
    match environment.iter().find(unfit) {
        Some((key, _)) => Err(StartError::NotText { what: format!("the variable {key:?}") }),
        None => Ok(environment),
    }
}
