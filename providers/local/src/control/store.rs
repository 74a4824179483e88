//! The functions' state on disk: a write is acknowledged when it would survive the process.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use longshore_model::{Refusal, Service};
use serde::{Deserialize, Serialize};

use crate::control::journal::{Journal, Line, Write};
use crate::reactor::off_the_reactor;
use crate::state::{
    FolderSync, Replaced, StateDirectory, StateError, damaged, io_error, sync_parent, write_whole_with,
};

/// The state and whoever may write it.
pub(crate) struct Store {
    path: PathBuf,
    service: RwLock<Arc<Service>>,
    writer: Mutex<Writer>,
    sync: FolderSync,
}

struct Writer {
    journal: Journal,
    /// The number of the last write.
    writes: u64,
    /// Whether a power cut could take the state back to what it was before the last write.
    loose: bool,
}

/// What is written: the state, and how many writes made it.
#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    writes: u64,
    service: S,
}

/// A write that was not carried out, or not for certain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The service said no. The state is as it was.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk said no. The state is as it was.
    #[error("the write is not accepted because it could not be kept: {0}")]
    Unkept(#[from] StateError),
    /// The disk took the write and did not say that it would keep it. The state is the new one.
    #[error("the write was carried out, and may not survive a power cut: {0}")]
    Unsure(StateError),
}

/// What came of a write that was carried out.
#[derive(Debug)]
#[must_use]
pub(crate) struct Written<T> {
    /// What the operation answers.
    pub(crate) answer: T,
    /// Whether it survives a power cut too.
    pub(crate) durable: Result<(), StateError>,
}

impl<T> Written<T> {
    /// The answer, for whom nothing but a durable write will do.
    pub(crate) fn durably(self) -> Result<T, WriteError> {
        self.durable.map_err(WriteError::Unsure).map(|()| self.answer)
    }
}

/// What an operation came to: its answer, and the line for the journal where somebody asked for a write.
pub(crate) struct Done<T> {
    pub(crate) answer: T,
    pub(crate) write: Option<Write>,
}

impl Store {
    /// Opens the state in `directory`; an empty one where there is none.
    pub(crate) fn open(directory: &StateDirectory) -> Result<Self, StateError> {
        let path = directory.functions().join("state.json");
        let snapshot: Snapshot<Service> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Snapshot { writes: 0, service: Service::default() }
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let journal = directory.functions().join("journal.jsonl");
        let journal = Journal::open(&journal, snapshot.writes).map_err(io_error("open", &journal))?;
        // Whoever wrote it last may not have been able to make it stay.
        let writer = Mutex::new(Writer { journal, writes: snapshot.writes, loose: true });
        let service = RwLock::new(Arc::new(snapshot.service));
        Ok(Self { path, service, writer, sync: sync_parent })
    }

    /// The state as it is now. Never waits for a disk.
    pub(crate) fn service(&self) -> Arc<Service> {
        self.service.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Carries `operation` out on the state. When this returns, what it changed survives a kill, and a power cut unless
    /// it says otherwise; on an error nothing is changed, neither on disk nor in memory.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut Service, Timestamp) -> Result<Done<T>, Refusal> + Send + 'static,
    ) -> Result<Written<T>, WriteError> {
        let store = Arc::clone(self);
        off_the_reactor(move || store.write_now(operation)).await
    }

    fn write_now<T>(
        &self,
        operation: impl FnOnce(&mut Service, Timestamp) -> Result<Done<T>, Refusal>,
    ) -> Result<Written<T>, WriteError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.service();
        let mut service = Service::clone(&before);
        let at = Timestamp::now();
        let Done { answer, write } = operation(&mut service, at)?;
        let replaced = if service != *before {
            let replaced = self.keep(&mut writer, &service, at, write)?;
            *self.service.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(service);
            replaced
        } else if writer.loose {
            // What is there already is acknowledged here: it has to stay.
            self.hold()
        } else {
            Replaced::Durably
        };
        writer.loose = matches!(replaced, Replaced::Unsurely(_));
        Ok(Written { answer, durable: replaced.durably() })
    }

    /// Tries again to make the last write stay.
    fn hold(&self) -> Replaced {
        match (self.sync)(&self.path) {
            Ok(()) => Replaced::Durably,
            Err(error) => Replaced::Unsurely(io_error("sync the folder of", &self.path)(error)),
        }
    }

    /// The journal first, the state second: a line without its state is cut off when the journal is opened again. The
    /// line stays when only the folder could not be synced: what it tells of is what anybody reads from here on.
    fn keep(
        &self,
        writer: &mut Writer,
        service: &Service,
        at: Timestamp,
        write: Option<Write>,
    ) -> Result<Replaced, StateError> {
        let journal = self.path.with_file_name("journal.jsonl");
        let end = writer.journal.end().map_err(io_error("write", &journal))?;
        let number = writer.writes + u64::from(write.is_some());
        if let Some(write) = write {
            let line = Line { number, at, write };
            writer.journal.append(&line).map_err(io_error("write", &journal))?;
        }
        let snapshot = serde_json::to_vec(&Snapshot { writes: number, service })
            .map_err(|error| damaged(&self.path, error))?;
        let replaced = match write_whole_with(&self.path, &snapshot, 0o600, self.sync) {
            Ok(replaced) => replaced,
            Err(error) => {
                writer.journal.cut(end).map_err(io_error("write", &journal))?;
                return Err(error);
            }
        };
        writer.writes = number;
        Ok(replaced)
    }
}

#[cfg(test)]
mod tests {
    use longshore_contract::FunctionName;
    use longshore_model::{Code, Configuration, Create, Image};

    use super::*;
    use crate::control::journal::Action;

    fn create(
        name: &str,
    ) -> impl FnOnce(&mut Service, Timestamp) -> Result<Done<()>, Refusal> + Send + 'static {
        let function: FunctionName = name.parse().unwrap();
        move |service, at| {
            let digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
            let image = Image { location: "shop".to_owned(), digest };
            let write = Write {
                action: Action::CreateFunction,
                subject: function.to_string(),
                intent: None,
                run: None,
                routing: None,
            };
            let configuration = Configuration::default();
            service.create(Create { function, image, configuration, intent: None }, at)?;
            Ok(Done { answer: (), write: Some(write) })
        }
    }

    fn directory() -> (tempfile::TempDir, StateDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(folder.path().to_owned());
        directory.make().unwrap();
        (folder, directory)
    }

    fn journal(directory: &StateDirectory) -> Vec<Line> {
        let text = fs::read_to_string(directory.functions().join("journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn an_acknowledged_write_is_there_when_the_state_is_opened_again() {
        let (_folder, directory) = directory();
        let store = Arc::new(Store::open(&directory).unwrap());
        store.write(create("a")).await.unwrap().durably().unwrap();
        store.write(create("b")).await.unwrap().durably().unwrap();
        let kept = store.service();
        drop(store);
        assert_eq!(*Store::open(&directory).unwrap().service(), *kept);
        assert_eq!(journal(&directory).iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test]
    async fn a_refused_write_leaves_no_line() {
        let (_folder, directory) = directory();
        let store = Arc::new(Store::open(&directory).unwrap());
        store.write(create("a")).await.unwrap().durably().unwrap();
        let error = store.write(create("a")).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused(Refusal { code: Code::ResourceConflict, .. })));
        assert_eq!(journal(&directory).len(), 1);
    }

    #[tokio::test]
    async fn a_write_that_cannot_be_kept_is_refused_and_changes_nothing() {
        let (_folder, directory) = directory();
        let store = Arc::new(Store::open(&directory).unwrap());
        store.write(create("a")).await.unwrap().durably().unwrap();
        let before = store.service();
        let in_the_way = directory.functions().join("state.json.new");
        fs::create_dir(&in_the_way).unwrap();
        let error = store.write(create("b")).await.unwrap_err();
        assert!(error.to_string().contains("could not be kept"), "{error}");
        assert_eq!(*store.service(), *before);
        assert_eq!(journal(&directory).len(), 1);
        fs::remove_dir(&in_the_way).unwrap();
        store.write(create("b")).await.unwrap().durably().unwrap();
        assert_eq!(journal(&directory).iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test]
    async fn a_write_that_the_disk_may_lose_is_there_and_said_to_be_unsure() {
        let (_folder, directory) = directory();
        let mut store = Store::open(&directory).unwrap();
        store.sync = |_| Err(io::Error::other("the disk is loose"));
        let store = Arc::new(store);
        let error = store.write(create("a")).await.unwrap().durably().unwrap_err();
        assert!(matches!(error, WriteError::Unsure(_)), "{error:?}");
        assert!(error.to_string().contains("the disk is loose"), "{error}");
        // What is answered from memory is what a restarted daemon would answer.
        let kept = store.service();
        assert!(kept.function(&"a".parse().unwrap()).is_ok());
        assert_eq!(journal(&directory).iter().map(|line| line.number).collect::<Vec<_>>(), [1]);
        let nothing = || store.write(|_, _| Ok(Done { answer: (), write: None }));
        assert!(nothing().await.unwrap().durable.is_err(), "a repeated request is not sure either");
        drop(store);
        let store = Arc::new(Store::open(&directory).unwrap());
        assert_eq!(*store.service(), *kept);
        store.write(|_, _| Ok(Done { answer: (), write: None })).await.unwrap().durably().unwrap();
        store.write(create("b")).await.unwrap().durably().unwrap();
        assert_eq!(journal(&directory).iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2]);
    }
}
