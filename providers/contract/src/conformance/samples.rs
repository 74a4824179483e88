//! Laws about metrics; a provider without them keeps these by having none.

use std::time::Duration;

use jiff::Timestamp;

use crate::conformance::Fixture;
use crate::conformance::care::{Ready, persist, ready};
use crate::error::ErrorKind;
use crate::functions::Payload;
use crate::metrics::{MetricQuery, Metrics, Percentile, Sample, VersionSamples, Window};
use crate::names::{AliasRef, Qualifier, Version};

const QUERIES: [MetricQuery; 5] = [
    MetricQuery::Invocations,
    MetricQuery::Errors,
    MetricQuery::ErrorRate,
    MetricQuery::Latency(Percentile::P95),
    MetricQuery::Throttles,
];

/// How often a store is asked before what was counted is lost.
const LOOKS: u32 = 100;

/// The minutes around now.
fn around_now() -> Window {
    let minutes = Duration::from_secs(300);
    let now = Timestamp::now();
    Window::new(now - minutes, now + minutes).expect("ten minutes are a window")
}

async fn sampled(
    metrics: &dyn Metrics,
    at: &AliasRef,
    versions: &[Version],
    window: Window,
) -> Vec<VersionSamples> {
    let samples = persist!(metrics.sample(at, versions, &QUERIES, window)).expect("metrics can be asked");
    let named: Vec<&Version> = samples.iter().map(|of| &of.version).collect();
    assert_eq!(named, versions.iter().collect::<Vec<_>>(), "not one answer per version, in order");
    assert!(samples.iter().all(|of| of.samples.len() == QUERIES.len()), "not one answer per query");
    samples
}

pub(super) async fn an_empty_window_is_silent(fixture: &dyn Fixture) {
    let Some(metrics) = fixture.provider().metrics() else { return };
    let Ready { at, first, second, .. } = ready(fixture).await;
    // Nobody has called anything, and long ago there was nothing to call.
    let long_ago = Timestamp::now() - Duration::from_secs(7200);
    let long_ago = Window::new(long_ago, long_ago + Duration::from_secs(600)).expect("a window");
    for window in [around_now(), long_ago] {
        for of in sampled(metrics, &at, &[first.clone(), second.clone()], window).await {
            assert_eq!(of.samples, vec![Sample::Silent; QUERIES.len()], "silence was told as a number");
        }
    }
    let nobody = AliasRef { function: fixture.fresh_name(), ..at };
    for of in sampled(metrics, &nobody, &[first], around_now()).await {
        assert_eq!(
            of.samples,
            vec![Sample::Silent; QUERIES.len()],
            "a function that is not there has numbers"
        );
    }
}

pub(super) async fn a_sample_never_mixes_versions(fixture: &dyn Fixture) {
    let Some(metrics) = fixture.provider().metrics() else { return };
    // All traffic goes to the first.
    let Ready { at, first, second, .. } = ready(fixture).await;
    let payload = Payload::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: "".into(),
    };
    let alias = Qualifier::Alias(at.alias.clone());
    for _ in 0..3 {
        let functions = fixture.provider().functions();
        persist!(functions.invoke(&at.function, &alias, &payload)).expect("the first version answers");
    }
    let versions = [second, first];
    let mut looks = 0;
    let samples = loop {
        let samples = sampled(metrics, &at, &versions, around_now()).await;
        match samples[1].samples[0] {
            Sample::Measured { value, .. } if value >= 3.0 => break samples,
            found => {
                looks += 1;
                assert!(looks < LOOKS, "three requests are told as {found:?}");
                fixture.pause(metrics.delay().max(Duration::from_millis(20))).await;
            }
        }
    };
    assert_eq!(
        samples[0].samples,
        vec![Sample::Silent; QUERIES.len()],
        "the idle version has the other's numbers"
    );
    let [Sample::Measured { invocations, .. }, errors, rate, latency, _] = samples[1].samples[..] else {
        panic!("{samples:?}")
    };
    assert!(invocations >= 3, "{samples:?}");
    for (sample, what) in [(errors, "errors"), (rate, "error rate")] {
        assert!(
            matches!(sample, Sample::Measured { value: 0.0, .. }),
            "no {what} is a number too: {sample:?}"
        );
    }
    assert!(matches!(latency, Sample::Measured { value, .. } if value > 0.0), "{latency:?}");
}

pub(super) async fn a_metric_that_is_not_there_is_an_error(fixture: &dyn Fixture) {
    let Some(metrics) = fixture.provider().metrics() else { return };
    let Ready { at, first, .. } = ready(fixture).await;
    let nothing = [MetricQuery::Own { name: "no such metric, anywhere".to_owned() }];
    let asked = persist!(metrics.sample(&at, std::slice::from_ref(&first), &nothing, around_now()));
    match asked {
        Err(error) => assert_eq!(error.kind, ErrorKind::Invalid, "{error}"),
        // A store that takes any name has nothing under this one.
        Ok(samples) => assert_eq!(samples[0].samples, [Sample::Silent]),
    }
}
