//! What the driver does, and above all what it leaves alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use longshore_contract::{ErrorKind, Progress};

use super::super::policy::Policy;
use super::super::{NotTaken, Order, Stopped, Strategy};
use super::world::{Command, Fault, Guard, World, all, audit, canary, run, seconds, split, version};
use crate::ledger::memory::key;
use crate::ledger::{Because, Ending, Event, Journal, Ledger, RunState, Silent, Verb};

fn at_once() -> Command {
    Command::Deploy(Strategy::AllAtOnce)
}

fn by(who: &str) -> Because {
    Because::Abandoned { by: who.to_owned() }
}

async fn state(world: &World) -> (RunState, bool) {
    let history = world.history().await;
    (history.runs()[0].state, history.open().is_some())
}

#[tokio::test]
async fn all_at_once_is_one_write_and_not_one_read() {
    let world = World::new(Guard::Revisions, Some("41"));
    assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Arrived);
    assert_eq!((world.routes.load(Ordering::SeqCst), world.looks.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(world.words().await, ["opened", "planned", "intended", "settled", "ended"]);
    let note = world.live().unwrap().note;
    assert_eq!(note.text, "owned by ann");
    let crumb = note.breadcrumb.unwrap();
    assert_eq!((crumb.run, crumb.progress, crumb.prev), (run(1), Progress::Ended, vec![version("41")]));
}

#[tokio::test]
async fn a_rollback_is_one_read_and_one_write_and_pops_the_breadcrumb() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.lives(&at_once()).await.unwrap();
    let before = world.routes.load(Ordering::SeqCst);
    assert_eq!(world.lives(&Command::Rollback).await.unwrap(), Ending::Arrived);
    assert_eq!((world.routes.load(Ordering::SeqCst) - before, world.looks.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(world.routing(), Some(all("41")));
    assert_eq!(world.live().unwrap().note.breadcrumb.unwrap().prev, []);
}

#[tokio::test]
async fn a_canary_arrives_in_its_steps_at_its_times() {
    let world = World::new(Guard::Revisions, Some("41"));
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Arrived);
    let settled: Vec<_> = world
        .entries()
        .await
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::Settled { alias } => {
                let open = alias.note.breadcrumb.unwrap().progress == Progress::Open;
                Some((entry.at, alias.routing, open))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        settled,
        [(seconds(0), split(500), true), (seconds(60), split(2_500), true), (seconds(180), all("42"), false)]
    );
}

#[tokio::test]
async fn whoever_moves_the_alias_after_any_write_is_noticed_and_left_alone() {
    for guard in [Guard::Revisions, Guard::Nothing] {
        for quiet in 0..3 {
            for fault in
                [Fault::Meddle(all("7")), Fault::MeddleLosing(all("7")), Fault::MeddleShowing(all("7"))]
            {
                let world = World::new(guard, Some("41"));
                let faults = std::iter::repeat_n(Fault::None, quiet).chain([fault.clone()]);
                world.faults(faults);
                let ending = world.lives(&Command::Deploy(canary())).await.unwrap();
                assert_eq!(world.routing(), Some(all("7")), "{guard:?} {quiet} {fault:?}");
                assert_eq!(world.written().len(), quiet + 1, "{guard:?} {quiet} {fault:?}");
                let drift = Because::Drift { found: Some(all("7")) };
                let seen = world.seen.lock().unwrap().take().unwrap();
                assert_eq!(seen, if ending == Ending::Arrived { all("42") } else { all("7") });
                match (quiet, &fault) {
                    // The last write was answered: the run had arrived before somebody moved the alias.
                    (2, Fault::Meddle(_)) => assert_eq!(ending, Ending::Arrived),
                    _ => assert_eq!(ending, Ending::Held { because: drift }),
                }
            }
        }
    }
}

#[tokio::test]
async fn whoever_moves_the_alias_at_any_tenth_second_is_noticed_and_left_alone() {
    for guard in [Guard::Revisions, Guard::Nothing] {
        for second in (1..180).step_by(10) {
            let world = World::new(guard, Some("41"));
            world.at(second, |world| world.meddle(split(9_000)));
            let ending = world.lives(&Command::Deploy(canary())).await.unwrap();
            let drift = Because::Drift { found: Some(split(9_000)) };
            assert_eq!(ending, Ending::Held { because: drift }, "{guard:?} {second}");
            assert_eq!(world.routing(), Some(split(9_000)));
            assert_eq!(state(&world).await, (RunState::Held, true));
        }
    }
}

#[tokio::test]
async fn a_held_run_goes_on_when_the_alias_is_as_it_was_left_and_else_holds_again() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.at(30, |world| world.meddle(split(9_000)));
    world.lives(&Command::Deploy(canary())).await.unwrap();
    let again = world.lives(&Command::Deploy(canary())).await.unwrap();
    assert_eq!(again, Ending::Held { because: Because::Drift { found: Some(split(9_000)) } });
    assert_eq!(world.written(), [split(500)]);
    world.meddle(split(500));
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Arrived);
    assert_eq!(world.written(), [split(500), split(2_500), all("42")]);
}

#[tokio::test]
async fn an_abandoned_run_leaves_an_alias_alone_that_somebody_else_moved() {
    for (moved, ending) in [
        (all("7"), Ending::Held { because: Because::Drift { found: Some(all("7")) } }),
        (all("41"), Ending::Returned { because: by("bob") }),
    ] {
        let world = World::new(Guard::Revisions, Some("41"));
        let there = moved.clone();
        world.at(30, move |world| world.meddle(there));
        world.lives(&Command::Deploy(canary())).await.unwrap();
        assert_eq!(world.lives(&Command::Abort).await.unwrap(), ending);
        assert_eq!(world.written(), [split(500)]);
        assert_eq!(world.routing(), Some(moved));
        assert!(!state(&world).await.1, "the run is over, so that a new one can be planned");
    }
}

#[tokio::test]
async fn an_alias_that_was_moved_before_the_first_write_ends_the_run() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults([Fault::MeddleFirst(all("7"))]);
    let ending = world.lives(&at_once()).await.unwrap();
    assert_eq!(ending, Ending::Held { because: Because::Drift { found: Some(all("7")) } });
    assert_eq!(world.written(), []);
    assert_eq!(state(&world).await, (RunState::Held, false));
}

#[tokio::test]
async fn a_description_that_somebody_edits_is_kept_and_does_not_stop_the_run() {
    for guard in [Guard::Revisions, Guard::Nothing] {
        let world = World::new(guard, Some("41"));
        world.at(30, |world| world.describe("owned by bob"));
        assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Arrived);
        assert_eq!(world.live().unwrap().note.text, "owned by bob");
        assert_eq!(world.written().len(), 3);
    }
}

#[tokio::test]
async fn an_interrupted_run_leaves_traffic_and_can_be_resumed() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.at(30, World::interrupt);
    let ending = world.lives(&Command::Deploy(canary())).await.unwrap();
    assert_eq!(ending, Ending::Held { because: Because::Interrupted });
    assert_eq!(world.routing(), Some(split(500)));
    assert_eq!(*world.seen.lock().unwrap(), Some(split(500)));
    assert_eq!(state(&world).await, (RunState::Held, true));
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Arrived);
    assert_eq!(world.written(), [split(500), split(2_500), all("42")]);
}

#[tokio::test]
async fn a_run_that_is_interrupted_before_its_first_write_sends_nothing() {
    let world = World::new(Guard::Revisions, Some("41"));
    *world.interrupt_at.lock().unwrap() = Some(seconds(0));
    let ending = world.lives(&at_once()).await.unwrap();
    assert_eq!(ending, Ending::Held { because: Because::Interrupted });
    assert_eq!(world.routes.load(Ordering::SeqCst), 0);
}

/// What another process does to a run that is being driven, and what the driver makes of it.
async fn taken_while_soaking(order: Order) -> (Arc<World>, Ending) {
    let world = World::new(Guard::Nothing, Some("41"));
    let other = world.clone();
    let (sent, taken) = std::sync::mpsc::channel();
    world.at(32, move |_| {
        let taken = futures::executor::block_on(other.take(order, "bob")).ok().unwrap();
        sent.send(taken).unwrap();
    });
    match world.lives(&Command::Deploy(canary())).await {
        Err(Stopped::TakenOver(taken)) => {
            assert_eq!((taken.run, taken.who.as_deref(), taken.at), (run(1), Some("bob"), seconds(32)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.written(), [split(500)], "whoever is taken over writes nothing more");
    assert!(world.now_is_before(60), "it is noticed long before the soak ends");
    let mut taken = taken.recv().unwrap();
    let token = tokio_util::sync::CancellationToken::new();
    let rollout = taken.rollout.unwrap();
    let ending = world.drive(&mut taken.journal, rollout, Policy::Sound, &token).await.unwrap();
    (world, ending)
}

#[tokio::test]
async fn an_abort_from_another_process_is_noticed_while_soaking() {
    for order in [Order::Abort, Order::Rollback] {
        let (world, ending) = taken_while_soaking(order).await;
        assert_eq!(ending, Ending::Returned { because: by("bob") });
        assert_eq!(world.written(), [split(500), all("41")]);
        assert_eq!(world.live().unwrap().note.breadcrumb, None, "the description is what it was");
    }
}

#[tokio::test]
async fn a_promotion_from_another_process_is_noticed_while_soaking() {
    let (world, ending) = taken_while_soaking(Order::Promote).await;
    assert_eq!(ending, Ending::Arrived);
    assert_eq!(world.written(), [split(500), all("42")]);
}

#[tokio::test]
async fn two_who_resume_one_run_are_told_apart() {
    let (world, ending) = taken_while_soaking(Order::Resume).await;
    assert_eq!(ending, Ending::Arrived);
    assert_eq!(world.written(), [split(500), split(2_500), all("42")]);
}

#[tokio::test]
async fn a_throttled_write_is_sent_again_under_the_same_intent() {
    let world = World::new(Guard::Revisions, Some("41"));
    let after = Some(std::time::Duration::from_secs(7));
    world.faults([
        Fault::Say(ErrorKind::Throttled { after }),
        Fault::Say(ErrorKind::Busy),
        Fault::Say(ErrorKind::Unavailable),
    ]);
    assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Arrived);
    assert_eq!(world.routes.load(Ordering::SeqCst), 4);
    assert_eq!(world.words().await.iter().filter(|word| **word == "intended").count(), 1);
    assert_eq!(world.entries().await.last().unwrap().at, seconds(10), "7 s as asked, then 1 s and 2 s");
}

#[tokio::test]
async fn a_service_that_never_answers_holds_the_run_and_the_write_is_still_known() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults(std::iter::repeat_n(Fault::Say(ErrorKind::Unavailable), 1_000));
    match world.lives(&at_once()).await.unwrap() {
        Ending::Held { because: Because::Unanswered { why } } => assert_eq!(why, "move alias shop:live: no"),
        other => panic!("{other:?}"),
    }
    assert!(world.now_is_before(301), "it gives up after five minutes");
    world.faults([]);
    assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Arrived);
    assert_eq!(world.written(), [all("42")]);
}

#[tokio::test]
async fn a_run_that_is_interrupted_between_two_tries_tries_no_more() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults(std::iter::repeat_n(Fault::Say(ErrorKind::Unavailable), 1_000));
    world.at(3, World::interrupt);
    let ending = world.lives(&at_once()).await.unwrap();
    assert_eq!(ending, Ending::Held { because: Because::Interrupted });
    assert_eq!(world.routes.load(Ordering::SeqCst), 3, "at 0 s, 0.5 s and 1.5 s");
}

#[tokio::test]
async fn writes_that_are_lost_for_ever_hold_the_run() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults(std::iter::repeat_n(Fault::LoseRequest, 1_000));
    let ending = world.lives(&at_once()).await.unwrap();
    assert!(matches!(ending, Ending::Held { because: Because::Unanswered { .. } }), "{ending:?}");
    assert_eq!(world.written(), []);
    assert!(world.routes.load(Ordering::SeqCst) < 40);
}

#[tokio::test]
async fn looks_that_get_no_answer_are_asked_again() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults([Fault::LoseAnswer]);
    world.unread(3);
    assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Arrived);
    assert_eq!((world.written(), world.looks.load(Ordering::SeqCst)), (vec![all("42")], 4));
}

#[tokio::test]
async fn a_refused_first_write_moves_nothing_and_ends_the_run() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults([Fault::Say(ErrorKind::Denied)]);
    let why = "move alias shop:live: no".to_owned();
    assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Refused { why, scan: None });
    assert_eq!((world.written(), state(&world).await), (vec![], (RunState::Refused, false)));
}

#[tokio::test]
async fn a_refused_later_write_brings_the_old_version_back() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.faults([Fault::None, Fault::Say(ErrorKind::NotFound)]);
    let because = Because::Refused { why: "move alias shop:live: no".to_owned() };
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Returned { because });
    assert_eq!(world.written(), [split(500), all("41")]);
}

#[tokio::test]
async fn a_way_back_that_is_refused_holds_and_is_gone_when_somebody_resumes() {
    let world = World::new(Guard::Revisions, Some("41"));
    let no = Fault::Say(ErrorKind::Unauthenticated);
    world.faults([Fault::None, no.clone(), no]);
    let because = Because::Refused { why: "move alias shop:live: no".to_owned() };
    let held = Ending::Held { because: because.clone() };
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), held);
    assert_eq!(world.routing(), Some(split(500)));
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Returned { because });
    assert_eq!(world.routing(), Some(all("41")));
}

#[tokio::test]
async fn a_ledger_that_takes_no_entry_sends_nothing() {
    for room in 0..=5 {
        let world = World::new(Guard::Revisions, Some("41"));
        world.room.store(room, Ordering::SeqCst);
        let stopped = world.lives(&at_once()).await;
        // Entry 3 announces the write.
        assert_eq!(world.written().len(), usize::from(room >= 3), "room for {room}");
        assert_eq!(stopped.is_ok(), room >= 5);
        world.room.store(usize::MAX, Ordering::SeqCst);
        assert_eq!(world.lives(&at_once()).await.unwrap(), Ending::Arrived);
        assert_eq!(world.written(), [all("42")], "room for {room}");
    }
}

#[tokio::test]
async fn a_run_without_a_plan_can_be_aborted_and_resumed_and_not_promoted() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.open(run(1), Verb::Deploy).await.unwrap();
    match world.take(Order::Promote, "bob").await {
        Err(NotTaken::NoPlan { run: named }) => assert_eq!(named, run(1)),
        _ => panic!("there is nothing to promote"),
    }
    assert!(world.take(Order::Resume, "bob").await.ok().unwrap().rollout.is_none());
    let taken = world.take(Order::Abort, "bob").await.ok().unwrap();
    assert_eq!(taken.recalled.ending, Some(Ending::Returned { because: by("bob") }));
    assert_eq!(world.words().await, ["opened", "resumed", "ended"]);
    assert!(matches!(world.take(Order::Abort, "bob").await, Err(NotTaken::NothingOpen { .. })));
}

#[tokio::test]
async fn a_rollback_that_died_goes_on_when_somebody_asks_for_a_rollback_again() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.lives(&at_once()).await.unwrap();
    // Opened, planned and intended each have two points; the write has its own two behind the look.
    world.fuse.set(8);
    assert!(world.life(&Command::Rollback, Policy::Sound).await.is_none());
    assert_eq!(world.lives(&Command::Rollback).await.unwrap(), Ending::Arrived);
    assert_eq!(world.routing(), Some(all("41")));
}

#[tokio::test]
async fn an_end_that_was_only_not_stored_takes_no_order() {
    let world = World::new(Guard::Revisions, Some("41"));
    world.room.store(4, Ordering::SeqCst);
    assert!(matches!(world.lives(&at_once()).await, Err(Stopped::Ledger(_))));
    world.room.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(world.lives(&Command::Abort).await.unwrap(), Ending::Arrived);
    assert_eq!(world.written(), [all("42")]);
}

#[tokio::test]
async fn the_first_deployment_cannot_be_taken_back() {
    let world = World::new(Guard::Revisions, None);
    world.room.store(3, Ordering::SeqCst);
    assert!(world.lives(&Command::Deploy(canary())).await.is_err());
    world.room.store(usize::MAX, Ordering::SeqCst);
    match world.take(Order::Abort, "bob").await {
        Err(NotTaken::Unfit { why, .. }) => {
            assert_eq!(why, "it is the alias's first version, so there is nothing to go back to");
        }
        _ => panic!("there is no way back"),
    }
    assert_eq!(world.lives(&Command::Deploy(canary())).await.unwrap(), Ending::Arrived);
    assert_eq!(world.written(), [all("42")]);
}

#[tokio::test]
async fn a_second_run_learns_who_opened_the_first() {
    let world = World::new(Guard::Revisions, Some("41"));
    let mut late = Journal::new(world.clone(), key(), run(2), &[], Arc::new(Silent));
    world.open(run(1), Verb::Deploy).await.unwrap();
    let opened = Event::Resumed { audit: audit("bob") };
    let error = late.append(seconds(1), opened).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("ann took over at 2026-01-01T00:00:00Z (opened, entry 1, run {})", run(1))
    );
    assert_eq!(world.read(&key()).await.unwrap().len(), 1);
}
