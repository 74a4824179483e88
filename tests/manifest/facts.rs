//! What git is asked, against a real git.

use std::path::Path;
use std::process::Command;

use longshore::manifest::{Facts as _, GitFact, ProcessFacts};

fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("git starts");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn git_tells_what_is_checked_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let facts = ProcessFacts::beside(&directory.path().join("deploy.yaml"));
    assert_eq!(facts.git(GitFact::Sha), Err("the manifest is not in a git repository".to_owned()));

    git(directory.path(), &["init", "--quiet", "--initial-branch", "trunk"]);
    assert_eq!(facts.git(GitFact::Sha), Err("the git repository has no commit yet".to_owned()));

    std::fs::write(directory.path().join("a"), "a").expect("a file");
    git(directory.path(), &["add", "a"]);
    git(directory.path(), &["commit", "--quiet", "--message", "a"]);
    let sha = facts.git(GitFact::Sha).expect("a commit");
    assert!(sha.len() == 40 && sha.chars().all(|c| c.is_ascii_hexdigit()), "{sha}");
    assert_eq!(facts.git(GitFact::Short).as_deref(), Ok(&sha[..12]));
    assert_eq!(facts.git(GitFact::Branch).as_deref(), Ok("trunk"));
    assert_eq!(facts.git(GitFact::Dirty).as_deref(), Ok(""));
    assert_eq!(facts.git(GitFact::Tag), Err("no tag names this commit".to_owned()));

    git(directory.path(), &["tag", "v1"]);
    assert_eq!(facts.git(GitFact::Tag).as_deref(), Ok("v1"));

    // More changes than are read of git's answer.
    for number in 0..400 {
        std::fs::write(directory.path().join(format!("a-rather-long-name-{number}")), "").expect("a file");
    }
    assert_eq!(facts.git(GitFact::Dirty).as_deref(), Ok("-dirty"));

    git(directory.path(), &["checkout", "--quiet", "--detach"]);
    let told = facts.git(GitFact::Branch).expect_err("no branch");
    assert!(told.contains("no branch is checked out"), "{told}");
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let facts = ProcessFacts::beside(Path::new("/no/such/directory/deploy.yaml"));
    let told = facts.git(GitFact::Sha).expect_err("no directory");
    assert!(told.starts_with("git cannot be started"), "{told}");
}
