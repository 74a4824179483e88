//! Every file in `tests/manifests`: what it resolves to, or the whole of what is said about it.

use std::path::{Path, PathBuf};

use longshore::manifest::{Deployment, Mistakes, Request, read};

use crate::{Git, PROVIDERS, World, compare, root, run_id};

struct Case {
    file: PathBuf,
    content: Vec<u8>,
    environment: Option<String>,
    set: Vec<String>,
    only: Vec<String>,
    world: World,
}

impl Case {
    fn load(file: PathBuf) -> Self {
        let content = std::fs::read(&file).expect("the case can be read");
        let mut case =
            Self { file, content, environment: None, set: vec![], only: vec![], world: World::default() };
        let text = String::from_utf8_lossy(&case.content).into_owned();
        for line in text.lines().map_while(|line| line.strip_prefix("#: ")) {
            if let Some(name) = line.strip_prefix("--env ") {
                case.environment = Some(name.to_owned());
            } else if let Some(set) = line.strip_prefix("--set ") {
                case.set.push(set.to_owned());
            } else if let Some(only) = line.strip_prefix("--only ") {
                case.only.push(only.to_owned());
            } else if let Some(git) = line.strip_prefix("git ") {
                case.world.git = match git {
                    "none" => Git::None,
                    "detached" => Git::Detached,
                    other => panic!("{}: git {other}", case.file.display()),
                };
            } else if let Some((name, value)) = line.split_once('=') {
                case.world.variables.insert(name.to_owned(), value.into());
            } else {
                panic!("{}: {line}", case.file.display());
            }
        }
        case
    }

    fn read(&self) -> Result<Deployment, Mistakes> {
        read(&Request {
            file: Path::new("deploy.yaml"),
            content: Some(&self.content),
            environment: self.environment.as_deref(),
            set: &self.set,
            only: &self.only,
            facts: &self.world,
            run: &run_id(),
            providers: PROVIDERS,
        })
    }
}

fn cases(folder: &str) -> Vec<Case> {
    let folder = root().join("tests/manifests").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files.into_iter().map(Case::load).collect()
}

/// Runs `check` on every case and shows all that fail.
fn each(cases: &[Case], check: impl Fn(&Case) -> Result<(), String>) {
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_mistake_is_told_as_it_is_written_down() {
    let cases = cases("invalid");
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    each(&cases, |case| match case.read() {
        Ok(_) => Err(format!("{} was read without a mistake", case.file.display())),
        Err(mistakes) => compare(&case.file.with_extension("txt"), &format!("{mistakes}\n"), "UPDATE_EXPECT"),
    });
}

#[test]
fn every_valid_manifest_resolves_as_it_is_written_down() {
    let here = std::path::absolute(".").expect("a working directory");
    each(&cases("valid"), |case| match case.read() {
        Err(mistakes) => Err(format!("{}\n{mistakes}", case.file.display())),
        Ok(deployment) => {
            let text = format!("{deployment:#?}\n").replace(&here.display().to_string(), "HERE");
            compare(&case.file.with_extension("txt"), &text, "UPDATE_EXPECT")
        }
    });
}

#[test]
fn every_place_that_is_told_is_in_its_text() {
    each(&cases("invalid"), |case| {
        let text = String::from_utf8_lossy(&case.content);
        let mistakes = case.read().expect_err("an invalid case");
        for mistake in
            mistakes.iter().filter(|mistake| mistake.at.file == "deploy.yaml" && mistake.at.line > 0)
        {
            let at = &mistake.at;
            // The end of the text is a place as well: behind its last line.
            let line = text.lines().nth(at.line as usize - 1).unwrap_or_default();
            let width = u32::try_from(line.chars().count()).expect("a short line");
            if at.column == 0 || at.column > width + 1 || at.column + at.length > width + 2 {
                return Err(format!(
                    "{}: {at} (length {}) is not in the text",
                    case.file.display(),
                    at.length
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn mistakes_are_sorted_by_place_and_told_once() {
    each(&cases("invalid"), |case| {
        let mistakes = case.read().expect_err("an invalid case");
        let file: Vec<_> = mistakes.iter().filter(|mistake| mistake.at.file == "deploy.yaml").collect();
        let in_order = file.windows(2).all(|pair| {
            (pair[0].at.line, pair[0].at.column) <= (pair[1].at.line, pair[1].at.column)
                && (&pair[0].at, &pair[0].message) != (&pair[1].at, &pair[1].message)
        });
        if in_order { Ok(()) } else { Err(format!("{}: {mistakes}", case.file.display())) }
    });
}

#[test]
fn a_value_of_the_environment_is_in_no_message() {
    let secret = "correct-horse";
    each(&cases("invalid"), |case| {
        let told = case.read().expect_err("an invalid case");
        let json = serde_json::to_string(&told).expect("mistakes are JSON");
        let leaked = format!("{told}{told:?}{json}").contains(secret);
        if leaked { Err(format!("{} shows the secret", case.file.display())) } else { Ok(()) }
    });
    let with_secret = cases("invalid")
        .iter()
        .filter(|case| {
            case.world.variables.values().any(|value| value == secret)
                || String::from_utf8_lossy(&case.content).contains(secret)
        })
        .count();
    assert!(with_secret >= 3, "only {with_secret} cases hold a secret");
}

#[test]
fn a_file_that_is_not_there_is_one_clear_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("deploy.yaml");
    let world = World::default();
    let run = run_id();
    let request = Request {
        file: &file,
        content: None,
        environment: None,
        set: &[],
        only: &[],
        facts: &world,
        run: &run,
        providers: PROVIDERS,
    };
    let told = read(&request).expect_err("there is no file").to_string();
    let expected = format!(
        "{}: there is no such file\n      = `longshore init` writes a manifest, `-f FILE` names another one",
        file.display()
    );
    assert_eq!(told, expected);
    let told = read(&Request { file: directory.path(), ..request }).expect_err("a directory").to_string();
    assert!(told.contains("this is a directory, not a manifest"), "{told}");
    std::fs::write(&file, vec![b'#'; 1024 * 1024 + 1]).expect("a large file");
    let told = read(&request).expect_err("too large").to_string();
    assert!(told.contains("a manifest has at most 1 MiB"), "{told}");
    std::fs::write(
        &file,
        "version: 1\nname: shop\ntargets: {here: {provider: local}}\nfunctions: {a: {image: oci:i}}\n",
    )
    .expect("a manifest");
    let deployment = read(&request).expect("a valid manifest");
    assert_eq!(deployment.directory, std::path::absolute(directory.path()).expect("absolute"));
}
