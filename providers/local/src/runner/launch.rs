//! From an order to a command that can be started.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use longshore_contract::Secret;
use rustix::fs::{Gid, Uid};

use super::Launch;
use super::enter::Environment;
use super::error::StartError;
use super::log::{Log, Output};
use super::program::{self, Linkage};
use super::sandbox::{self, Isolation, Network, Sandbox};
use super::spawn::{self, Begun, Order};
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
    name: String,
    path: CString,
    words: Vec<String>,
    environment: BTreeMap<String, Secret>,
    sandbox: Option<Sandbox>,
    directory: CString,
    /// Who on this machine is to have its output, where that is not us: programs open `/dev/stdout` by name.
    reader: Option<(u32, u32)>,
}

/// What a function is told of how it is reached, and how it reaches others.
pub(super) struct Told {
    /// Where it is to listen.
    pub(super) port: u16,
    /// Where its runtime API is.
    pub(super) api: SocketAddr,
    /// Its own network, where it has one.
    pub(super) network: Option<Network>,
}

/// Prepares the process of `launch` in `root`, which is told as `told` says. Nothing is started and nothing changes.
pub(super) fn prepare(
    launch: &Launch,
    root: &Path,
    isolation: &Isolation,
    told: &Told,
) -> Result<Prepared, StartError> {
    let image = &launch.image;
    let root = Root::open(root).map_err(StartError::disk(root))?;
    let words = words(launch)?;
    let user = user_of(&root, image)?;
    let environment = environment(launch, &user, told)?;
    let search = environment.get("PATH").map_or(SEARCH, Secret::expose);

    let inside = Path::new("/").join(&image.working_directory);
    let real = root.real(&inside).ok().map(|real| root.path().join(real)).filter(|path| path.is_dir());
    let real =
        real.ok_or_else(|| StartError::NoWorkingDirectory { directory: image.working_directory.clone() })?;
    let program = program::find(&root, &words[0], search, &inside)?;

    let name = program.inside.display().to_string();
    let mut reader = None;
    let (path, directory, sandbox) = match isolation {
        Isolation::Own { users, .. } => {
            reader = users.on_host(user.user).zip(users.on_host(user.group));
            (program.inside, inside, Some(sandbox::plan(&root, &user, *users, told.network)?))
        }
        Isolation::None { .. } if program.linkage == Linkage::Static => {
            (root.path().join(program.real), real, None)
        }
        Isolation::None { why } => {
            return Err(StartError::NeedsIsolation { program: name, why: why.clone() });
        }
    };
    // Both were opened by these names: there is no zero byte in them.
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    let (path, directory) = (text(&path), text(&directory));
    Ok(Prepared { name, path, words, environment, sandbox, directory, reader })
}

impl Prepared {
    /// Starts the process, with its output going to `log`.
    pub(super) async fn spawn(self, log: Arc<Log>) -> Result<(Output, Begun), StartError> {
        let failed = |source| StartError::Spawn { step: "opening the function's output".to_owned(), source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let writer = OwnedFd::from(writer);
        if let Some((user, group)) = self.reader {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::fs::fchown(&writer, Some(user), Some(group)).map_err(|error| failed(error.into()))?;
        }
        let output = Output::copy(reader, log).map_err(failed)?;
        // That there is no zero byte in these was looked at before.
        let text = |word: String| CString::new(word).unwrap_or_default();
        let variables = self.environment.iter().map(|(key, value)| text(format!("{key}={}", value.expose())));
        let order = Order {
            sandbox: self.sandbox,
            directory: self.directory,
            program: self.path,
            environment: Environment(variables.collect()),
            arguments: self.words.into_iter().map(text).collect(),
            output: writer,
        };
        let begun = spawn::spawn(order).await.map_err(|unstarted| unstarted.of(&self.name))?;
        Ok((output, begun))
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
fn environment(launch: &Launch, user: &User, told: &Told) -> Result<BTreeMap<String, Secret>, StartError> {
    let home = user.home.clone().unwrap_or_else(|| "/".to_owned());
    let mut environment: BTreeMap<String, Secret> = [("PATH", SEARCH.to_owned()), ("HOME", home)]
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into();
    if let Some(network) = told.network {
        environment.extend(way_out(network).map(|(key, value)| (key.to_owned(), value.into())));
    }
    environment
        .extend(launch.image.environment.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    environment.extend(overlay(launch, told)?);
    fit(environment)
}

/// What goes over the image's environment: the function's own, and what it must know to be reached.
pub(super) fn overlay(launch: &Launch, told: &Told) -> Result<BTreeMap<String, Secret>, StartError> {
    let mut environment = launch.environment.clone();
    environment.insert("PORT".to_owned(), told.port.to_string().into());
    environment.insert("AWS_LAMBDA_RUNTIME_API".to_owned(), told.api.to_string().into());
    fit(environment)
}

/// An environment that can be handed to a program.
fn fit(environment: BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>, StartError> {
    let unfit = |(key, value): &(&String, &Secret)| {
        key.is_empty() || key.contains(['=', '\0']) || value.expose().contains('\0')
    };
    match environment.iter().find(unfit) {
        Some((key, _)) => Err(StartError::NotText { what: format!("the variable {key:?}") }),
        None => Ok(environment),
    }
}

/// How programs are told of a proxy: some read the one spelling and some the other.
fn way_out(network: Network) -> [(&'static str, String); 6] {
    let proxy = format!("http://127.0.0.1:{}", network.proxy);
    let direct = "127.0.0.1,localhost,::1".to_owned();
    [
        ("HTTP_PROXY", proxy.clone()),
        ("http_proxy", proxy.clone()),
        ("HTTPS_PROXY", proxy.clone()),
        ("https_proxy", proxy),
        ("NO_PROXY", direct.clone()),
        ("no_proxy", direct),
    ]
}
