//! The real binary, killed with SIGKILL at every failpoint and resumed: the same routing and the same list of writes as
//! a run that nobody disturbed. `cargo test --features failpoints --test crash`
//!
//! The places are not listed here: an undisturbed run tells which it comes to, and each of them is tried. The suite
//! tests itself too: with a fault planted (the effect before its intent, no look after a lost answer) the same cases
//! must fail.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use support::{Ran, Scratch};

/// Whether the local cloud refuses stale writes, or leaves that to us.
const GUARDS: [&str; 2] = ["atomic", "checked"];

/// What is done to a cloud, and how it is gone on with after a kill.
struct Story {
    name: &'static str,
    /// What it begins with.
    before: Before,
    verb: &'static [&'static str],
    resume: &'static [&'static str],
}

/// What a story begins with.
#[derive(Clone, Copy)]
enum Before {
    /// No cloud at all.
    Nothing,
    /// This many versions were deployed, one after the other.
    Versions(u32),
    /// Two versions, and a third that was left with a quarter of the traffic.
    Split,
    /// The same, and the ledger is gone: only the alias's description tells.
    SplitWithoutLedger,
}

const STORIES: [Story; 8] = [
    Story { name: "first deploy", before: Before::Nothing, verb: &["deploy"], resume: &["resume"] },
    Story {
        name: "all at once",
        before: Before::Versions(1),
        verb: &["deploy", "--set", "vars.version=v2"],
        resume: &["resume", "--set", "vars.version=v2"],
    },
    Story {
        name: "canary",
        before: Before::Versions(1),
        verb: &["deploy", "--env", "quick", "--set", "vars.version=v2"],
        // Without --env: the steps are the run's own.
        resume: &["resume", "--set", "vars.version=v2"],
    },
    Story { name: "rollback", before: Before::Versions(2), verb: &["rollback"], resume: &["resume"] },
    Story { name: "promote", before: Before::Split, verb: &["promote"], resume: &["promote"] },
    Story { name: "abort", before: Before::Split, verb: &["abort"], resume: &["abort"] },
    Story {
        name: "promote by the alias",
        before: Before::SplitWithoutLedger,
        verb: &["promote"],
        resume: &["resume"],
    },
    Story {
        name: "abort by the alias",
        before: Before::SplitWithoutLedger,
        verb: &["abort"],
        resume: &["abort"],
    },
];

/// What a run left: where the alias sends its traffic, and every write the cloud accepted, descriptions included.
#[derive(Debug, PartialEq)]
struct Left {
    routing: Value,
    open: Value,
    writes: Vec<String>,
    descriptions: Vec<String>,
    ending: String,
}

struct World {
    scratch: Scratch,
    guard: &'static str,
    /// What the ledger does not know of before the story begins.
    unannounced: i64,
}

impl World {
    fn new(guard: &'static str, story: &Story) -> Self {
        let scratch = Scratch::new();
        let manifest = scratch
            .read("deploy.yaml")
            .replace(
                "here: { provider: local }",
                &format!("here: {{ provider: local, alias_writes: {guard}, scan_reports: scans }}"),
            )
            // Every image is scanned, so that a kill may fall between a scan and its verdict.
            .replace("    tag: ${vars.version}\n", "    tag: ${vars.version}\n    scan: { refuse: high }\n");
        scratch.write("deploy.yaml", &manifest);
        std::fs::create_dir(scratch.path().join("scans")).expect("a folder");
        scratch.write("scans/hello.json", report());
        let mut world = Self { scratch, guard, unannounced: 0 };
        let versions = match story.before {
            Before::Nothing => 0,
            Before::Versions(count) => count,
            Before::Split | Before::SplitWithoutLedger => 2,
        };
        for version in 1..=versions {
            world.scratch.deploy(&format!("v{version}"));
        }
        if let Before::Split | Before::SplitWithoutLedger = story.before {
            world.scratch.hold_canary("v3");
        }
        if let Before::SplitWithoutLedger = story.before {
            std::fs::remove_dir_all(world.scratch.path().join(".longshore/ledger")).expect("a ledger");
        }
        world.unannounced = unannounced(&world.scratch);
        world
    }

    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = self.scratch.command(words);
        command.args(["--output", "json"]).envs(environment.iter().copied());
        Ran::of(&mut command)
    }

    /// The aliases' descriptions, breadcrumbs and all, as the cloud keeps them.
    fn descriptions(&self) -> Vec<String> {
        fn collect(value: &Value, found: &mut Vec<String>) {
            if let (Some(description), true) = (value["description"].as_str(), value.get("routing").is_some())
            {
                found.push(nameless(description));
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| collect(value, found)),
                Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
                _ => {}
            }
        }
        let state = self.scratch.read(".longshore/local/functions/state.json");
        let mut found = Vec::new();
        collect(&serde_json::from_str(&state).expect("JSON"), &mut found);
        assert_eq!(found.len(), 1, "one alias: {state}");
        found
    }

    fn left(&self) -> Left {
        let status = self.scratch.json(0, &["status"]);
        let writes = self.scratch.writes().iter().map(without_names).collect();
        Left {
            routing: status["functions"][0]["routing"].clone(),
            open: status["functions"][0]["open"].clone(),
            writes,
            descriptions: self.descriptions(),
            ending: self.scratch.last_event(),
        }
    }
}

/// A report about the images of all versions, with nothing in it that is refused; made once.
fn report() -> &'static str {
    static REPORT: LazyLock<String> = LazyLock::new(|| {
        let scratch = Scratch::new();
        let images = ["v1", "v2", "v3"].map(|version| {
            let plan = scratch.json(0, &["plan", "--set", &format!("vars.version={version}")]);
            format!("hello@{}", plan["functions"][0]["image"]["digest"].as_str().expect("a digest"))
        });
        serde_json::json!({
            "SchemaVersion": 2,
            "ArtifactName": "hello",
            "Metadata": { "RepoDigests": images },
            "Results": [{ "Class": "os-pkgs", "Vulnerabilities": [] }],
        })
        .to_string()
    });
    &REPORT
}

/// A line of the journal without what differs from run to run: when, and the run's name.
fn without_names(write: &Value) -> String {
    let Value::Object(map) = write else { return write.to_string() };
    let kept: BTreeMap<_, _> = map.iter().filter(|(key, _)| key.as_str() != "at").collect();
    nameless(&serde_json::to_string(&kept).expect("JSON"))
}

/// `text` with RUN in the place of every run's name: 26 characters that begin with 01.
fn nameless(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 26 && word.starts_with("01"))
        .fold(text.to_owned(), |text, run| text.replace(run, "RUN"))
}

/// Every failpoint an undisturbed run comes to, with how often, and what it leaves.
fn undisturbed(story: &Story, guard: &'static str) -> (BTreeMap<String, u32>, Left) {
    let world = World::new(guard, story);
    let log = world.scratch.path().join("failpoints");
    let ran = world.run(story.verb, &[("LONGSHORE_FAILPOINT_LOG", log.to_str().expect("UTF-8"))]);
    assert_eq!(ran.code, 0, "{}: {}{}", story.name, ran.stdout, ran.stderr);
    let mut places = BTreeMap::new();
    for line in world.scratch.read("failpoints").lines() {
        *places.entry(line.to_owned()).or_insert(0) += 1;
    }
    (places, world.left())
}

/// Disturbs the run at one place and goes on until it is over; what is left, or what went wrong on the way.
fn disturbed(story: &Story, guard: &'static str, what: &str, planted: Option<&str>) -> Result<Left, String> {
    let world = World::new(guard, story);
    let mut environment = vec![("LONGSHORE_FAILPOINT", what)];
    environment.extend(planted.map(|fault| ("LONGSHORE_PLANT", fault)));
    let ran = world.run(story.verb, &environment);
    // The law itself: at no moment has the cloud accepted a write that the ledger does not announce.
    let more = unannounced(&world.scratch) - world.unannounced;
    if more > 0 {
        return Err(format!("{more} writes to the alias were not announced"));
    }
    match ran.code {
        // Killed, or told that somebody must look: somebody resumes.
        -1 | 5 => {}
        0 => return Ok(world.left()),
        code => return Err(format!("code {code}: {}{}", ran.stdout, ran.stderr)),
    }
    let open = world.scratch.json(0, &["status"])["functions"][0]["open"].clone();
    if open.is_null() {
        // The kill came before the run began, or after it was over: the same verb is simply given again, unless the
        // run has arrived already.
        let over = world.scratch.last_event() == "ended" && what.contains("ended");
        if !over {
            let again = world.run(story.verb, &[]);
            if again.code != 0 {
                return Err(format!("given again: code {}: {}", again.code, again.stdout));
            }
        }
        return Ok(world.left());
    }
    let environment: Vec<_> = planted.map(|fault| ("LONGSHORE_PLANT", fault)).into_iter().collect();
    let resumed = world.run(story.resume, &environment);
    if resumed.code != 0 {
        return Err(format!(
            "{} with guard {}: resumed: code {}: {}",
            story.name, world.guard, resumed.code, resumed.stdout
        ));
    }
    Ok(world.left())
}

/// How many writes to the alias the cloud has accepted, less those that the ledger announces.
fn unannounced(scratch: &Scratch) -> i64 {
    let accepted = scratch.writes().iter().filter(|write| !write["routing"].is_null()).count();
    let announced =
        scratch.ledger().iter().filter(|(_, text)| text.contains("\"event\":\"intended\"")).count();
    i64::try_from(accepted).expect("few") - i64::try_from(announced).expect("few")
}

/// Every way to disturb a run at `place`: killed there each time it comes by, or its answer lost.
fn ways(place: &str, times: u32) -> Vec<String> {
    let mut ways: Vec<String> = (1..=times).map(|nth| format!("{place}=kill@{nth}")).collect();
    let is_answer = !place.ends_with(".before") && !place.ends_with(".after");
    if is_answer {
        ways.extend((1..=times).map(|nth| format!("{place}=lose@{nth}")));
    }
    ways
}

#[expect(clippy::print_stdout, reason = "a run tells how many places it tried")]
fn every_place(story: &Story) {
    for guard in GUARDS {
        let (places, wanted) = undisturbed(story, guard);
        assert_eq!((wanted.open.clone(), wanted.ending.as_str()), (Value::Null, "ended"));
        let ways: Vec<String> = places.iter().flat_map(|(place, times)| ways(place, *times)).collect();
        println!("{} with guard {guard}: {} places, {} ways", story.name, places.len(), ways.len());
        for way in ways {
            match disturbed(story, guard, &way, None) {
                Ok(left) => assert_eq!(left, wanted, "{} with guard {guard}, {way}", story.name),
                Err(why) => panic!("{} with guard {guard}, {way}: {why}", story.name),
            }
        }
    }
}

#[test]
fn a_first_deploy_survives_a_kill_at_every_place() {
    every_place(&STORIES[0]);
}

#[test]
fn a_deploy_all_at_once_survives_a_kill_at_every_place() {
    every_place(&STORIES[1]);
}

#[test]
fn a_canary_survives_a_kill_at_every_place() {
    every_place(&STORIES[2]);
}

#[test]
fn a_rollback_survives_a_kill_at_every_place() {
    every_place(&STORIES[3]);
}

#[test]
fn a_promote_survives_a_kill_at_every_place() {
    every_place(&STORIES[4]);
    every_place(&STORIES[6]);
}

#[test]
fn an_abort_survives_a_kill_at_every_place() {
    every_place(&STORIES[5]);
    every_place(&STORIES[7]);
}

/// Whether some way to disturb a canary is told from an undisturbed run when `fault` is planted.
fn is_caught(fault: &str, place: &str) -> bool {
    GUARDS.iter().any(|guard| {
        let (places, wanted) = undisturbed(&STORIES[2], guard);
        ways(place, places[place])
            .iter()
            .any(|way| disturbed(&STORIES[2], guard, way, Some(fault)).as_ref() != Ok(&wanted))
    })
}

#[test]
fn the_effect_before_its_intent_is_caught() {
    assert!(is_caught("effect-before-intent", "route.after"));
    assert!(!is_caught("nothing", "route.after"), "without the fault nothing is found");
}

#[test]
fn not_looking_after_a_lost_answer_is_caught() {
    assert!(is_caught("no-look", "route"));
    assert!(!is_caught("nothing", "route"), "without the fault nothing is found");
}
