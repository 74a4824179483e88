//! The contract's laws over a real daemon, in every weather, with guarded and with unguarded writes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use longshore_contract::conformance::{Fixture, LAWS, Sample, Weather};
use longshore_contract::{Endpoint, FunctionName, PlainHttp, Provider, Reference, Service};
use serde_json::json;

use support::proxy::Proxy;
use support::{Cloud, image};

/// A cloud behind a proxy.
struct Behind<'a> {
    cloud: &'a Cloud,
    images: &'a [Reference; 3],
    proxy: Proxy,
    provider: Arc<dyn Provider>,
}

impl<'a> Behind<'a> {
    fn open(cloud: &'a Cloud, images: &'a [Reference; 3], weather: Weather, alias_writes: &str) -> Self {
        let proxy = Proxy::open(cloud.functions(), weather);
        let mut settings = cloud.settings();
        settings.values.insert("alias_writes".to_owned(), json!(alias_writes));
        settings.values.insert("scan_reports".to_owned(), json!(cloud.directory.join("scans")));
        let url = format!("http://{}", proxy.address);
        let endpoint = Endpoint { url, plain_http: PlainHttp::default(), ca: None };
        settings.endpoints.insert(Service::Functions, endpoint);
        let provider = (longshore_local::registration().connect)(&settings).expect("it can be connected to");
        Self { cloud, images, proxy, provider }
    }
}

static NAMES: AtomicU32 = AtomicU32::new(0);

#[async_trait]
impl Fixture for Behind<'_> {
    fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    fn fresh_name(&self) -> FunctionName {
        format!("law-{}", NAMES.fetch_add(1, Ordering::Relaxed)).parse().expect("a name")
    }

    async fn image(&self, sample: Sample) -> Reference {
        let [first, second, ending] = self.images;
        match sample {
            Sample::First => first.clone(),
            Sample::Second => second.clone(),
            Sample::DoesNotStart => ending.clone(),
        }
    }

    fn secret(&self) -> Option<String> {
        let text = std::fs::read(self.cloud.directory.join("daemon.json")).expect("a daemon runs");
        let daemon: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        daemon["token"].as_str().map(str::to_owned)
    }

    fn lose_next_write(&self) {
        self.proxy.lose_next_write();
    }

    async fn scanned(&self) -> Option<Reference> {
        Some(self.images[0].clone())
    }

    async fn unscanned(&self) -> Option<Reference> {
        Some(self.images[1].clone())
    }

    async fn pause(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

/// Leaves a report about `image` in the cloud's folder of them, as trivy leaves one that was told to scan a layout: the
/// image is named by its config only.
fn scan(cloud: &Cloud, image: &Reference) {
    let digest = image.digest.as_ref().expect("a digest");
    let path = format!("/v2/{}/manifests/{digest}", image.repository.path());
    let kind = [("accept", "application/vnd.oci.image.manifest.v1+json")];
    let manifest = support::http::call(cloud.registry(), "GET", &path, &kind, &[]).text();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("a manifest");
    let report = json!({
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-19T08:30:00Z",
        "ArtifactName": "layout",
        "Metadata": { "ImageID": manifest["config"]["digest"] },
        "Results": [{
            "Class": "os-pkgs",
            "Vulnerabilities": [{ "VulnerabilityID": "CVE-2025-1", "PkgName": "libc6", "Severity": "HIGH" }],
        }],
    });
    let folder = cloud.directory.join("scans");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("{}.json", digest.hex())), report.to_string()).expect("a report");
}

async fn every_law_holds(weather: Weather, alias_writes: &str) {
    let cloud = Cloud::start();
    let registry = cloud.registry();
    let images =
        [image::answering(registry, "first"), image::answering(registry, "second"), image::ending(registry)];
    scan(&cloud, &images[0]);
    // Side by side: every law has functions of its own.
    let trials = LAWS.iter().map(|law| {
        let (cloud, images) = (&cloud, &images);
        async move {
            let behind = Behind::open(cloud, images, weather, alias_writes);
            let trial = std::panic::AssertUnwindSafe(law.hold(&behind));
            futures::FutureExt::catch_unwind(trial).await.is_err().then(|| law.name.replace('_', " "))
        }
    });
    let broken: Vec<String> = futures::future::join_all(trials).await.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{weather:?}, {alias_writes} writes: these laws are broken: {broken:#?}");
}

#[tokio::test]
async fn every_law_holds_in_calm_weather() {
    every_law_holds(Weather::Calm, "atomic").await;
}

#[tokio::test]
async fn every_law_holds_when_answers_are_lost() {
    every_law_holds(Weather::AnswersLost, "atomic").await;
}

#[tokio::test]
async fn every_law_holds_when_requests_are_throttled() {
    every_law_holds(Weather::Throttled, "atomic").await;
}

#[tokio::test]
async fn every_law_holds_without_a_guard() {
    every_law_holds(Weather::Calm, "checked").await;
}

#[tokio::test]
async fn every_law_holds_without_a_guard_when_answers_are_lost() {
    every_law_holds(Weather::AnswersLost, "checked").await;
}
