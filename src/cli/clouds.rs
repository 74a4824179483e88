//! Connecting to the clouds that a run works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_contract::{
    AliasName, AliasRef, Calls, Error, ErrorKind, Provider, Registration, Settings, Started,
};

use crate::ledger::Ledger;
use crate::manifest::Unit;
use crate::pipeline::{Cloud, Failure, Subject};
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

/// One alias that a verb acts on, and its cloud where that could be connected to: a cloud that cannot be reached is its
/// own row's failure and nobody else's.
pub(super) struct Seat {
    /// Which alias.
    pub(super) who: Who,
    /// What the manifest says of it, where there is one.
    pub(super) unit: Option<Unit>,
    /// What there is to work on.
    pub(super) subject: Result<Subject, Failure>,
}

/// An alias by all its names.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// What the manifest calls it.
    pub(super) name: UnitName,
    /// The provider's word.
    pub(super) provider: String,
    /// The alias.
    pub(super) at: AliasRef,
}

/// The clouds of one run, each connected once.
pub(super) struct Clouds<'a> {
    connected: BTreeMap<String, Connected>,
    wake: Wake,
    observer: &'a dyn Observer,
}

impl<'a> Clouds<'a> {
    /// No cloud yet.
    pub(super) fn new(wake: Wake, observer: &'a dyn Observer) -> Self {
        Self { connected: BTreeMap::new(), wake, observer }
    }

    /// The seat of a unit's alias. Settings are the target's, so that its name is enough to know a cloud by.
    pub(super) async fn seat(
        &mut self,
        unit: Unit,
        alias: Option<AliasName>,
        ledger: &Arc<dyn Ledger>,
    ) -> Seat {
        let at = AliasRef { function: unit.name.clone(), alias: alias.unwrap_or_else(|| unit.alias.clone()) };
        let name = unit_name(&unit);
        let registration =
            providers::find(&unit.provider).expect("the manifest's reader knows the same providers");
        let connected = match self.connected.get(&unit.target) {
            Some(connected) => Ok(connected.clone()),
            None => connect(registration, &unit.settings, self.wake, self.observer, &name).await,
        };
        if let Ok(connected) = &connected {
            self.connected.insert(unit.target.clone(), connected.clone());
        }
        let who = Who { name, provider: unit.provider.clone(), at };
        Seat { subject: subject(connected, &who, ledger), who, unit: Some(unit) }
    }

    /// The seat of an alias that is named by its full address.
    pub(super) async fn addressed(
        &self,
        registration: &Registration,
        settings: &Settings,
        at: AliasRef,
        ledger: &Arc<dyn Ledger>,
    ) -> Seat {
        let name = UnitName { function: at.function.to_string(), target: settings.target.clone() };
        let mut connected = connect(registration, settings, self.wake, self.observer, &name).await;
        if matches!(&connected, Ok(Connected { cloud: Cloud::NotMade, .. })) && self.wake != Wake::Never {
            let why = "no cloud was ever started there";
            connected = Err(Error::new(ErrorKind::NotFound, "connect to", &settings.target, why));
        }
        let who = Who { name, provider: registration.name.to_owned(), at };
        Seat { subject: subject(connected, &who, ledger), who, unit: None }
    }
}

/// An alias in its cloud as something to work on, with a meter of its own.
fn subject(
    connected: longshore_contract::Result<Connected>,
    who: &Who,
    ledger: &Arc<dyn Ledger>,
) -> Result<Subject, Failure> {
    let Connected { provider, cloud } = connected.map_err(Failure::Cloud)?;
    let calls = Calls::default();
    let provider = provider.metered(calls.clone());
    let (unit, at) = (who.name.clone(), who.at.clone());
    Ok(Subject { unit, provider, cloud, calls, at, ledger: ledger.clone() })
}

/// The unit's name for progress and rows.
pub(super) fn unit_name(unit: &Unit) -> UnitName {
    UnitName { function: unit.function.clone(), target: unit.target.clone() }
}

/// Connects to the cloud that `settings` name, after starting it where it is embedded and `wake` says so.
async fn connect(
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
