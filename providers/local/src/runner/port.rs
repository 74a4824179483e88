//! Ports on loopback, one function each.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StartError;

/// Which port an instance is to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Any that is free.
    Free,
    /// This one, because the image listens nowhere else.
    Fixed(u16),
}

/// The ports that instances have.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(Arc<Mutex<HashMap<u16, String>>>);

/// A port while an instance has it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) port: u16,
    ports: Ports,
}

impl Ports {
    fn table(&self) -> MutexGuard<'_, HashMap<u16, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a port for `label`. Nobody listened on it just now; nobody here gets it until the lease ends.
    pub(super) fn lease(&self, wanted: Port, label: &str) -> Result<Lease, StartError> {
        let mut table = self.table();
        let port = match wanted {
            Port::Fixed(port) => {
                if let Some(by) = table.get(&port) {
                    return Err(StartError::PortTaken { port, by: by.clone() });
                }
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    let by = match error.kind() {
                        io::ErrorKind::AddrInUse => "another process on this machine".to_owned(),
                        _ => format!("nobody, but we may not have it ({error})"),
                    };
                    return Err(StartError::PortTaken { port, by });
                }
                port
            }
            Port::Free => loop {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StartError::NoPort)?;
                let port = listener.local_addr().map_err(StartError::NoPort)?.port();
                if !table.contains_key(&port) {
                    break port;
                }
            },
        };
        table.insert(port, label.to_owned());
        Ok(Lease { port, ports: self.clone() })
    }
}

/// Whether somebody listens on `port` now, on any address.
pub(super) fn is_listened_on(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ports.table().remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_leased_once_and_comes_back() {
        let ports = Ports::default();
        let lease = ports.lease(Port::Free, "a/1").unwrap();
        let fixed = Port::Fixed(lease.port);
        let taken = ports.lease(fixed, "a/2").unwrap_err().to_string();
        assert!(taken.contains("is taken by a/1"), "{taken}");
        drop(lease);
        assert!(ports.lease(fixed, "a/2").is_ok());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fixed = Port::Fixed(listener.local_addr().unwrap().port());
        let taken = Ports::default().lease(fixed, "a/1").unwrap_err().to_string();
        assert!(taken.contains("another process"), "{taken}");
    }
}
