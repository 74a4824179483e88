//! Connecting to the clouds that a run works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_contract::{AliasRef, Calls, Provider, Registration, Settings, Started};

use crate::ledger::Ledger;
use crate::manifest::Unit;
use crate::pipeline::{Cloud, Subject};
use crate::progress::{Event, Observer, UnitName};
use crate::providers;

/// What to do with a cloud that is embedded in this program and does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// It is started, and made where there was none.
    Make,
    /// It is started where there is one; there being none is an empty cloud.
    Existing,
    /// Nothing is asked of any cloud.
    Never,
}

/// A cloud that can be asked.
#[derive(Clone)]
pub(super) struct Connected {
    provider: Arc<dyn Provider>,
    cloud: Cloud,
}

impl Connected {
    /// An alias there as something to work on, with a meter of its own.
    pub(super) fn subject(&self, unit: UnitName, at: AliasRef, ledger: &Arc<dyn Ledger>) -> Subject {
        let calls = Calls::default();
        let provider = self.provider.metered(calls.clone());
        Subject { unit, provider, cloud: self.cloud, calls, at, ledger: ledger.clone() }
    }
}

/// The clouds of one run, each connected once.
#[derive(Default)]
pub(super) struct Clouds(BTreeMap<String, Connected>);

impl Clouds {
    /// The cloud of the unit's target. Settings are the target's, so that its name is enough to know it by.
    pub(super) async fn connect(
        &mut self,
        unit: &Unit,
        wake: Wake,
        observer: &dyn Observer,
    ) -> longshore_contract::Result<Connected> {
        if let Some(connected) = self.0.get(&unit.target) {
            return Ok(connected.clone());
        }
        let registration =
            providers::find(&unit.provider).expect("the manifest's reader knows the same providers");
        let connected = connect(registration, &unit.settings, wake, observer, &unit_name(unit)).await?;
        self.0.insert(unit.target.clone(), connected.clone());
        Ok(connected)
    }
}

/// The unit's name for progress and rows.
pub(super) fn unit_name(unit: &Unit) -> UnitName {
    UnitName { function: unit.function.clone(), target: unit.target.clone() }
}

/// Connects to the cloud that `settings` name, after starting it where it is embedded and `wake` says so.
pub(super) async fn connect(
    registration: &Registration,
    settings: &Settings,
    wake: Wake,
    observer: &dyn Observer,
    unit: &UnitName,
) -> longshore_contract::Result<Connected> {
    let mut cloud = Cloud::There;
    if let Some(embedded) = registration.embedded {
        let status = match wake {
            Wake::Make => embedded.up(settings).await.map(Some)?,
            Wake::Existing => embedded.wake(settings).await?,
            Wake::Never => None,
        };
        match status {
            Some(status) if status.started == Started::Now => {
                let functions = format!("http://{}", status.functions);
                observer.event(unit, &Event::CloudStarted { functions });
            }
            Some(_) => {}
            None => cloud = Cloud::NotMade,
        }
    }
    Ok(Connected { provider: (registration.connect)(settings)?, cloud })
}
