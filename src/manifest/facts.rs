//! What a manifest may ask about the world it is read in.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use super::template::GitFact;

/// Longer answers of git are cut: no branch and no tag is.
const LONGEST: u64 = 4096;

/// Answers what `${env.…}` and `${git.…}` ask. Asked only for what a manifest mentions, and for each thing once.
pub trait Facts {
    /// The environment variable `name`; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// What git knows of the manifest's directory, or in one line why it does not.
    fn git(&self, fact: GitFact) -> Result<String, String>;
}

/// The facts of this process and of the git repository around a directory.
#[derive(Debug)]
pub struct ProcessFacts {
    directory: PathBuf,
}

impl ProcessFacts {
    /// Facts for the manifest at `file`. Nothing is looked up yet.
    pub fn beside(file: &Path) -> Self {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self { directory: directory.unwrap_or(Path::new(".")).to_owned() }
    }

    /// The beginning of what git answers; `None` where it says no.
    fn ask(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>, String> {
        let mut git = Command::new("git")
            .args(arguments)
            .current_dir(&self.directory)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound if self.directory.is_dir() => "git is not installed".to_owned(),
                _ => format!("git cannot be started: {error}"),
            })?;
        let mut answer = Vec::new();
        let read = git.stdout.take().map(|stdout| stdout.take(LONGEST).read_to_end(&mut answer));
        let status = git.wait().map_err(|error| format!("git cannot be waited for: {error}"))?;
        if let Some(Err(error)) = read {
            return Err(format!("git's answer cannot be read: {error}"));
        }
        // A git that is cut short by us dies of its closed pipe: what it said until then is its answer.
        if !status.success() && (answer.len() as u64) < LONGEST {
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// What git answers as text without its line end; `otherwise` where it says no.
    fn text(&self, arguments: &[&str], otherwise: &str) -> Result<String, String> {
        let answer = self.ask(arguments)?.ok_or_else(|| otherwise.to_owned())?;
        let text = String::from_utf8(answer).map_err(|_| "git's answer is not UTF-8".to_owned())?;
        Ok(text.trim_end().to_owned())
    }

    fn commit(&self) -> Result<String, String> {
        match self.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])? {
            Some(commit) => Ok(String::from_utf8_lossy(&commit).trim_end().to_owned()),
            None if self.ask(&["rev-parse", "--git-dir"])?.is_none() => {
                Err("the manifest is not in a git repository".to_owned())
            }
            None => Err("the git repository has no commit yet".to_owned()),
        }
    }
}

impl Facts for ProcessFacts {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn git(&self, fact: GitFact) -> Result<String, String> {
        let commit = self.commit()?;
        match fact {
            GitFact::Sha => Ok(commit),
            GitFact::Short => Ok(commit.chars().take(12).collect()),
            GitFact::Branch => self.text(
                &["symbolic-ref", "--short", "--quiet", "HEAD"],
                "no branch is checked out (a detached HEAD, as CI often has)",
            ),
            GitFact::Tag => {
                self.text(&["describe", "--tags", "--exact-match", "HEAD"], "no tag names this commit")
            }
            GitFact::Dirty => match self.ask(&["status", "--porcelain"])? {
                None => Err("git cannot tell what is committed".to_owned()),
                Some(changes) if changes.is_empty() => Ok(String::new()),
                Some(_) => Ok("-dirty".to_owned()),
            },
        }
    }
}
