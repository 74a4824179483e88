//! The daemon itself.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::routing::any;
use axum::serve::{Listener, ListenerExt as _};
use longshore_contract::{Digest, Error, ErrorKind, Result, Secret};
use longshore_model::Service;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::control::api::{self, Control};
use crate::control::store::Store;
use crate::control::updates::Updates;
use crate::daemon::housekeeping;
use crate::daemon::lock::Lock;
use crate::daemon::report::{self, PORT_TAKEN, RUNS_ALREADY, Report};
use crate::daemon::tally::{self, Counted, Tally};
use crate::registry::Registry;
use crate::router::forward::{self, Router};
use crate::router::instances::{IDLE, Instances};
use crate::runner::Runner;
use crate::state::{Identity, Running, StateDirectory, StateError, io_error};

/// How long requests under way may take to come to their end when the daemon is told to end.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the answers to those may take that are still under way then: errors, because their functions are stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How often the daemon looks for processes that nobody uses.
const ROUND: Duration = Duration::from_secs(5);

/// Runs a daemon on `directory` until it is told to end. Tells on standard output, in one line, how its start went;
/// standard output goes to the daemon's log after that.
pub(crate) fn serve(directory: &StateDirectory) -> Result<()> {
    // On a thread of its own, because the caller may be inside a runtime already.
    let served = std::thread::scope(|scope| {
        let daemon = std::thread::Builder::new().name("daemon".to_owned()).spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.map_err(|error| failed(directory, error))?;
            runtime.block_on(run(directory))
        });
        let daemon = daemon.map_err(|error| failed(directory, error))?;
        daemon.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    });
    if let Err(error) = &served {
        let _ = tell(&Report::failed(error));
    }
    served
}

async fn run(directory: &StateDirectory) -> Result<()> {
    let refused = |error: StateError| error.into_error("start", directory.path().display());
    directory.make().map_err(refused)?;
    let at = directory.lock();
    let lock = Lock::take(&at).map_err(|error| refused(io_error("lock", &at)(error)))?;
    let Some(lock) = lock else {
        let message = "another daemon runs on this directory";
        return Err(report::error(RUNS_ALREADY, directory.path().display(), message));
    };
    directory.keep_format().map_err(refused)?;
    directory.retract().map_err(refused)?;
    let (registry_listener, functions_listener, running) = listen(directory).await?;

    let registry = Registry::open(&directory.registry())
        .map_err(|error| refused(io_error("open the registry in", &directory.registry())(error)))?;
    let runner = Runner::open(&directory.roots(), registry.clone())
        .await
        .map_err(|error| refused(io_error("open", &directory.roots())(error)))?;
    let store = Arc::new(Store::open(directory).map_err(refused)?);
    // What no function is made of any more need not lie here unpacked; an image that is wanted again is unpacked again.
    if let Err(error) = runner.retain(images(&store.service())).await {
        tracing::warn!(
            "{}: unpacked images that nobody needs may be left: {error}",
            directory.roots().display()
        );
    }
    let instances = Arc::new(Instances::new(directory.clone(), Arc::clone(&store), registry.clone(), runner));
    let updates = Updates::new(Arc::clone(&store), Arc::clone(&instances));
    let ending = CancellationToken::new();
    let control = Control {
        running: running.clone(),
        store: Arc::clone(&store),
        instances: Arc::clone(&instances),
        updates: updates.clone(),
        ending: ending.clone(),
        requests: AtomicU64::new(1),
    };
    tokio::spawn(housekeeping::tidy(registry.clone(), Arc::clone(&store)));
    let router = Router::new(store, Arc::clone(&instances));
    let tally = Arc::new(Tally::default());
    let router = axum::Router::new()
        .fallback(forward::handle)
        .with_state(Arc::new(router))
        .layer(from_fn_with_state(Arc::clone(&tally), tally::count));
    let functions = axum::Router::new()
        .route("/_longshore/{*rest}", any(api::handle))
        .with_state(Arc::new(control))
        .merge(router);

    let mut servers = tokio::spawn({
        let registry = serve_on(registry_listener, registry.routes(), ending.clone());
        let functions = serve_on(functions_listener, functions, ending.clone());
        async { tokio::try_join!(registry, functions).map(drop) }
    });
    updates.take_up();
    tokio::spawn({
        let instances = Arc::clone(&instances);
        async move { instances.wake().await }
    });
    directory.announce(&running).map_err(refused)?;
    tracing::info!(pid = running.pid, registry = %running.registry, functions = %running.functions, "ready");
    // Whoever started us may be gone by now; that is no reason to end.
    let _ = tell(&Report::Ready { pid: running.pid });
    redirect_output(directory).map_err(|error| failed(directory, error))?;

    let ended = until_told(&ending, &lock, directory, &instances).await;
    ending.cancel();
    // Whoever wants a cloud from here on waits for the lock and starts a new one.
    let retracted = directory.retract().map_err(refused);
    let drained = tokio::time::timeout(DRAIN, &mut servers).await.is_ok();
    if !drained {
        tracing::warn!("requests are still under way after {DRAIN:?}: their functions are stopped");
    }
    instances.stop_all().await;
    if !drained && tokio::time::timeout(LAST_ANSWERS, servers).await.is_err() {
        tracing::warn!("connections are still open that nobody reads from or sends the rest of a request on");
    }
    let Counted { read, answered } = tally.counted();
    tracing::info!(read, answered, "ended");
    drop(lock);
    retracted?;
    ended.map_err(|error| failed(directory, error))
}

/// The images that functions are made of.
fn images(service: &Service) -> HashSet<Digest> {
    let functions = service.functions().values();
    let contents = functions.flat_map(|function| {
        let versions = function.versions.values().map(|version| &version.content);
        versions.chain([&function.head.content]).chain(&function.head.fallback)
    });
    contents.map(|content| content.image.digest.clone()).collect()
}

/// Does the daemon's rounds until a request, a signal or the loss of its directory tells it to end.
async fn until_told(
    ending: &CancellationToken,
    lock: &Lock,
    directory: &StateDirectory,
    instances: &Instances,
) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut round = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            () = ending.cancelled() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = round.tick() => {
                if !lock.is_at(&directory.lock()) {
                    tracing::warn!("{} is gone: ending", directory.path().display());
                    return Ok(());
                }
                instances.stop_idle(IDLE);
            }
        }
    }
}

async fn serve_on(listener: TcpListener, routes: axum::Router, ending: CancellationToken) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for the acknowledgement of smaller ones.
        let _ = stream.set_nodelay(true);
    });
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(ending.cancelled_owned()).await
}

/// Opens both ports: the ones kept in the directory, or any two where it is new, which are kept then.
async fn listen(directory: &StateDirectory) -> Result<(TcpListener, TcpListener, Running)> {
    let refused = |error: StateError| error.into_error("start", directory.path().display());
    let kept = directory.identity().map_err(refused)?;
    let (registry, functions) = match &kept {
        Some(identity) => (
            bind(directory, identity.registry(), "registry").await?,
            bind(directory, identity.functions(), "functions").await?,
        ),
        None => (bind_any(directory).await?, bind_any(directory).await?),
    };
    let addresses =
        || Ok::<_, io::Error>((Listener::local_addr(&registry)?, Listener::local_addr(&functions)?));
    let (registry_address, functions_address) = addresses().map_err(|error| failed(directory, error))?;
    if kept.is_none() {
        let identity = Identity {
            id: random_text(5).map_err(|error| failed(directory, error))?,
            registry_port: registry_address.port(),
            functions_port: functions_address.port(),
        };
        directory.keep_identity(&identity).map_err(refused)?;
    }
    let running = Running {
        pid: std::process::id(),
        registry: registry_address,
        functions: functions_address,
        token: Secret::new(random_text(32).map_err(|error| failed(directory, error))?),
    };
    Ok((registry, functions, running))
}

/// Ports below the range that systems hand out for connections: in it, any program's connection could be in the way when
/// the port is wanted again.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

/// Opens some free port.
async fn bind_any(directory: &StateDirectory) -> Result<TcpListener> {
    for _ in 0..64 {
        let mut random = [0; 2];
        fill_random(&mut random).map_err(|error| failed(directory, error))?;
        let port = PORTS.start + u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| failed(directory, error))
}

async fn bind(directory: &StateDirectory, address: SocketAddr, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse {
            return failed(directory, error);
        }
        let message = format!(
            "port {} on 127.0.0.1, where the {what} of this cloud {} always been, is taken by another program: end \
             that program (`ss -ltnp 'sport = :{}'` shows it), or write another free port into {}",
            address.port(),
            if what == "registry" { "has" } else { "have" },
            address.port(),
            directory.path().join("cloud.json").display(),
        );
        report::error(PORT_TAKEN, directory.path().display(), message)
    })
}

/// `bytes` random bytes in lower-case hexadecimal digits.
fn random_text(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    fill_random(&mut random)?;
    Ok(hex::encode(random))
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}

fn tell(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn redirect_output(directory: &StateDirectory) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(directory.daemon_log())?;
    rustix::stdio::dup2_stdout(&log)?;
    Ok(())
}

fn failed(directory: &StateDirectory, error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "serve", directory.path().display(), error)
}
