//! SARIF 2.1, as vulnerability scanners write it: a result per finding, what is known of it partly in its rule, partly in
//! lines of text that begin with a key.

use std::collections::HashMap;

use jiff::Timestamp;
use longshore_contract::{ScanFinding, ScanSeverity};
use serde::Deserialize;
use serde_json::Value;

use super::report::{Outcome, Read, Subjects, said};

/// The document.
#[derive(Deserialize)]
pub(super) struct Document {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    tool: Tool,
    /// Left out by a tool that did not come to look.
    results: Option<Vec<Found>>,
    invocations: Option<Vec<Invocation>>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Tool {
    driver: Driver,
    /// Where a tool is made of parts, the rules may be theirs.
    extensions: Option<Vec<Extension>>,
}

#[derive(Deserialize)]
struct Extension {
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
struct Driver {
    name: String,
    version: Option<String>,
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    help_uri: Option<String>,
    help: Option<Text>,
    #[serde(default)]
    properties: RuleProperties,
}

#[derive(Default, Deserialize)]
struct RuleProperties {
    /// A CVSS score, as text by the convention that code hosts set; some write a number.
    #[serde(rename = "security-severity")]
    score: Option<Value>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Text {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    rule_id: Option<String>,
    /// Among the driver's rules; -1 is none of them.
    rule_index: Option<i64>,
    rule: Option<Pointer>,
    kind: Option<String>,
    message: Text,
}

/// A rule by its name. By its number it is one of some part's, which is not followed.
#[derive(Deserialize)]
struct Pointer {
    id: Option<String>,
}

impl Found {
    fn rule_id(&self) -> Option<&str> {
        self.rule_id.as_deref().or_else(|| self.rule.as_ref()?.id.as_deref())
    }

    /// Whether it is a finding: some tools tell what they looked at and found in order, too.
    fn is_one(&self) -> bool {
        !matches!(self.kind.as_deref(), Some("pass" | "notApplicable"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: Option<bool>,
    end_time_utc: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    repo_digests: Option<Vec<String>>,
}

pub(super) fn read(document: Document) -> Read {
    let mut subjects = Subjects::default();
    let (mut scanned, mut names, mut findings) = (None, Vec::new(), Vec::new());
    let mut failed = None;
    for run in document.runs {
        let Tool { driver: Driver { name, version, rules }, extensions } = run.tool;
        let theirs = extensions.into_iter().flatten().filter_map(|extension| extension.rules);
        let rules: Vec<Rule> = rules.into_iter().chain(theirs).flatten().collect();
        let (properties, invocations) =
            (run.properties.unwrap_or_default(), run.invocations.unwrap_or_default());
        properties.repo_digests.iter().flatten().for_each(|text| subjects.manifest(text));
        properties.image_id.iter().for_each(|text| subjects.config(text));
        scanned = scanned.max(invocations.iter().filter_map(|invocation| invocation.end_time_utc).max());
        if invocations.iter().any(|invocation| invocation.execution_successful == Some(false)) {
            failed = Some(format!("{name} says that it did not come to its end"));
        }
        match run.results {
            Some(results) => findings.extend(with_rules(results, &rules)),
            None => failed = Some(format!("{name} says that it did not come to look")),
        }
        names.push(version.map_or_else(|| name.clone(), |version| format!("{name} {version}")));
    }
    let outcome = match (failed, names.is_empty()) {
        (Some(why), _) => Outcome::Failed(why),
        (None, true) => Outcome::Failed("no tool was run".to_owned()),
        (None, false) => Outcome::Findings(findings),
    };
    let scanner = if names.is_empty() { "SARIF".to_owned() } else { names.join(", ") };
    Read { scanner, scanned, subjects, outcome }
}

fn with_rules(results: Vec<Found>, rules: &[Rule]) -> Vec<ScanFinding> {
    let by_id: HashMap<&str, &Rule> = rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
    let rule_of = |found: &Found| {
        let named = found.rule_id().and_then(|id| by_id.get(id).copied());
        named.or_else(|| rules.get(usize::try_from(found.rule_index?).ok()?))
    };
    results.iter().filter(|found| found.is_one()).map(|found| finding(found, rule_of(found))).collect()
}

fn finding(found: &Found, rule: Option<&Rule>) -> ScanFinding {
    let help = rule.and_then(|rule| rule.help.as_ref()).and_then(|help| help.text.as_deref());
    let texts = [found.message.text.as_deref(), help];
    let line = |keys: &[&str]| texts.iter().flatten().find_map(|text| value_of(text, keys));
    let stated =
        line(&["Severity"]).or_else(|| rule.and_then(stated)).unwrap_or_else(|| "unknown".to_owned());
    let severity = match (ScanSeverity::from_word(&stated), rule.and_then(score)) {
        (ScanSeverity::Unknown, Some(score)) => ScanSeverity::from_score(score),
        (severity, _) => severity,
    };
    let package = line(&["Package", "PackageName"]).unwrap_or_default();
    let rule_id = found.rule_id().or_else(|| rule.map(|rule| rule.id.as_str()));
    ScanFinding {
        id: id(rule_id.unwrap_or("unnamed"), &package),
        severity,
        stated,
        installed: line(&["Installed Version", "Version"]).unwrap_or_default(),
        fixed: line(&["Fixed Version", "Fix Version"]),
        link: rule.and_then(|rule| said(rule.help_uri.clone())),
        package,
    }
}

/// The finding's public name: some tools write `CVE-2025-1-openssl`, so that each package has a rule of its own.
fn id(rule: &str, package: &str) -> String {
    let short = rule.strip_suffix(package).and_then(|rest| rest.strip_suffix('-'));
    short.filter(|short| !package.is_empty() && !short.is_empty()).unwrap_or(rule).to_owned()
}

/// How severe a rule's finding is, in its tool's word: a tag that is one, else its score.
fn stated(rule: &Rule) -> Option<String> {
    let is_word = |tag: &&String| ScanSeverity::from_word(tag) != ScanSeverity::Unknown;
    let tag = rule.properties.tags.iter().find(is_word).cloned();
    tag.or_else(|| score(rule).map(|score| format!("CVSS {score}")))
}

fn score(rule: &Rule) -> Option<f64> {
    match rule.properties.score.as_ref()? {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64(),
    }
}

/// The value of the first line that begins with one of `keys` and a colon.
fn value_of(text: &str, keys: &[&str]) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let known = keys.iter().any(|known| known.eq_ignore_ascii_case(key.trim()));
        said(known.then(|| value.trim().to_owned()))
    })
}
