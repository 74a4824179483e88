//! Every way to die, and what is there after the restart: the same ending, the same routing, the same writes.

use std::sync::Arc;

use longshore_contract::{Alias, Note, Routing};

use super::super::Strategy;
use super::super::policy::Policy;
use super::world::{Command, Fault, Guard, World, all, canary, seconds, split};
use crate::ledger::RunState;

/// What somebody does, one command after the other.
struct Scenario {
    name: &'static str,
    live: Option<&'static str>,
    /// Done before anything can go wrong.
    before: Vec<Command>,
    commands: Vec<Command>,
    /// When deployments are interrupted.
    interrupt: Option<i64>,
    /// The writes that must come of `commands`, wherever they are killed.
    writes: Vec<Routing>,
    state: RunState,
}

fn scenarios() -> Vec<Scenario> {
    let plain = |name, commands, writes| Scenario {
        name,
        live: Some("41"),
        before: vec![],
        commands,
        interrupt: None,
        writes,
        state: RunState::Arrived,
    };
    let deploy = || Command::Deploy(canary());
    vec![
        plain("all at once", vec![Command::Deploy(Strategy::AllAtOnce)], vec![all("42")]),
        Scenario {
            live: None,
            ..plain("first deployment", vec![Command::Deploy(Strategy::AllAtOnce)], vec![all("42")])
        },
        plain("canary", vec![deploy()], vec![split(500), split(2_500), all("42")]),
        Scenario {
            interrupt: Some(90),
            state: RunState::Returned,
            ..plain(
                "abort mid-way",
                vec![deploy(), Command::Abort],
                vec![split(500), split(2_500), all("41")],
            )
        },
        Scenario {
            interrupt: Some(30),
            ..plain("promote mid-way", vec![deploy(), Command::Promote], vec![split(500), all("42")])
        },
        Scenario {
            before: vec![Command::Deploy(Strategy::AllAtOnce)],
            ..plain("rollback", vec![Command::Rollback], vec![all("41")])
        },
    ]
}

/// What can be seen from outside when everything is over.
#[derive(Debug, PartialEq)]
struct Seen {
    state: RunState,
    alias: Option<(Routing, Note)>,
    writes: Vec<(Routing, Note)>,
}

async fn prepared(scenario: &Scenario, guard: Guard) -> (Arc<World>, usize) {
    let world = World::new(guard, scenario.live);
    for command in &scenario.before {
        world.lives(command).await.unwrap();
    }
    *world.interrupt_at.lock().unwrap() = scenario.interrupt.map(seconds);
    let written = world.writes().len();
    (world, written)
}

/// Carries the scenario out and kills the processes: the first after `kills[0]` points, the next one after `kills[1]`
/// more; when there are no more kills, all live. Tells what is to be seen, and how many kills there were.
async fn play(
    scenario: &Scenario,
    guard: Guard,
    faults: &[Fault],
    kills: &[usize],
    policy: Policy,
) -> Result<(Seen, usize), String> {
    let (world, before) = prepared(scenario, guard).await;
    world.faults(faults.iter().cloned());
    let mut fuses = kills.iter().copied().chain(std::iter::repeat(usize::MAX));
    let mut killed = 0;
    world.fuse.set(fuses.next().unwrap_or(usize::MAX));
    for command in &scenario.commands {
        loop {
            match world.life(command, policy).await {
                Some(Ok(_)) => break,
                Some(Err(stopped)) => return Err(format!("{command:?} stopped: {stopped}")),
                None => {
                    killed += 1;
                    world.fuse.set(fuses.next().unwrap_or(usize::MAX));
                }
            }
        }
    }
    let seen = Seen {
        state: world.history().await.runs()[0].state,
        alias: world.live().map(|Alias { routing, note, .. }| (routing, note)),
        writes: world.writes().split_off(before),
    };
    Ok((seen, killed))
}

/// Kills the scenario everywhere, in both worlds and in all weathers, twice where it tells more: in calm weather,
/// without guards. Tells how often, or what came out wrong first.
async fn check(scenario: &Scenario, policy: Policy) -> Result<usize, String> {
    let weathers: [&[Fault]; 5] = [
        &[],
        &[Fault::LoseAnswer],
        &[Fault::None, Fault::LoseAnswer],
        &[Fault::LoseRequest],
        &[Fault::LoseRequest, Fault::LoseAnswer, Fault::None, Fault::LoseRequest],
    ];
    let mut plays = 0;
    for guard in [Guard::Revisions, Guard::Nothing] {
        let (calm, _) = play(scenario, guard, &[], &[], Policy::Sound).await?;
        let routings: Vec<Routing> = calm.writes.iter().map(|(routing, _)| routing.clone()).collect();
        if (&routings, calm.state) != (&scenario.writes, scenario.state) {
            return Err(format!("undisturbed: {calm:?}"));
        }
        for weather in weathers {
            // A kill that was not reached means that the program has no more points.
            for first in 1.. {
                let killed = compare(scenario, guard, weather, &[first], policy, &calm).await?;
                plays += 1;
                if killed < 1 {
                    break;
                }
                for second in (1..).take_while(|_| weather.is_empty() && guard == Guard::Nothing) {
                    plays += 1;
                    if compare(scenario, guard, weather, &[first, second], policy, &calm).await? < 2 {
                        break;
                    }
                }
            }
        }
    }
    Ok(plays)
}

async fn compare(
    scenario: &Scenario,
    guard: Guard,
    weather: &[Fault],
    kills: &[usize],
    policy: Policy,
    calm: &Seen,
) -> Result<usize, String> {
    let told = |what: String| format!("{guard:?}, {weather:?}, killed after {kills:?}: {what}");
    let (seen, killed) = play(scenario, guard, weather, kills, policy).await.map_err(told)?;
    if seen == *calm { Ok(killed) } else { Err(told(format!("{seen:#?} and not {calm:#?}"))) }
}

async fn comes_out_as_if_nothing_had_been(name: &str) {
    let scenario =
        scenarios().into_iter().find(|scenario| scenario.name == name).expect("there is such a scenario");
    match check(&scenario, Policy::Sound).await {
        Ok(plays) => assert!(plays > 100, "only {plays} plays"),
        Err(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn a_deployment_all_at_once_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("all at once").await;
}

#[tokio::test]
async fn a_first_deployment_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("first deployment").await;
}

#[tokio::test]
async fn a_canary_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("canary").await;
}

#[tokio::test]
async fn an_abort_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("abort mid-way").await;
}

#[tokio::test]
async fn a_promotion_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("promote mid-way").await;
}

#[tokio::test]
async fn a_rollback_killed_anywhere_comes_out_as_if_nothing_had_been() {
    comes_out_as_if_nothing_had_been("rollback").await;
}

/// The tests above, tested: each of these drivers is wrong in one place, and it must not pass them.
#[tokio::test]
async fn a_driver_that_is_wrong_about_the_uncertain_is_caught() {
    for policy in [Policy::EffectBeforeIntent, Policy::NoLook, Policy::BlindFaith] {
        let mut caught = false;
        for scenario in scenarios() {
            caught = caught || check(&scenario, policy).await.is_err();
        }
        assert!(caught, "{policy:?} passes every scenario");
    }
}

/// Why the crash test runs in both worlds: revisions hide a write that was sent before it was announced.
#[tokio::test]
async fn what_guarded_writes_hide_shows_without_the_guard() {
    let scenario = &scenarios()[0];
    let failures = async |guard| {
        let (calm, _) = play(scenario, guard, &[], &[], Policy::Sound).await.unwrap();
        let mut failures = 0;
        for first in 1.. {
            match compare(scenario, guard, &[], &[first], Policy::EffectBeforeIntent, &calm).await {
                Ok(0) => return failures,
                Ok(_) => {}
                Err(_) => failures += 1,
            }
        }
        failures
    };
    assert_eq!(failures(Guard::Revisions).await, 0);
    assert!(failures(Guard::Nothing).await > 0);
}
