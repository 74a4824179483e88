//! Laws about functions and versions.

use std::time::Duration;

use crate::config::Config;
use crate::conformance::care::{fresh_intent, live, order, persist, read, release, version};
use crate::conformance::{Fixture, Sample};
use crate::error::ErrorKind;
use crate::functions::{Payload, State};
use crate::names::Qualifier;
use crate::secret::Secret;

pub(super) async fn what_does_not_exist_is_none_and_not_an_error(fixture: &dyn Fixture) {
    let functions = fixture.provider().functions();
    let nobody = fixture.fresh_name();
    assert_eq!(persist!(functions.describe(&nobody, &Qualifier::Latest)).expect("no error"), None);
    assert_eq!(read(fixture, &live(&nobody)).await, None);
    assert_eq!(persist!(functions.versions(&nobody, 10)).expect("no error"), []);
    let name = fixture.fresh_name();
    version(fixture, &name, Sample::First).await;
    assert_eq!(read(fixture, &live(&name)).await, None);
    for at in [Qualifier::Alias(live(&name).alias), Qualifier::Version("99999".parse().expect("a version"))] {
        assert_eq!(persist!(functions.describe(&name, &at)).expect("no error"), None, "{at}");
    }
}

pub(super) async fn an_update_that_failed_is_an_error(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    let good = version(fixture, &name, Sample::First).await;
    let broken = order(fixture, &name, Sample::DoesNotStart, fresh_intent(), Config::default()).await;
    let error = release(fixture, &broken).await.expect_err("an image that does not start makes no version");
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
    let versions =
        persist!(fixture.provider().functions().versions(&name, 10)).expect("versions can be listed");
    for version in versions.iter().filter(|summary| summary.version != good) {
        // Some clouds find out only when the version exists: then it must be known as failed.
        let at = Qualifier::Version(version.version.clone());
        let found =
            persist!(fixture.provider().functions().describe(&name, &at)).expect("it can be described");
        let state = found.expect("a version that is listed exists").state;
        assert!(
            matches!(state, State::Failed { .. }),
            "version {} of a broken image is {state:?}",
            version.version
        );
    }
    let after = version(fixture, &name, Sample::Second).await;
    assert_ne!(after, good, "after a failure a good image makes a version");
}

pub(super) async fn a_publish_repeated_is_one_version(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    let first = order(fixture, &name, Sample::First, fresh_intent(), Config::default()).await;
    let made = release(fixture, &first).await.expect("a sample can be released");
    let again = release(fixture, &first).await.expect("an intent can be repeated");
    assert_eq!(made, again, "the same intent made two versions");
    version(fixture, &name, Sample::Second).await;
    let later = release(fixture, &first).await.expect("an intent can be repeated after others came");
    assert_eq!(made, later, "the same intent made another version after the function had moved on");
    let versions =
        persist!(fixture.provider().functions().versions(&name, 10)).expect("versions can be listed");
    assert_eq!(versions.len(), 2, "two intents made {} versions", versions.len());
}

pub(super) async fn the_published_digest_is_the_applied_digest(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    for sample in [Sample::First, Sample::Second] {
        let order = order(fixture, &name, sample, fresh_intent(), Config::default()).await;
        let made = release(fixture, &order).await.expect("a sample can be released");
        let wanted = order.spec.image.digest.expect("a sample has a digest");
        assert_eq!(made.digest, wanted);
        let at = Qualifier::Version(made.version);
        let found =
            persist!(fixture.provider().functions().describe(&name, &at)).expect("it can be described");
        let found = found.expect("a version that was made exists");
        assert_eq!(found.state, State::Active);
        if let Some(digest) = found.digest {
            assert_eq!(digest, wanted, "the version shows another digest than it was made with");
        }
    }
}

pub(super) async fn settings_that_are_not_stated_stay(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    let environment = [("LAW".to_owned(), Secret::new("kept"))];
    let stated = Config {
        timeout: Some(Duration::from_secs(7)),
        environment: Some(environment.into()),
        ..Config::default()
    };
    let first = order(fixture, &name, Sample::First, fresh_intent(), stated.clone()).await;
    let first = release(fixture, &first).await.expect("a sample can be released");
    let changed = Config { timeout: Some(Duration::from_secs(9)), ..Config::default() };
    let second = order(fixture, &name, Sample::First, fresh_intent(), changed).await;
    let second = release(fixture, &second).await.expect("a sample can be released");
    for (version, seconds) in [(first.version, 7), (second.version, 9)] {
        let at = Qualifier::Version(version);
        let found =
            persist!(fixture.provider().functions().describe(&name, &at)).expect("it can be described");
        let config = found.expect("a version that was made exists").config;
        assert_eq!(config.timeout, Some(Duration::from_secs(seconds)), "of version {at}");
        assert_eq!(config.environment, stated.environment, "of version {at}");
    }
}

pub(super) async fn versions_come_newest_first_and_no_more_than_asked_for(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    let mut made = Vec::new();
    for sample in [Sample::First, Sample::Second, Sample::First] {
        made.insert(0, version(fixture, &name, sample).await);
    }
    for limit in 0..=4 {
        let listed =
            persist!(fixture.provider().functions().versions(&name, limit)).expect("versions can be listed");
        let listed: Vec<_> = listed.into_iter().map(|summary| summary.version).collect();
        assert_eq!(listed, made[..limit.min(3)], "at most {limit}");
    }
}

pub(super) async fn a_request_reaches_the_version_that_was_asked_for(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    for (sample, body) in [(Sample::First, "first"), (Sample::Second, "second")] {
        let at = Qualifier::Version(version(fixture, &name, sample).await);
        let payload = Payload::Event(serde_json::json!({ "ping": true }));
        let answer =
            persist!(fixture.provider().functions().invoke(&name, &at, &payload)).expect("it answers");
        assert_eq!((answer.status, answer.function_error), (200, None));
        assert!(String::from_utf8_lossy(&answer.payload).contains(body), "{at} did not answer {body:?}");
    }
    let absent = Qualifier::Version("99999".parse().expect("a version"));
    let payload = Payload::Event(serde_json::Value::Null);
    let error = persist!(fixture.provider().functions().invoke(&name, &absent, &payload))
        .expect_err("nobody is there");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

pub(super) async fn a_lost_answer_leaves_at_most_one_version(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    for (count, sample) in [(1, Sample::First), (2, Sample::Second)] {
        fixture.lose_next_write();
        version(fixture, &name, sample).await;
        let listed =
            persist!(fixture.provider().functions().versions(&name, 10)).expect("versions can be listed");
        assert_eq!(listed.len(), count, "a lost answer left {} versions, not {count}", listed.len());
    }
}

pub(super) async fn an_error_names_operation_and_subject_and_no_secret(fixture: &dyn Fixture) {
    let name = fixture.fresh_name();
    let hidden = "law-of-silence";
    let environment = Some([("TOKEN".to_owned(), Secret::new(hidden))].into());
    let config = Config { environment, ..Config::default() };
    let broken = order(fixture, &name, Sample::DoesNotStart, fresh_intent(), config).await;
    let error = release(fixture, &broken).await.expect_err("an image that does not start makes no version");
    let text = format!("{error} {error:?} {broken:?}");
    assert!(error.to_string().contains(name.as_str()), "{error} does not name {name}");
    assert!(!error.operation.is_empty());
    assert!(!error.to_string().contains('\n'), "an error is one line: {error}");
    assert!(!text.contains(hidden), "an error shows an environment's value");
    if let Some(secret) = fixture.secret() {
        assert!(!text.contains(&secret), "an error shows a secret");
    }
}
