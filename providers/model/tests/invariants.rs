//! Random sequences of operations, and what holds after each of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use longshore_contract::{Digest, FunctionName, Intent, PublishDedup, Routing, Share, State, Version};
use longshore_model::{
    Code, Configuration, Content, Create, Guard, Image, Outcome, Publish, PutAlias, Service, Update,
};
use proptest::prelude::*;

/// One operation; the numbers pick among few things, so that operations meet.
#[derive(Debug, Clone)]
enum Operation {
    Create { function: u8, image: u8 },
    Update { function: u8, image: u8, intent: Option<u32> },
    SettleUpdate { function: u8, good: bool },
    Publish { function: u8, intent: Option<u32>, dedup: PublishDedup },
    SettleVersion { function: u8, number: u64, good: bool },
    PutAlias { function: u8, alias: u8, routing: Routing, guard: GuardPick },
    DeleteAlias { function: u8, alias: u8 },
    DeleteVersion { function: u8, number: u64 },
    DeleteFunction { function: u8 },
}

#[derive(Debug, Clone, Copy)]
enum GuardPick {
    Absent,
    Present,
    Current,
    Stale,
}

fn operation() -> impl Strategy<Value = Operation> {
    let function = 0u8..2;
    let intent = proptest::option::of(0u32..4);
    let dedup = prop_oneof![Just(PublishDedup::ByContent), Just(PublishDedup::ByIntent)];
    let guard = prop_oneof![
        Just(GuardPick::Absent),
        Just(GuardPick::Present),
        Just(GuardPick::Current),
        Just(GuardPick::Stale)
    ];
    // Made without `Routing::split`, as foreign bytes would be.
    let routing = (0u64..6, 0u64..6, prop_oneof![Just(0u16), Just(1), Just(5000), Just(9999), Just(10_000)])
        .prop_map(|(stable, canary, share)| match share {
            0 if canary < 3 => Routing::All(version(stable)),
            _ => Routing::Split {
                stable: version(stable),
                canary: version(canary),
                share: Share::basis_points(share).unwrap(),
            },
        });
    prop_oneof![
        1 => (function.clone(), 0u8..3).prop_map(|(function, image)| Operation::Create { function, image }),
        4 => (function.clone(), 0u8..3, intent.clone())
            .prop_map(|(function, image, intent)| Operation::Update { function, image, intent }),
        6 => (function.clone(), prop::bool::weighted(0.8))
            .prop_map(|(function, good)| Operation::SettleUpdate { function, good }),
        5 => (function.clone(), intent, dedup)
            .prop_map(|(function, intent, dedup)| Operation::Publish { function, intent, dedup }),
        6 => (function.clone(), 0u64..6, prop::bool::weighted(0.8))
            .prop_map(|(function, number, good)| Operation::SettleVersion { function, number, good }),
        6 => (function.clone(), 0u8..2, routing, guard)
            .prop_map(|(function, alias, routing, guard)| Operation::PutAlias { function, alias, routing, guard }),
        1 => (function.clone(), 0u8..2).prop_map(|(function, alias)| Operation::DeleteAlias { function, alias }),
        1 => (function.clone(), 0u64..6)
            .prop_map(|(function, number)| Operation::DeleteVersion { function, number }),
        1 => function.prop_map(|function| Operation::DeleteFunction { function }),
    ]
}

fn version(number: u64) -> Version {
    number.to_string().parse().unwrap()
}

fn function(pick: u8) -> FunctionName {
    format!("f{pick}").parse().unwrap()
}

fn image(pick: u8) -> Image {
    let digest: Digest = format!("sha256:{}", pick.to_string().repeat(64)).parse().unwrap();
    Image { location: "app".to_owned(), digest }
}

fn intent(step: u32) -> Intent {
    Intent { run: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().unwrap(), step }
}

fn outcome(good: bool) -> Outcome {
    if good { Outcome::Ok } else { Outcome::Failed("it would not start".to_owned()) }
}

/// Carries an operation out; says what refused it.
fn apply(service: &mut Service, operation: &Operation) -> Result<(), Code> {
    let at = Timestamp::UNIX_EPOCH;
    let result = match operation.clone() {
        Operation::Create { function: name, image: pick } => service.create(
            Create {
                function: function(name),
                image: image(pick),
                configuration: Configuration::default(),
                intent: None,
            },
            at,
        ),
        Operation::Update { function: name, image: pick, intent: step } => service
            .update(
                Update {
                    function: function(name),
                    image: Some(image(pick)),
                    changes: Configuration::default(),
                    intent: step.map(intent),
                    revision: None,
                },
                at,
            )
            .map(drop),
        Operation::SettleUpdate { function: name, good } => {
            let revision = service.function(&function(name)).map_or(0, |function| function.head.revision);
            service.settle_update(&function(name), revision, &outcome(good))
        }
        Operation::Publish { function: name, intent: step, dedup } => service
            .publish(
                Publish {
                    function: function(name),
                    description: String::new(),
                    intent: step.map(intent),
                    dedup,
                    revision: None,
                },
                at,
            )
            .map(drop),
        Operation::SettleVersion { function: name, number, good } => {
            service.settle_version(&function(name), number, &outcome(good))
        }
        Operation::PutAlias { function: name, alias, routing, guard } => {
            let alias = format!("a{alias}").parse().unwrap();
            let current = service.alias(&function(name), &alias).map_or(7, |alias| alias.revision);
            let guard = match guard {
                GuardPick::Absent => Guard::Absent,
                GuardPick::Present => Guard::Present,
                GuardPick::Current => Guard::Revision(current),
                GuardPick::Stale => Guard::Revision(current + 1),
            };
            let put =
                PutAlias { function: function(name), alias, routing, description: String::new(), guard };
            service.put_alias(put, at).map(drop)
        }
        Operation::DeleteAlias { function: name, alias } => {
            service.delete_alias(&function(name), &format!("a{alias}").parse().unwrap(), None)
        }
        Operation::DeleteVersion { function: name, number } => {
            service.delete_version(&function(name), number)
        }
        Operation::DeleteFunction { function: name } => service.delete_function(&function(name)),
    };
    result.map_err(|refusal| refusal.code)
}

/// What every version number was first seen to stand for.
type Seen = BTreeMap<(FunctionName, u64), Content>;

fn check(service: &Service, seen: &mut Seen) {
    for (name, function) in service.functions() {
        for (number, version) in &function.versions {
            assert!(*number < function.next_version, "version {number} is not yet given out");
            let first = seen.entry((name.clone(), *number)).or_insert_with(|| version.content.clone());
            assert_eq!(*first, version.content, "version {number} of {name} changed");
        }
        for (alias, record) in &function.aliases {
            let routed = [Some(record.routing.stable()), record.routing.canary()];
            for version in routed.into_iter().flatten() {
                let number = version.as_str().parse::<u64>().unwrap();
                let found = function.versions.get(&number).expect("an alias names a version that exists");
                assert_eq!(found.state, State::Active, "{alias} names version {number}");
            }
            if let Routing::Split { stable, canary, share } = &record.routing {
                assert_ne!(stable, canary);
                assert!(*share > Share::NONE && *share < Share::ALL);
            }
        }
    }
}

/// The revisions of all that is there, by a name for each.
fn revisions(service: &Service) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (name, function) in service.functions() {
        all.insert(name.to_string(), function.head.revision);
        all.extend(function.versions.iter().map(|(n, version)| (format!("{name}@{n}"), version.revision)));
        all.extend(function.aliases.iter().map(|(a, alias)| (format!("{name}:{a}"), alias.revision)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_holds_after_every_operation(operations in prop::collection::vec(operation(), 0..80)) {
        let mut service = Service::default();
        let mut seen = Seen::new();
        let mut given = BTreeMap::<FunctionName, u64>::new();
        let mut highest = 0;
        for operation in &operations {
            let before = service.clone();
            let applied = apply(&mut service, operation);
            if applied.is_err() {
                prop_assert_eq!(&service, &before, "a refused operation changes nothing");
            }
            check(&service, &mut seen);
            for (name, function) in service.functions() {
                let next = given.entry(name.clone()).or_insert(1);
                prop_assert!(function.next_version >= *next, "the numbers of {} went back", name);
                *next = function.next_version;
            }
            let (old, new) = (revisions(&before), revisions(&service));
            for (thing, revision) in &new {
                prop_assert!(
                    old.get(thing) == Some(revision) || *revision > highest,
                    "{} was written and has the old revision {}", thing, revision
                );
            }
            highest = highest.max(new.values().copied().max().unwrap_or(0));
            if let (Operation::PutAlias { function: name, alias, routing, .. }, Ok(())) = (operation, applied) {
                let alias = service.alias(&function(*name), &format!("a{alias}").parse().unwrap()).unwrap();
                prop_assert_eq!(&alias.routing, routing, "the whole routing is replaced");
            }
        }
        let text = serde_json::to_string(&service).unwrap();
        prop_assert_eq!(serde_json::from_str::<Service>(&text).unwrap(), service, "what is kept is what was there");
    }
}
