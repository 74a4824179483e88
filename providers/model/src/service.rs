//! The service and its operations.

use std::collections::BTreeMap;

use jiff::Timestamp;
use longshore_contract::{AliasName, FunctionName, PublishDedup, Routing, Share, State, Version};
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::function::{AliasRecord, Function, Head, VersionRecord};
use crate::refusal::{Code, Refusal};
use crate::request::{Create, Guard, Outcome, Publish, PutAlias, Update};
use crate::stored::Stored;

/// How many bytes a description holds.
pub const DESCRIPTION_LIMIT: usize = 256;

type Result<T> = std::result::Result<T, Refusal>;

/// All functions of one cloud. Serialised it names its format, and a newer format is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Service {
    pub(crate) revision: u64,
    pub(crate) functions: BTreeMap<FunctionName, Function>,
    /// Where the numbers of deleted functions went on, so that a function made anew does not give them out again.
    pub(crate) retired: BTreeMap<FunctionName, u64>,
}

/// What publishing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// A new version, pending until it is settled.
    Made(u64),
    /// The version that the same intent, or the same content, made before.
    Existed(u64),
}

impl Published {
    /// The version's number.
    pub fn number(self) -> u64 {
        match self {
            Self::Made(number) | Self::Existed(number) => number,
        }
    }
}

impl Service {
    /// The functions by name.
    pub fn functions(&self) -> &BTreeMap<FunctionName, Function> {
        &self.functions
    }

    /// One function.
    pub fn function(&self, name: &FunctionName) -> Result<&Function> {
        self.functions.get(name).ok_or_else(|| no_function(name))
    }

    /// One version of a function.
    pub fn version(&self, name: &FunctionName, number: u64) -> Result<&VersionRecord> {
        self.function(name)?.versions.get(&number).ok_or_else(|| no_version(name, number))
    }

    /// One alias of a function.
    pub fn alias(&self, name: &FunctionName, alias: &AliasName) -> Result<&AliasRecord> {
        self.function(name)?.aliases.get(alias).ok_or_else(|| no_alias(name, alias))
    }

    /// A function's versions, newest first, at most `limit`, all of them below `before` where one is stated: pass the
    /// last number of a page to get the next.
    pub fn versions(
        &self,
        name: &FunctionName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, &VersionRecord)>> {
        let below = before.unwrap_or(u64::MAX);
        let versions = &self.function(name)?.versions;
        Ok(versions.range(..below).rev().take(limit).map(|(number, version)| (*number, version)).collect())
    }

    /// Makes a function, pending.
    pub fn create(&mut self, create: Create, at: Timestamp) -> Result<()> {
        if self.functions.contains_key(&create.function) {
            let message = format!("the function {} exists already", create.function);
            return Err(Refusal::new(Code::ResourceConflict, message));
        }
        let head = Head {
            content: Content { image: create.image, configuration: create.configuration },
            state: State::Pending,
            fallback: None,
            intent: create.intent,
            updated: at,
            revision: self.step(),
            published_as: None,
        };
        let next_version = self.retired.remove(&create.function).unwrap_or(1);
        let function = Function { head, versions: BTreeMap::new(), aliases: BTreeMap::new(), next_version };
        self.functions.insert(create.function, function);
        Ok(())
    }

    /// Changes a function's head, which is pending then. Answers whether anything changed: a repeated intent changes
    /// nothing.
    pub fn update(&mut self, update: Update, at: Timestamp) -> Result<Changed> {
        let function = self.function(&update.function)?;
        let head = &function.head;
        let repeated = update.intent.is_some() && update.intent == head.intent;
        // What an update begins from: a failed one leaves nothing behind but its reason.
        let base = if repeated && head.state == State::Pending {
            &head.content
        } else {
            head.settled().unwrap_or(&head.content)
        };
        let content = Content {
            image: update.image.unwrap_or_else(|| base.image.clone()),
            configuration: base.configuration.with(&update.changes),
        };
        if repeated && content == head.content && !matches!(head.state, State::Failed { .. }) {
            return Ok(Changed::No);
        }
        if head.state == State::Pending {
            let message = format!(
                "an update of {} is under way since {:.0}{}",
                update.function,
                head.updated,
                head.intent.map(|intent| format!(" (run {})", intent.run)).unwrap_or_default()
            );
            return Err(Refusal::new(Code::Busy, message));
        }
        check_revision(&update.function, update.revision, head.revision)?;
        let head = Head {
            content,
            state: State::Pending,
            fallback: head.settled().cloned(),
            intent: update.intent,
            updated: at,
            revision: self.step(),
            published_as: None,
        };
        self.function_mut(&update.function)?.head = head;
        Ok(Changed::Yes)
    }

    /// Brings the head's pending update to its end. `revision` is the head's, as it was when the update was accepted.
    pub fn settle_update(&mut self, name: &FunctionName, revision: u64, outcome: &Outcome) -> Result<()> {
        let head = &self.function(name)?.head;
        if head.state != State::Pending || head.revision != revision {
            let message = format!("no update of {name} with revision {revision} is under way");
            return Err(Refusal::new(Code::PreconditionFailed, message));
        }
        let next = self.step();
        let head = &mut self.function_mut(name)?.head;
        head.state = state_of(outcome);
        head.revision = next;
        if head.state == State::Active {
            head.fallback = None;
        }
        Ok(())
    }

    /// Makes a version of the head, pending until [`Service::settle_version`].
    pub fn publish(&mut self, publish: Publish, at: Timestamp) -> Result<Published> {
        let function = self.function(&publish.function)?;
        let made_by = |(number, version): (&u64, &VersionRecord)| {
            (publish.intent.is_some() && version.intent == publish.intent).then_some(*number)
        };
        if let Some(number) = function.versions.iter().rev().find_map(made_by) {
            return Ok(Published::Existed(number));
        }
        check_description(&publish.description)?;
        let head = &function.head;
        match &head.state {
            State::Active => {}
            State::Pending => {
                let message =
                    format!("an update of {} is under way: publish when it is done", publish.function);
                return Err(Refusal::new(Code::Busy, message));
            }
            State::Failed { why } => {
                let message = format!("the newest update of {} failed: {why}", publish.function);
                return Err(Refusal::new(Code::Failed, message));
            }
        }
        check_revision(&publish.function, publish.revision, head.revision)?;
        let unchanged = function
            .versions
            .last_key_value()
            .filter(|(_, newest)| {
                newest.content == head.content && !matches!(newest.state, State::Failed { .. })
            })
            .map(|(number, _)| *number);
        if let (PublishDedup::ByContent, Some(number)) = (publish.dedup, unchanged) {
            self.function_mut(&publish.function)?.head.published_as = Some(number);
            return Ok(Published::Existed(number));
        }
        let record = VersionRecord {
            content: head.content.clone(),
            state: State::Pending,
            description: publish.description,
            intent: publish.intent,
            published: at,
            revision: self.step(),
        };
        let function = self.function_mut(&publish.function)?;
        let number = function.next_version;
        function.next_version += 1;
        function.head.published_as = Some(number);
        function.versions.insert(number, record);
        Ok(Published::Made(number))
    }

    /// Says whether a pending version serves.
    pub fn settle_version(&mut self, name: &FunctionName, number: u64, outcome: &Outcome) -> Result<()> {
        if self.version(name, number)?.state != State::Pending {
            let message = format!("version {number} of {name} is settled already");
            return Err(Refusal::new(Code::PreconditionFailed, message));
        }
        let next = self.step();
        let function = self.function_mut(name)?;
        let version = function.versions.get_mut(&number).ok_or_else(|| no_version(name, number))?;
        version.state = state_of(outcome);
        version.revision = next;
        Ok(())
    }

    /// Writes a whole alias; nothing of what it was survives.
    pub fn put_alias(&mut self, put: PutAlias, at: Timestamp) -> Result<&AliasRecord> {
        let function = self.function(&put.function)?;
        check_guard(&put, function.aliases.get(&put.alias))?;
        check_description(&put.description)?;
        check_routing(&put.function, function, &put.routing)?;
        let record = AliasRecord {
            routing: put.routing,
            description: put.description,
            written: at,
            revision: self.step(),
        };
        let aliases = &mut self.function_mut(&put.function)?.aliases;
        aliases.insert(put.alias.clone(), record);
        aliases.get(&put.alias).ok_or_else(|| no_alias(&put.function, &put.alias))
    }

    /// Deletes an alias.
    pub fn delete_alias(
        &mut self,
        name: &FunctionName,
        alias: &AliasName,
        revision: Option<u64>,
    ) -> Result<()> {
        check_revision(format_args!("{name}:{alias}"), revision, self.alias(name, alias)?.revision)?;
        self.step();
        self.function_mut(name)?.aliases.remove(alias);
        Ok(())
    }

    /// Deletes a version that no alias names. Its number never comes back.
    pub fn delete_version(&mut self, name: &FunctionName, number: u64) -> Result<()> {
        self.version(name, number)?;
        let function = self.function(name)?;
        if let Some((alias, _)) = function.aliases.iter().find(|(_, alias)| alias.names(number)) {
            let message = format!("the alias {alias} sends traffic to version {number} of {name}");
            return Err(Refusal::new(Code::InUse, message));
        }
        self.step();
        let function = self.function_mut(name)?;
        function.versions.remove(&number);
        if function.head.published_as == Some(number) {
            function.head.published_as = None;
        }
        Ok(())
    }

    /// Deletes a function that has no aliases, with its versions.
    pub fn delete_function(&mut self, name: &FunctionName) -> Result<()> {
        if let Some(alias) = self.function(name)?.aliases.keys().next() {
            let message = format!("{name} has the alias {alias}: delete its aliases first");
            return Err(Refusal::new(Code::InUse, message));
        }
        self.step();
        if let Some(function) = self.functions.remove(name) {
            self.retired.insert(name.clone(), function.next_version);
        }
        Ok(())
    }

    /// A revision that nothing had before.
    fn step(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn function_mut(&mut self, name: &FunctionName) -> Result<&mut Function> {
        self.functions.get_mut(name).ok_or_else(|| no_function(name))
    }
}

/// Whether an operation changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// It was as asked already.
    No,
}

fn state_of(outcome: &Outcome) -> State {
    match outcome {
        Outcome::Ok => State::Active,
        Outcome::Failed(why) => State::Failed { why: why.clone() },
    }
}

fn no_function(name: &FunctionName) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("there is no function {name}"))
}

fn no_version(name: &FunctionName, version: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("there is no version {version} of {name}"))
}

fn no_alias(name: &FunctionName, alias: &AliasName) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("there is no alias {alias} of {name}"))
}

fn check_revision(subject: impl std::fmt::Display, asked: Option<u64>, found: u64) -> Result<()> {
    match asked {
        Some(asked) if asked != found => {
            let message = format!("{subject} has revision {found}, not {asked}: somebody else changed it");
            Err(Refusal::new(Code::PreconditionFailed, message))
        }
        _ => Ok(()),
    }
}

fn check_description(description: &str) -> Result<()> {
    if description.len() > DESCRIPTION_LIMIT {
        let length = description.len();
        let message = format!("a description holds {DESCRIPTION_LIMIT} bytes, this one has {length}");
        return Err(Refusal::new(Code::InvalidParameter, message));
    }
    Ok(())
}

fn check_guard(put: &PutAlias, found: Option<&AliasRecord>) -> Result<()> {
    let subject = format!("{}:{}", put.function, put.alias);
    match (put.guard, found) {
        (Guard::Absent, None) | (Guard::Present, Some(_)) => Ok(()),
        (Guard::Absent, Some(_)) => {
            Err(Refusal::new(Code::ResourceConflict, format_args!("the alias {subject} exists already")))
        }
        (Guard::Present, None) => Err(no_alias(&put.function, &put.alias)),
        (Guard::Revision(asked), Some(found)) => check_revision(subject, Some(asked), found.revision),
        (Guard::Revision(asked), None) => {
            let message = format!("{subject} was deleted since its revision {asked} was read");
            Err(Refusal::new(Code::PreconditionFailed, message))
        }
    }
}

/// A routing may be written if it is one that [`Routing::split`] makes and both its versions can serve.
fn check_routing(name: &FunctionName, function: &Function, routing: &Routing) -> Result<()> {
    if let Routing::Split { stable, canary, share } = routing {
        let invalid = |message: &str| Err(Refusal::new(Code::InvalidParameter, message));
        if stable == canary {
            return invalid("traffic is split between two different versions");
        }
        if *share <= Share::NONE || *share >= Share::ALL {
            return invalid("a share lies strictly between 0% and 100%");
        }
    }
    [Some(routing.stable()), routing.canary()]
        .into_iter()
        .flatten()
        .try_for_each(|version| check_serves(name, function, version))
}

fn check_serves(name: &FunctionName, function: &Function, version: &Version) -> Result<()> {
    // "007" is not version 7: a number has one spelling.
    let number = version.as_str().parse::<u64>().ok().filter(|number| number.to_string() == version.as_str());
    let record = number.and_then(|number| function.versions.get(&number));
    match record.map(|record| &record.state) {
        None => Err(no_version(name, version)),
        Some(State::Active) => Ok(()),
        Some(State::Pending) => {
            Err(Refusal::new(Code::Busy, format_args!("version {version} of {name} does not serve yet")))
        }
        Some(State::Failed { why }) => {
            let message = format!("version {version} of {name} does not serve: {why}");
            Err(Refusal::new(Code::Failed, message))
        }
    }
}
