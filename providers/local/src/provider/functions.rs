//! Functions, versions and aliases of a local cloud.

use async_trait::async_trait;
use longshore_contract::{
    Alias, AliasRef, AliasWrite, Function, FunctionName, Functions, Invocation, Payload, Published,
    Qualifier, Release, Result, VersionSummary,
};

use crate::control::wire::{FunctionView, PAGE, VersionView, function_path};
use crate::provider::Local;
use crate::provider::client::Reached;
use crate::state::Identity;

#[async_trait]
impl Functions for Local {
    async fn describe(&self, name: &FunctionName, at: &Qualifier) -> Result<Option<Function>> {
        let path = format!("{}?at={at}", function_path(name));
        let view: FunctionView = match self.client.look(&path, "describe", name).await? {
            Reached::Found(view) => view,
            Reached::Absent | Reached::NeverStarted => return Ok(None),
        };
        let host = self.identity()?.map(Identity::functions);
        Ok(Some(Function {
            version: view.version,
            digest: view.digest,
            config: view.settings.config(),
            state: view.state,
            url: host.zip(view.path).map(|(host, path)| format!("http://{host}{path}")),
        }))
    }

    async fn release(&self, release: &Release) -> Result<Published> {
        self.make_version(release).await
    }

    async fn alias(&self, at: &AliasRef) -> Result<Option<Alias>> {
        self.read_alias(at).await
    }

    async fn route(&self, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
        self.write_alias(at, write).await
    }

    async fn versions(&self, name: &FunctionName, limit: usize) -> Result<Vec<VersionSummary>> {
        let mut found: Vec<VersionSummary> = Vec::new();
        loop {
            let wanted = (limit - found.len()).min(PAGE);
            let mut path = format!("{}/versions?limit={wanted}", function_path(name));
            if let Some(last) = found.last() {
                path.push_str(&format!("&before={}", last.version));
            }
            let page: Vec<VersionView> = match self.client.look(&path, "list the versions of", name).await? {
                Reached::Found(page) => page,
                Reached::Absent | Reached::NeverStarted => Vec::new(),
            };
            let ends = page.len() < wanted;
            found.extend(page.into_iter().map(|view| VersionSummary {
                version: view.version,
                digest: Some(view.digest),
                published: Some(view.published),
            }));
            if ends || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    async fn invoke(&self, name: &FunctionName, at: &Qualifier, payload: &Payload) -> Result<Invocation> {
        self.invoke_function(name, at, payload).await
    }
}
