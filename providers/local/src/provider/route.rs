//! Reading and writing aliases.

use longshore_contract::{
    Alias, AliasRef, AliasWrite, AliasWrites, Error, ErrorKind, Expect, Note, Result, Revision, failpoint,
};
use longshore_model::DESCRIPTION_LIMIT;
use sha2::{Digest as _, Sha256};

use crate::control::wire::{AliasBody, AliasView, GuardBody, alias_path};
use crate::provider::Local;
use crate::provider::client::Reached;

const OPERATION: &str = "move alias";

impl Local {
    /// The alias as it is: one request.
    pub(super) async fn read_alias(&self, at: &AliasRef) -> Result<Option<Alias>> {
        let found = self.client.look(&alias_path(&at.function, &at.alias), "read alias", at).await?;
        Ok(match found {
            Reached::Found(view) => Some(self.alias_of(view)),
            Reached::Absent | Reached::NeverStarted => None,
        })
    }

    /// Writes the alias: one request, which the daemon guards; where writes are checked only, between two reads.
    pub(super) async fn write_alias(&self, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
        match self.capabilities.alias_writes {
            AliasWrites::Atomic => {
                let guard = match &write.expect {
                    Expect::Absent => GuardBody::Absent,
                    Expect::Revision(revision) => {
                        GuardBody::Revision(revision.as_str().parse().map_err(|_| {
                            let message = format!("{:?} is no revision of this cloud's", revision.as_str());
                            Error::new(ErrorKind::Invalid, OPERATION, at, message)
                        })?)
                    }
                };
                self.put(at, write, guard).await
            }
            AliasWrites::Checked => {
                let before = self.read_alias(at).await?;
                let guard = match (&write.expect, &before) {
                    (Expect::Absent, None) => GuardBody::Absent,
                    (Expect::Revision(expected), Some(found)) if *expected == found.revision => {
                        GuardBody::Present
                    }
                    _ => return Err(changed(at, before.as_ref())),
                };
                let written = self.put(at, write, guard).await?;
                match self.read_alias(at).await {
                    Ok(Some(after)) if after == written => Ok(after),
                    Ok(after) => Err(changed(at, after.as_ref())),
                    Err(error) => {
                        let message = format!("it was written and could not be read back: {}", error.message);
                        Err(Error::new(ErrorKind::Indeterminate, OPERATION, at, message))
                    }
                }
            }
        }
    }

    async fn put(&self, at: &AliasRef, write: &AliasWrite, guard: GuardBody) -> Result<Alias> {
        let body = AliasBody {
            routing: write.routing.clone(),
            description: write.note.render(DESCRIPTION_LIMIT),
            guard,
        };
        failpoint::hit("local.route.before");
        let path = alias_path(&at.function, &at.alias);
        let view: AliasView = self.client.write("PUT", &path, &body, OPERATION, at).await?;
        failpoint::answer("local.route").map_err(|_| lost(OPERATION, at))?;
        Ok(self.alias_of(view))
    }

    fn alias_of(&self, view: AliasView) -> Alias {
        let revision = match self.capabilities.alias_writes {
            AliasWrites::Atomic => view.revision.to_string(),
            // A cloud without revisions has nothing to offer but what was read.
            AliasWrites::Checked => fingerprint(&view),
        };
        Alias {
            routing: view.routing,
            revision: Revision::from_provider(revision),
            note: Note::parse(&view.description),
        }
    }
}

/// An answer that a test says was lost.
pub(super) fn lost(operation: &'static str, subject: impl ToString) -> Error {
    let message = "the request was sent and no answer came: it may have been carried out";
    Error::new(ErrorKind::Indeterminate, operation, subject, message)
}

fn changed(at: &AliasRef, found: Option<&Alias>) -> Error {
    let message = match found {
        Some(alias) => {
            format!("somebody else wrote it: {} (revision {})", alias.routing, alias.revision.as_str())
        }
        None => "it does not exist any more".to_owned(),
    };
    Error::new(ErrorKind::Conflict, OPERATION, at, message).with_code("Changed")
}

fn fingerprint(view: &AliasView) -> String {
    let mut hash = Sha256::new();
    hash.update(view.routing.to_string());
    hash.update([0]);
    hash.update(&view.description);
    hex::encode(&hash.finalize()[..8])
}
