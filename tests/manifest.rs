//! The manifest's reader: whole messages and whole resolutions, one file per case, and the pages made from the schema.
//!
//! A case is a manifest whose first lines may say how it is read:
//! `#: --env NAME`, `#: --set PATH=VALUE`, `#: --only FUNCTION[@TARGET]`, `#: NAME=VALUE` (an environment variable),
//! `#: git none|detached`. Beside it lies the expected text; `UPDATE_EXPECT=1` writes it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use longshore::manifest::{Facts, GitFact, KnownProvider, Mistakes, Request, read};
use longshore_contract::{RunId, SettingKey, SettingKind};

#[path = "manifest/cases.rs"]
mod cases;
#[path = "manifest/facts.rs"]
mod facts;
#[path = "manifest/fuzz.rs"]
mod fuzz;

/// Two providers: the plain one, and one with every kind of setting.
pub(crate) const PROVIDERS: &[KnownProvider] = &[
    KnownProvider {
        name: "local",
        summary: "a cloud in a directory",
        settings: &[SettingKey {
            name: "state",
            doc: "The directory that holds its state.",
            kind: SettingKind::Path,
            example: ".longshore/local",
        }],
    },
    KnownProvider {
        name: "elsewhere",
        summary: "a cloud with every kind of setting",
        settings: &[
            SettingKey {
                name: "region",
                doc: "The region.",
                kind: SettingKind::Required,
                example: "north-1",
            },
            SettingKey { name: "account", doc: "The account.", kind: SettingKind::Text, example: "\"0123\"" },
            SettingKey {
                name: "edition",
                doc: "The edition.",
                kind: SettingKind::OneOf(&["basic", "advanced"]),
                example: "basic",
            },
            SettingKey {
                name: "parallel",
                doc: "How many requests at once.",
                kind: SettingKind::Number(1, 64),
                example: "8",
            },
            SettingKey {
                name: "registry.instance",
                doc: "The instance.",
                kind: SettingKind::Required,
                example: "a-1",
            },
            SettingKey {
                name: "registry.namespace",
                doc: "The namespace.",
                kind: SettingKind::Text,
                example: "shop",
            },
        ],
    },
];

/// The world of a case: only what the case states.
#[derive(Debug, Default, Clone)]
pub(crate) struct World {
    pub(crate) variables: BTreeMap<String, OsString>,
    pub(crate) git: Git,
}

/// What git says.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) enum Git {
    /// A clean commit on a branch.
    #[default]
    Branch,
    /// A commit without a branch and without a tag.
    Detached,
    /// Nothing.
    None,
}

impl Facts for World {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn git(&self, fact: GitFact) -> Result<String, String> {
        let said = match (self.git, fact) {
            (Git::None, _) => return Err("git is not installed".to_owned()),
            (_, GitFact::Sha) => "3f9a61c0b2de4f7a8c5d6e7f8091a2b3c4d5e6f7",
            (_, GitFact::Short) => "3f9a61c0b2de",
            (Git::Branch, GitFact::Branch) => "main",
            (Git::Branch, GitFact::Tag) => "v1.2",
            (Git::Detached, GitFact::Branch) => return Err("no branch is checked out".to_owned()),
            (Git::Detached, GitFact::Tag) => return Err("no tag names this commit".to_owned()),
            (_, GitFact::Dirty) => "",
        };
        Ok(said.to_owned())
    }
}

pub(crate) fn run_id() -> RunId {
    "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().expect("a ULID")
}

/// Reads a manifest with nothing asked of it.
pub(crate) fn read_text(text: &[u8], world: &World) -> Result<longshore::manifest::Deployment, Mistakes> {
    read(&Request {
        file: Path::new("deploy.yaml"),
        content: Some(text),
        environment: None,
        set: &[],
        only: &[],
        facts: world,
        run: &run_id(),
        providers: PROVIDERS,
    })
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a text with the one in `file`; `variable=1` in the environment writes it in its place.
pub(crate) fn compare(file: &Path, actual: &str, variable: &str) -> Result<(), String> {
    if std::env::var_os(variable).is_some_and(|value| value == "1") {
        return std::fs::write(file, actual).map_err(|error| format!("{}: {error}", file.display()));
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    let file = file.display();
    Err(format!(
        "{file} is not what came out ({variable}=1 writes it)\n--- expected\n{expected}\n--- came out\n{actual}"
    ))
}
