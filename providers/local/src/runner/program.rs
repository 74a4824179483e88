//! The program that an image's command line names, found before anything is started: the kernel's own word for most
//! mistakes is "no such file".

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use longshore_contract::Platform;

use super::elf::Elf;
use super::error::StartError;
use super::unpack::Root;

/// How much of a program is looked at.
const HEAD: u64 = 64 << 10;

/// A program inside an image.
#[derive(Debug)]
pub(super) struct Program {
    /// Where it is for a process whose `/` is the image's root.
    pub(super) inside: PathBuf,
    /// Where it is from the root, without links.
    pub(super) real: PathBuf,
    pub(super) linkage: Linkage,
}

/// Whether a program can run without the files around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linkage {
    /// It is all in its one file.
    Static,
    /// It needs a loader or an interpreter at its place in the root.
    Rooted,
}

/// Finds `word` as the kernel and a shell would: in `search` (a `PATH`), or from `directory` when it has a slash.
pub(super) fn find(root: &Root, word: &str, search: &str, directory: &Path) -> Result<Program, StartError> {
    let candidates: Vec<PathBuf> = match word.contains('/') {
        true => vec![directory.join(word)],
        false => search.split(':').map(|folder| directory.join(folder).join(word)).collect(),
    };
    let mut refused = None;
    for candidate in candidates {
        let file = match root.file(&candidate) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused = Some(candidate);
                continue;
            }
            Err(_) => continue,
        };
        let metadata = file.metadata().map_err(StartError::disk(&candidate))?;
        if !metadata.is_file() {
            continue;
        }
        // Whether the image's user is among those who may, the kernel says.
        if metadata.permissions().mode() & 0o111 == 0 {
            refused = Some(candidate);
            continue;
        }
        return examine(root, candidate, file);
    }
    match refused {
        Some(program) => Err(StartError::NotExecutable { program: program.display().to_string() }),
        None => Err(StartError::NotFound { program: word.to_owned(), search: search.to_owned() }),
    }
}

fn examine(root: &Root, inside: PathBuf, file: File) -> Result<Program, StartError> {
    let program = inside.display().to_string();
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(StartError::disk(&inside))?;
    let interpreter = if let Some(elf) = Elf::read(&head) {
        let (architecture, host) = (elf.architecture(), Platform::host());
        let runs =
            architecture == host.architecture || (architecture == "386" && host.architecture == "amd64");
        if !runs {
            return Err(StartError::WrongArchitecture { program, architecture, host });
        }
        elf.interpreter
    } else if let Some(line) = head.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default());
        Some(line.split_whitespace().next().unwrap_or_default().trim_end_matches('\r').to_owned())
    } else {
        return Err(StartError::NotAProgram { program });
    };
    if let Some(interpreter) = &interpreter
        && root.real(Path::new(interpreter)).is_err()
    {
        return Err(StartError::NoInterpreter { program, interpreter: interpreter.clone() });
    }
    let real = root.real(&inside).map_err(StartError::disk(&inside))?;
    let linkage = if interpreter.is_some() { Linkage::Rooted } else { Linkage::Static };
    Ok(Program { inside, real, linkage })
}
