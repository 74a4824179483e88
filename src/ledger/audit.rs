//! Who runs this, and from where.

use std::io::Read as _;

use serde::{Deserialize, Serialize};

/// Who asked for a run, and from where. Facts for people; nothing is decided by them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The user, in the CI system's words or the system's.
    pub by: String,
    /// The machine's name.
    pub host: Option<String>,
    /// The commit that is deployed from, where the environment tells.
    pub commit: Option<String>,
    /// Where the CI job can be looked at.
    pub ci_url: Option<String>,
    /// What the user said about it.
    pub message: Option<String>,
}

const LONGEST: usize = 300;

const USERS: [&str; 6] =
    ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME", "BUILD_USER", "USER"];
const COMMITS: [&str; 6] =
    ["GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "CIRCLE_SHA1", "BITBUCKET_COMMIT", "GIT_COMMIT"];
const JOBS: [&str; 4] = ["CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL"];

impl Audit {
    /// Gathers the facts from the environment as `lookup` tells it, and the machine's name from the system. Control
    /// characters are dropped, long texts cut, and user names and passwords in addresses left out.
    pub fn gather(lookup: &dyn Fn(&str) -> Option<String>, message: Option<&str>) -> Self {
        let get = |name: &str| lookup(name).and_then(|text| clean(&text));
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let workflow = || {
            let (server, repository, run) =
                (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?, get("GITHUB_RUN_ID")?);
            Some(format!("{server}/{repository}/actions/runs/{run}"))
        };
        let system = rustix::system::uname();
        Self {
            by: first(&USERS).or_else(|| get("LOGNAME")).unwrap_or_else(user),
            host: clean(&system.nodename().to_string_lossy()),
            commit: first(&COMMITS),
            ci_url: workflow().or_else(|| first(&JOBS)).as_deref().map(without_login),
            message: message.and_then(clean),
        }
    }
}

/// The name of whoever runs this process, as the system's list of users has it; else the number.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let mut list = String::new();
    let read =
        std::fs::File::open("/etc/passwd").and_then(|file| file.take(1 << 20).read_to_string(&mut list));
    let line = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    };
    let named = read.ok().and_then(|_| list.lines().find_map(line));
    named.as_deref().and_then(clean).unwrap_or_else(|| format!("uid {uid}"))
}

fn clean(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// `address` without what stands before `@` in its host part.
fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(host_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(variables: &[(&str, &str)]) -> Audit {
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Audit::gather(&lookup, Some("fix\nthe till"))
    }

    #[test]
    fn a_ci_job_is_named_by_its_own_variables() {
        let audit = gather(&[
            ("USER", "runner"),
            ("GITHUB_ACTOR", "ann"),
            ("GITHUB_SHA", "3f9a61c"),
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", "shop/checkout"),
            ("GITHUB_RUN_ID", "77"),
        ]);
        assert_eq!(audit.by, "ann");
        assert_eq!(audit.commit.as_deref(), Some("3f9a61c"));
        assert_eq!(audit.ci_url.as_deref(), Some("https://github.example/shop/checkout/actions/runs/77"));
        assert_eq!(audit.message.as_deref(), Some("fixthe till"));
    }

    #[test]
    fn a_password_in_an_address_is_left_out() {
        let audit =
            gather(&[("USER", "ann"), ("CI_JOB_URL", "https://bot:hunter2@ci.example/-/jobs/3?a=b@c")]);
        assert_eq!(audit.ci_url.as_deref(), Some("https://ci.example/-/jobs/3?a=b@c"));
    }

    #[test]
    fn without_any_variable_somebody_is_still_named() {
        let audit = gather(&[("USER", "  "), ("GIT_COMMIT", "")]);
        assert!(!audit.by.trim().is_empty(), "{}", audit.by);
        assert_eq!(audit.commit, None);
    }
}
