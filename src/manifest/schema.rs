//! Everything that may be written in a manifest, key by key. The reader, the JSON schema and `docs/manifest.md` are
//! made from this file: a doc comment here is what users read.

use std::time::Duration;

use jiff::civil::Date;
use longshore_contract::{AliasName, FunctionName, Platform, Secret, Share, Tag};

use super::collection::{
    EnvironmentKey, EnvironmentVariable, FunctionKey, Json, Later, Names, RawField, TargetKey, VariableKey,
};
use super::deployment::Build;
use super::environment::Environment;
use super::forms::{EndpointForm, FunctionEntry, ImageForm};
use super::gate::OnSilence;
use super::image::BaseText;
use super::scan::{FindingSeverity, OnAbsent};
use super::shape::Presence::{Default, Otherwise, Required};
use super::shape::{At, table};
use super::shift::StrategyWord;
use super::target::Target;
use super::value::{FormatVersion, ImagePath, Mode, Number, RepositoryPath, RequestPath, Size, Word};

table! {
    /// The keys at the top of `deploy.yaml`.
    ManifestTable, "manifest" {
        /// The version of this format.
        version: FormatVersion, Required, ["1"];
        /// What the functions belong to. The functions' names in the cloud begin with it.
        name: Word, Required, ["shop"];
        /// Texts to be used as `${vars.NAME}`. They may use `${env.…}`, `${git.…}`, `${run.id}` and one another.
        vars: Names<VariableKey, Later<Secret>>, Otherwise("no variables"), ["{ tag: \"${git.sha}\" }"];
        /// Where runs are recorded: a directory, relative to the manifest, or the URL of a bucket.
        ledger: String, Default(".longshore/ledger"), [".longshore/ledger"];
        /// The clouds that functions go to.
        targets: Names<TargetKey, Later<Target>>, Required, ["{ here: { provider: local } }"];
        /// The functions.
        functions: Names<FunctionKey, Later<FunctionEntry>>, Required, ["{ checkout: { image: oci:image } }"];
        /// What `--env ENVIRONMENT` lays over the rest. Maps merge, lists and single values replace, and `null` takes a
        /// key away.
        environments: Names<EnvironmentKey, Later<Environment>>, Otherwise("no environments"),
            ["{ prod: { functions: { checkout: { shift: { soak: 15m } } } } }"];
    }
}

table! {
    /// A function: where its image comes from, where it goes, and how traffic moves to it.
    FunctionTable, "function" {
        /// A shell command that makes the image, run in the manifest's directory before the image is read. `${…}` is
        /// filled in first; write `$NAME` or `$${NAME}` for what the shell is to fill in.
        build: Build, Otherwise("nothing is built"), ["make image"];
        /// The image to deploy.
        image: ImageForm, Required, ["oci:image", "oci:image:v1", "oci-archive:image.tar", "docker-daemon:shop/checkout:v1", "docker-archive:image.tar", "ghcr.io/shop/checkout:v1"];
        /// The platform to take out of an image for several.
        platform: Platform, Otherwise("the first that the target's cloud runs"), ["linux/amd64", "linux/arm64/v8"];
        /// The function's name in the cloud.
        name: FunctionName, Otherwise("the manifest's name, `-` and the function's name here"), ["shop-checkout"];
        /// The repository for the image, beneath the target's namespace or prefix.
        repository: RepositoryPath, Otherwise("the function's name here"), ["checkout", "shop/checkout"];
        /// A label for the image in the registry. What is deployed is the digest.
        tag: Tag, Otherwise("the image is pushed by its digest only"), ["v1.2", "\"${git.short}\""];
        /// Whether `tag` may be `latest`, a label that says nothing about what it names.
        allow_latest: bool, Default("false"), ["true"];
        /// The alias whose traffic moves to the new version.
        alias: AliasName, Default("live"), ["live"];
        /// The function's configuration in the cloud. What is not stated is left as it is.
        config: ConfigTable, Otherwise("the configuration is left as it is"), ["{ memory: 512MiB, timeout: 30s }"];
        /// Which findings of the registry's scanner stop a deploy.
        scan: ScanTable, Otherwise("the image is not scanned"), ["{ refuse: high }"];
        /// Requests that the new version must answer before it gets traffic.
        smoke: Vec<At<SmokeTable>>, Otherwise("no requests"), ["[ { http: { path: /health } } ]"];
        /// How traffic moves to the new version.
        shift: ShiftTable, Otherwise("all at once"), ["{ strategy: canary, steps: [ 5%, 25% ], soak: 5m }"];
    }
}

table! {
    /// The function's configuration. Only what is stated is compared and changed.
    ConfigTable, "config" {
        /// The identity the function runs under, as its cloud names it.
        role: String, Otherwise("left as it is"), ["checkout-role"];
        /// The function's memory.
        memory: Size, Otherwise("left as it is"), ["512MiB", "2GiB"];
        /// How long one request may take.
        timeout: Duration, Otherwise("left as it is"), ["30s"];
        /// The port that the image listens on, for images that speak HTTP.
        port: Number<1, 65535>, Otherwise("left as it is"), ["8080"];
        /// The image's handler, where a runtime takes one.
        handler: String, Otherwise("left as it is"), ["app.handler"];
        /// What is started in place of the image's entrypoint and command.
        command: Vec<At<String>>, Otherwise("left as it is"), ["[ /app/checkout, --verbose ]"];
        /// The function's whole environment: variables that are not stated here are removed. Values are never shown.
        environment: Names<EnvironmentVariable, Secret>, Otherwise("left as it is"),
            ["{ LOG: info, PASSWORD: \"${env.PASSWORD:-none}\" }"];
        /// Further fields in the cloud's own words, passed on as they are.
        raw: Names<RawField, Json>, Otherwise("left as it is"), ["{ TracingConfig: { Mode: Active } }"];
    }
}

table! {
    /// What a scan may find.
    ScanTable, "scan" {
        /// The lowest severity that stops a deploy. Where the scanner has no word so high, its highest one counts for it.
        refuse: FindingSeverity, Default("high"), ["high"];
        /// What a finding counts as whose severity nobody has stated.
        unknown_as: FindingSeverity, Default("medium"), ["high"];
        /// Whether only those findings count that a newer version of their package mends.
        only_fixable: bool, Default("false"), ["true"];
        /// Whether only those findings count that the image which is live does not have. Where it has no scan to compare
        /// with, all count.
        new_since_live: bool, Default("false"), ["true"];
        /// What happens when there is no scan of the image to show: no scanner, no report, an image that cannot be scanned,
        /// a scan that broke off or is not over at its deadline.
        on_absent: OnAbsent, Default("refuse"), ["refuse", "warn"];
        /// How long a scan may take.
        deadline: Duration, Default("10m"), ["10m"];
        /// Findings that are known and accepted for a time.
        ignore: Vec<At<WaiverTable>>, Otherwise("no finding is ignored"),
            ["[ { id: CVE-2025-1, until: 2027-01-31, because: not reachable, by: ann } ]"];
    }
}

table! {
    /// One finding that does not stop a deploy until a day.
    WaiverTable, "waiver" {
        /// The finding's name, as the scanner tells it.
        id: String, Required, ["CVE-2025-1"];
        /// The last day it is ignored, in UTC.
        until: Date, Required, ["2027-01-31"];
        /// Why it is ignored.
        because: String, Required, ["not reachable"];
        /// Who decided it.
        by: String, Required, ["ann"];
    }
}

table! {
    /// One request to the new version and what must come back. State either `payload` or `http`.
    SmokeTable, "smoke" {
        /// An event to invoke the function with.
        payload: Json, Otherwise("`http` is stated"), ["{ ping: true }"];
        /// An HTTP request.
        http: RequestTable, Otherwise("`payload` is stated"), ["{ path: /health }"];
        /// What must come back.
        expect: ExpectTable, Otherwise("status 200"), ["{ status: 200, json: { ok: true } }"];
    }
}

table! {
    /// A GET request.
    RequestTable, "smoke-http" {
        /// The path with its query.
        path: RequestPath, Required, ["/health", "/health?deep=1"];
    }
}

table! {
    /// What a request must be answered with.
    ExpectTable, "smoke-expect" {
        /// The status. An event that was answered without an error of the function's has 200.
        status: Number<100, 599>, Default("200"), ["200"];
        /// What the answer's body must hold, as JSON. An object may hold more keys than these.
        json: Json, Otherwise("the body is not looked at"), ["{ ok: true }"];
    }
}

table! {
    /// How traffic moves from what is live to the new version.
    ShiftTable, "shift" {
        /// The way. `all-at-once` moves it in one write. `canary` goes through `steps` and stays `soak` at each.
        /// `linear` goes up by `step` and stays `every` at each. CodeDeploy's names are understood.
        strategy: StrategyWord, Default("all-at-once"),
            ["all-at-once", "canary", "linear", "Canary10Percent5Minutes", "Linear10PercentEvery1Minute"];
        /// With `canary`: the shares of traffic, rising. All of it comes behind the last one.
        steps: Vec<At<Share>>, Otherwise("required with `canary`"), ["[ 5%, 25% ]"];
        /// With `canary`: how long each share is watched.
        soak: Duration, Otherwise("required with `canary`"), ["5m"];
        /// With `linear`: how much the share goes up by.
        step: Share, Otherwise("required with `linear`"), ["10%"];
        /// With `linear`: how long each share is watched.
        every: Duration, Otherwise("required with `linear`"), ["1m"];
        /// What brings the old version back while a share is watched.
        gate: GateTable, Otherwise("nothing is judged; only time passes"), ["{ errors: { max: 1% } }"];
    }
}

table! {
    /// How the new version is judged. At least one of `errors` and `p95` is stated.
    GateTable, "gate" {
        /// How often it is judged.
        every: Duration, Default("30s"), ["30s"];
        /// How many bad judgements in a row bring the old version back.
        bad: Number<1, 100>, Default("2"), ["2"];
        /// How many judgements in a row without enough requests count as silence.
        silent: Number<1, 100>, Default("3"), ["3"];
        /// Limits on failing requests.
        errors: ErrorsTable, Otherwise("errors are not judged"), ["{ max: 1%, worse_than_stable_by: 0.5% }"];
        /// Limits on the 95th percentile of latency.
        p95: LatencyTable, Otherwise("latency is not judged"), ["{ max: 800ms }"];
        /// With fewer requests than this a judgement says nothing.
        min_invocations: Number<1, 1_000_000_000>, Default("50"), ["50"];
        /// What silence leads to.
        on_silence: OnSilence, Default("hold"), ["hold", "return"];
    }
}

table! {
    /// Limits on failing requests. At least one is stated.
    ErrorsTable, "gate-errors" {
        /// The largest share of the new version's requests that may fail.
        max: Share, Otherwise("no limit of its own"), ["1%"];
        /// By how much that share may be above the stable version's.
        worse_than_stable_by: Share, Otherwise("the stable version is not compared"), ["0.5%"];
    }
}

table! {
    /// Limits on latency.
    LatencyTable, "gate-p95" {
        /// The longest that 95 of 100 requests may take.
        max: Duration, Required, ["800ms"];
    }
}

table! {
    /// An image put together here, without a container runtime.
    AssembleTable, "assemble" {
        /// The image it begins with.
        base: BaseText, Default("scratch"), ["scratch", "oci:base", "docker.io/library/python:3.12-slim"];
        /// Files and directories that are added, a layer each.
        add: Vec<At<AddTable>>, Otherwise("no files"), ["[ { source: target/checkout, destination: /app/checkout } ]"];
        /// What is started.
        entrypoint: Vec<At<String>>, Otherwise("the base's"), ["[ /app/checkout ]"];
        /// The entrypoint's arguments.
        command: Vec<At<String>>, Otherwise("the base's, or none with an entrypoint of its own"), ["[ --verbose ]"];
        /// Variables of the image, beside the base's.
        environment: Names<EnvironmentVariable, Secret>, Otherwise("the base's"), ["{ LOG: info }"];
        /// The directory it is started in.
        workdir: ImagePath, Otherwise("the base's"), ["/app"];
        /// The user it is started as.
        user: String, Otherwise("the base's"), ["\"1000:1000\""];
        /// The platform it is for.
        platform: Platform, Otherwise("the function's platform"), ["linux/amd64"];
    }
}

table! {
    /// A file or directory that is added to an image.
    AddTable, "assemble-add" {
        /// The file or directory here, relative to the manifest.
        source: String, Required, ["target/checkout"];
        /// The path it gets in the image.
        destination: ImagePath, Required, ["/app/checkout"];
        /// The permissions that every file gets.
        mode: Mode, Otherwise("0755 for directories and for files that may be executed, 0644 for others"), ["\"0755\""];
    }
}

table! {
    /// An image put together here.
    AssembleForm, "image-assemble" {
        /// What it is put together from.
        assemble: AssembleTable, Required,
            ["{ add: [ { source: target/checkout, destination: /app/checkout } ], entrypoint: [ /app/checkout ] }"];
    }
}

table! {
    /// Where the target's services are reached, in place of their usual addresses. Names in references stay as they are.
    EndpointsTable, "endpoints" {
        /// Functions, versions and aliases.
        functions: EndpointForm, Otherwise("the usual address"), ["http://127.0.0.1:9001"];
        /// The registry's management API.
        registry_api: EndpointForm, Otherwise("the usual address"), ["http://127.0.0.1:9002"];
        /// The registry.
        registry: EndpointForm, Otherwise("the usual address"), ["https://mirror.example:5000"];
        /// The image scanner.
        scanner: EndpointForm, Otherwise("the usual address"), ["https://scanner.example"];
        /// The metrics store.
        metrics: EndpointForm, Otherwise("the usual address"), ["https://metrics.example"];
        /// Who am I.
        identity: EndpointForm, Otherwise("the usual address"), ["https://identity.example"];
    }
}

table! {
    /// An address with what it takes to trust it. Every key of `endpoints` takes one.
    EndpointTable, "endpoint" {
        /// The address.
        url: super::endpoint::Url, Required, ["https://registry.internal:5000"];
        /// Whether plain http may be spoken to a host that is not this machine.
        plain_http: bool, Default("false"), ["true"];
        /// A file of PEM certificates to trust here, relative to the manifest.
        ca: String, Otherwise("the system's certificates"), ["certificates/internal.pem"];
    }
}
