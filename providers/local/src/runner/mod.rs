//! stub until the merge
use crate::registry::Registry;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
#[derive(Debug, Clone)]
pub struct Runner;
pub struct Launch {
    pub image: crate::registry::StoredImage,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub port: Option<u16>,
    pub log: PathBuf,
}
#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct StartError;
#[derive(Debug)]
pub struct Instance {
    pub address: SocketAddr,
    pub pid: u32,
}
impl Runner {
    pub fn open(_: &Path, _: Registry) -> std::io::Result<Self> {
        Ok(Self)
    }
    pub async fn start(&self, _: Launch) -> Result<Instance, StartError> {
        Err(StartError)
    }
}
impl Instance {
    pub async fn exited(&self) -> String {
        std::future::pending().await
    }
    pub async fn stop(&self, _: Duration) {}
}
