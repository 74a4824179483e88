//! Whose certificates are trusted.
//!
//! Loading the machine's roots takes longer than a small deploy, so it happens when the first TLS connection is wanted and
//! not before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The roots everybody trusts here, loaded once.
#[derive(Default)]
pub(crate) struct Roots(OnceLock<Result<Arc<RootCertStore>, String>>);

impl Roots {
    /// The machine's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Blocks while it reads files.
    fn load(&self) -> Result<Arc<RootCertStore>, String> {
        let load = || {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(found.certs);
            if let (true, Some(error)) = (store.is_empty(), found.errors.first()) {
                return Err(format!("no trusted certificate could be loaded: {error}"));
            }
            Ok(Arc::new(store))
        };
        self.0.get_or_init(load).clone()
    }

    #[cfg(test)]
    pub(crate) fn are_loaded(&self) -> bool {
        self.0.get().is_some()
    }

    /// A configuration that trusts the usual roots and the certificates in `files`. Blocks while it reads them.
    pub(crate) fn trusting(&self, files: &[PathBuf]) -> Result<ClientConfig, String> {
        let mut roots = self.load()?;
        for file in files {
            let shown = file.display();
            let certificates = read(file).map_err(|error| format!("{shown}: {error}"))?;
            let store = Arc::make_mut(&mut roots);
            for certificate in certificates {
                store.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
            }
        }
        Ok(configuration(roots))
    }
}

/// A configuration that trusts the certificates in `ca` alone and shows the one in `certificate`. Blocks while it reads them.
pub(crate) fn mutual(ca: &Path, certificate: &Path, key: &Path) -> Result<ClientConfig, String> {
    let named = |file: &Path| {
        let shown = file.display().to_string();
        move |problem: String| format!("{shown}: {problem}")
    };
    let mut roots = RootCertStore::empty();
    for trusted in read(ca).map_err(|error| named(ca)(error.to_string()))? {
        roots.add(trusted).map_err(|error| named(ca)(error.to_string()))?;
    }
    let chain = read(certificate).map_err(|error| named(certificate)(error.to_string()))?;
    let text = bounded(key).map_err(|error| named(key)(error.to_string()))?;
    // What is wrong with a key is not quoted.
    let private =
        PrivateKeyDer::from_pem_slice(&text).map_err(|_| named(key)("no private key in PEM".to_owned()))?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .map_err(|_| named(key)("the key does not go with the certificate".to_owned()))
}

/// A configuration under which no server is trusted, for connections that speak no TLS.
pub(crate) fn trusting_nobody() -> ClientConfig {
    configuration(Arc::new(RootCertStore::empty()))
}

fn configuration(roots: Arc<RootCertStore>) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

const FILE_LIMIT: u64 = 1 << 20;

fn wrong(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn bounded(file: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(wrong(format!("larger than {FILE_LIMIT} bytes")));
    }
    Ok(text)
}

fn read(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = bounded(file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// The directories in which container tools keep a folder of certificates per registry.
pub(crate) fn usual_directories() -> Vec<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .filter(|home| home.is_absolute());
    let mut directories = vec!["/etc/docker/certs.d".into(), "/etc/containers/certs.d".into()];
    directories.extend(home.map(|home| home.join("containers/certs.d")));
    directories
}

/// Every `*.crt` for `host` in `directories`, where it is `HOST/*.crt` or, if a port is known, `HOST:PORT/*.crt`.
pub(crate) fn certificates_for(directories: &[PathBuf], host: &str, port: Option<u16>) -> Vec<PathBuf> {
    // A host is a folder's name here; one that is no plain name is nobody's registry.
    if host.is_empty() || host.starts_with('.') || host.contains('/') {
        return Vec::new();
    }
    let mut files = Vec::new();
    for directory in directories {
        let names = std::iter::once(host.to_owned()).chain(port.map(|port| format!("{host}:{port}")));
        for folder in names.map(|name| directory.join(name)) {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "crt")));
        }
    }
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_certificates_are_found_by_host_and_port() {
        let directory = tempfile::tempdir().unwrap();
        for (folder, name) in [("h:5000", "ca.crt"), ("h:5000", "client.key"), ("h", "b.crt"), ("i", "c.crt")]
        {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
            std::fs::write(directory.path().join(folder).join(name), "").unwrap();
        }
        let directories = [directory.path().to_owned(), directory.path().join("absent")];
        let found = certificates_for(&directories, "h", Some(5000));
        assert_eq!(found, [directory.path().join("h/b.crt"), directory.path().join("h:5000/ca.crt")]);
        assert!(certificates_for(&directories[..1], "..", None).is_empty());
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        std::fs::write(&file, "nothing").unwrap();
        let error = Roots::default().trusting(std::slice::from_ref(&file)).unwrap_err();
        assert!(error.contains("ca.crt: no certificate in it"), "{error}");
        let error = Roots::default().trusting(&[directory.path().join("gone.crt")]).unwrap_err();
        assert!(error.contains("gone.crt"), "{error}");
    }
}
