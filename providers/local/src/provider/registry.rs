//! The registry that goes with a local cloud.

use async_trait::async_trait;
use longshore_contract::{Credential, Ensured, Error, ErrorKind, Login, Registry, Repository, Result};

use crate::provider::Local;

#[async_trait]
impl Registry for Local {
    /// `127.0.0.1:PORT/PATH`. A cloud that was never started has no port yet: then the host stands alone, which is good
    /// for a plan's reader and for nothing else.
    fn repository(&self, path: &str) -> Result<Repository> {
        let host = match self.identity()? {
            Some(identity) => identity.registry().to_string(),
            None => "127.0.0.1".to_owned(),
        };
        format!("{host}/{path}")
            .parse()
            .map_err(|error| Error::new(ErrorKind::Invalid, "name the repository", path, error))
    }

    /// A repository is there as soon as something is pushed to it.
    async fn ensure_repository(&self, _repository: &Repository) -> Result<Ensured> {
        Ok(Ensured::Existed)
    }

    async fn login(&self, _repository: &Repository) -> Result<Login> {
        let endpoint = self.registry_endpoint.clone();
        Ok(Login { credential: Credential::Anonymous, ends: None, endpoint })
    }
}
