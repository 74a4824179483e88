//! Events in any order.

use longshore_contract::{Alias, Expect, Intent, Note, Revision, Routing};
use proptest::prelude::*;

use super::super::state::{Decision, Rollout};
use super::super::{ShiftSpec, Strategy as Way, plan};
use super::world::{all, audit, canary, digest, run, seconds, split, version};
use crate::ledger::memory::{entry, key};
use crate::ledger::{Because, Ending, Entry, Event};

fn alias(routing: Routing, revision: &str, ours: bool) -> Alias {
    let breadcrumb = ours.then(|| longshore_contract::Breadcrumb {
        run: run(1),
        progress: longshore_contract::Progress::Open,
        prev: vec![version("41")],
        digest: digest().short().to_owned(),
    });
    Alias {
        routing,
        revision: Revision::from_provider(revision),
        note: Note { text: String::new(), breadcrumb },
    }
}

fn rollout(strategy: Way, live: Option<Alias>) -> Rollout {
    let spec = ShiftSpec { run: run(1), alias: key().alias, to: version("42"), digest: digest(), strategy };
    let can = longshore_contract::Capabilities {
        alias_writes: longshore_contract::AliasWrites::Checked,
        split: longshore_contract::Split::TwoWay {
            granularity: longshore_contract::Share::basis_points(100).unwrap(),
        },
        publish: longshore_contract::PublishDedup::ByIntent,
        platforms: Vec::new(),
        description_limit: 256,
    };
    Rollout::begin(plan(&spec, &can, live.as_ref()).unwrap())
}

fn begun() -> Rollout {
    rollout(canary(), Some(alias(all("41"), "r0", false)))
}

fn routing() -> impl Strategy<Value = Routing> {
    prop_oneof![
        Just(all("41")),
        Just(all("42")),
        Just(all("7")),
        Just(split(500)),
        Just(split(2_500)),
        Just(split(5_000))
    ]
}

fn because() -> impl Strategy<Value = Because> {
    prop_oneof![
        Just(Because::Interrupted),
        Just(Because::Refused { why: "no".to_owned() }),
        Just(Because::Abandoned { by: "ann".to_owned() }),
        routing().prop_map(|routing| Because::Drift { found: Some(routing) }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let seen = || {
        (routing(), 0..4_u8, any::<bool>())
            .prop_map(|(routing, revision, ours)| alias(routing, &format!("r{revision}"), ours))
    };
    prop_oneof![
        4 => (0..5_u32, routing(), 0..4_u8).prop_map(|(step, routing, revision)| Event::Intended {
            intent: Intent { run: run(1), step },
            routing,
            expect: Expect::Revision(Revision::from_provider(format!("r{revision}"))),
        }),
        4 => seen().prop_map(|alias| Event::Settled { alias }),
        3 => prop::option::of(seen()).prop_map(|alias| Event::Looked { alias }),
        1 => Just(Event::Refused { why: "no".to_owned() }),
        1 => Just(Event::Hastened { by: "ann".to_owned() }),
        1 => Just(Event::Abandoned { by: "bob".to_owned() }),
        1 => Just(Event::Resumed { audit: audit("cid") }),
        1 => because().prop_map(|because| Event::Held { because }),
        1 => because().prop_map(|because| Event::Ended { ending: Ending::Returned { because } }),
        1 => Just(Event::Ended { ending: Ending::Arrived }),
        1 => Just(Event::Publishing { intent: Intent { run: run(1), step: 0 } }),
    ]
}

/// The event that the driver would store next, where it takes only the world's answer to know it.
fn expected(rollout: &Rollout, now: jiff::Timestamp) -> Option<Event> {
    match rollout.next(now) {
        Decision::Write { intent, write } => {
            Some(Event::Intended { intent, routing: write.routing, expect: write.expect })
        }
        Decision::Hold(because) => Some(Event::Held { because }),
        Decision::End(ending) => Some(Event::Ended { ending }),
        Decision::Look | Decision::Wait { .. } | Decision::Stop(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_events_in_any_order_break_it(
        events in prop::collection::vec((event(), any::<bool>(), 0..400_i64), 0..40),
        first in any::<bool>(),
    ) {
        let mut rollout = if first { rollout(Way::AllAtOnce, None) } else { begun() };
        let mut stored: Vec<Entry> = Vec::new();
        for (event, on_its_way, second) in events {
            let now = seconds(second);
            let decision = rollout.next(now);
            prop_assert_eq!(&decision, &rollout.next(now));
            if let Decision::Write { write, .. } = &decision {
                let meant = [all("41"), split(500), split(2_500), all("42")];
                prop_assert!(meant.contains(&write.routing), "{}", write.routing);
            }
            if let Decision::Wait { until } = decision {
                prop_assert!(until <= seconds(second + 120), "{until} is beyond the longest soak");
            }
            let event = expected(&rollout, now).filter(|_| on_its_way).unwrap_or(event);
            let over = matches!(decision, Decision::Stop(_)) && rollout.ending().is_some();
            match rollout.clone().apply(now, &event) {
                Ok(next) => {
                    prop_assert!(!over, "after the end came {event:?}");
                    rollout = next;
                    stored.push(Entry { run: run(1), at: now, event, ..entry(stored.len() as u64 + 1) });
                }
                Err(illegal) => prop_assert_eq!(illegal.event, event.word()),
            }
        }
        let read: Vec<Entry> = stored
            .iter()
            .map(|entry| Entry::from_bytes(&entry.to_bytes(), entry.seq, &"memory").unwrap())
            .collect();
        prop_assert_eq!(&read, &stored);
        prop_assert_eq!(Rollout::replay(rollout.plan().clone(), &read), Ok(rollout));
    }
}

fn soaking() -> Rollout {
    let rollout = begun();
    let write = expected(&rollout, seconds(0)).unwrap();
    let settled = Event::Settled { alias: alias(split(500), "r1", true) };
    rollout.apply(seconds(0), &write).unwrap().apply(seconds(100), &settled).unwrap()
}

#[test]
fn a_soak_ends_when_it_ends_and_asking_does_not_move_it() {
    let rollout = soaking();
    for now in [100, 130, 159] {
        assert_eq!(rollout.next(seconds(now)), Decision::Wait { until: seconds(160) });
    }
    assert!(matches!(rollout.next(seconds(160)), Decision::Write { .. }));
}

#[test]
fn a_clock_that_is_behind_makes_no_soak_longer_than_itself() {
    let rollout = soaking();
    assert_eq!(rollout.next(seconds(0)), Decision::Wait { until: seconds(60) });
    let resumed = rollout.apply(seconds(0), &Event::Resumed { audit: audit("ann") }).unwrap();
    assert_eq!(resumed.next(seconds(30)), Decision::Wait { until: seconds(60) });
    assert!(matches!(resumed.next(seconds(60)), Decision::Write { .. }));
}

fn in_flight() -> Rollout {
    let rollout = begun();
    let write = expected(&rollout, seconds(0)).unwrap();
    rollout.apply(seconds(0), &write).unwrap()
}

fn next_routing(rollout: &Rollout) -> Option<Routing> {
    match rollout.next(seconds(0)) {
        Decision::Write { write, .. } => Some(write.routing),
        _ => None,
    }
}

#[test]
fn the_wanted_routing_by_another_run_is_not_our_write() {
    let mut theirs = alias(split(500), "r1", true);
    theirs.note.breadcrumb.as_mut().unwrap().run = run(9);
    let looked = in_flight().apply(seconds(0), &Event::Looked { alias: Some(theirs) }).unwrap();
    let drift = Because::Drift { found: Some(split(500)) };
    assert_eq!(looked.next(seconds(0)), Decision::End(Ending::Held { because: drift }));
}

#[test]
fn a_routing_that_we_want_and_nobody_signed_is_taken_as_ours() {
    let unsigned = Event::Looked { alias: Some(alias(split(500), "r1", false)) };
    let looked = in_flight().apply(seconds(0), &unsigned).unwrap();
    assert_eq!(looked.next(seconds(0)), Decision::Wait { until: seconds(60) });
}

#[test]
fn an_order_that_comes_while_a_write_is_in_doubt_counts_whatever_became_of_the_write() {
    let done = Event::Looked { alias: Some(alias(split(500), "r1", true)) };
    let undone = Event::Looked { alias: Some(alias(all("41"), "r0", false)) };
    let after = |order: &Event, looked: &Event| {
        in_flight().apply(seconds(0), order).unwrap().apply(seconds(0), looked).unwrap()
    };
    let hastened = Event::Hastened { by: "ann".to_owned() };
    assert_eq!(next_routing(&after(&hastened, &done)), Some(all("42")));
    assert_eq!(next_routing(&after(&hastened, &undone)), Some(all("42")));
    let abandoned = Event::Abandoned { by: "ann".to_owned() };
    assert_eq!(next_routing(&after(&abandoned, &done)), Some(all("41")));
    let because = Because::Abandoned { by: "ann".to_owned() };
    let returned = Decision::End(Ending::Returned { because });
    assert_eq!(after(&abandoned, &undone).next(seconds(0)), returned, "there is nothing to take back");
    let unwritten = begun().apply(seconds(0), &abandoned).unwrap();
    assert_eq!(unwritten.next(seconds(0)), returned);
}

#[test]
fn an_event_that_cannot_be_here_is_named() {
    let told = |rollout: Rollout, event| rollout.apply(seconds(0), &event).unwrap_err().to_string();
    assert_eq!(
        told(begun(), Event::Settled { alias: alias(split(500), "r1", true) }),
        "settled cannot be here: no write is under way"
    );
    assert_eq!(
        told(
            begun(),
            Event::Intended {
                intent: Intent { run: run(1), step: 1 },
                routing: all("42"),
                expect: Expect::Revision(Revision::from_provider("r0"))
            }
        ),
        format!(
            "intended cannot be here: {0}/1 means all to 42, and the next write is {0}/1, which means 5% to 42, the rest to 41",
            run(1)
        )
    );
    let first = rollout(Way::AllAtOnce, None);
    let write = expected(&first, seconds(0)).unwrap();
    let first = first.apply(seconds(0), &write).unwrap();
    assert_eq!(
        told(first, Event::Abandoned { by: "ann".to_owned() }),
        "abandoned cannot be here: it is the alias's first version, so there is nothing to go back to"
    );
    let back = soaking().apply(seconds(0), &Event::Abandoned { by: "ann".to_owned() }).unwrap();
    assert_eq!(
        told(back, Event::Hastened { by: "bob".to_owned() }),
        "hastened cannot be here: the run is on its way back"
    );
}

#[test]
fn the_stored_form_does_not_change_unnoticed() {
    let stored = |event| {
        let entry = Entry { run: run(1), at: seconds(0), event, ..entry(7) };
        let text = String::from_utf8(entry.to_bytes()).unwrap();
        text.trim_end().replace(&format!(r#""nonce":"{}","#, entry.nonce), "")
    };
    assert_eq!(
        stored(expected(&begun(), seconds(0)).unwrap()),
        r#"{"format":1,"seq":7,"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","at":"2026-01-01T00:00:00Z","event":"intended","intent":{"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","step":1},"routing":{"split":{"stable":"41","canary":"42","share":500}},"expect":{"revision":"r0"}}"#
    );
    assert_eq!(
        stored(Event::Planned { plan: Box::new(begun().plan().clone()) }),
        r#"{"format":1,"seq":7,"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","at":"2026-01-01T00:00:00Z","event":"planned","plan":{"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","alias":{"function":"shop","alias":"live"},"origin":{"from":{"routing":{"all":"41"},"revision":"r0","note":{"text":"","breadcrumb":null}}},"to":"42","digest":"424242424242","prev":["41"],"steps":[{"share":500,"soak_ms":60000},{"share":2500,"soak_ms":120000},{"share":10000,"soak_ms":0}]}}"#
    );
    assert_eq!(
        stored(Event::Held { because: Because::Interrupted }),
        r#"{"format":1,"seq":7,"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","at":"2026-01-01T00:00:00Z","event":"held","because":"interrupted"}"#
    );
    assert_eq!(
        stored(Event::Ended {
            ending: Ending::Returned { because: Because::Abandoned { by: "ann".to_owned() } }
        }),
        r#"{"format":1,"seq":7,"run":"01J8Z0B4Q5W6X7Y8Z9A0B1C201","at":"2026-01-01T00:00:00Z","event":"ended","ending":{"returned":{"because":{"abandoned":{"by":"ann"}}}}}"#
    );
}
