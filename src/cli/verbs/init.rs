//! `init`: a first manifest.

use std::io::Write as _;

use super::super::args::InitArgs;
use super::super::{Answer, faults};
use crate::report::{Body, Outcome};

/// What `init` writes; a test reads it with the manifest's reader.
const FIRST: &str = include_str!("init.yaml");

/// Writes a first manifest, and nothing over one that is there.
pub(super) fn init(args: &InitArgs) -> Result<Answer, Answer> {
    let path = &args.file;
    let made = std::fs::File::options().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(FIRST.as_bytes()).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => Ok(Answer::done(Body::Written { file: path.display().to_string() })),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let hint = Some("write to another file with `-f FILE`".to_owned());
            let fault = faults::fault("exists", format!("{} is there already", path.display()), hint);
            Err(Answer::failed(Outcome::Refused, vec![fault]))
        }
        Err(error) => {
            let fault = faults::fault("file", format!("{} cannot be written: {error}", path.display()), None);
            Err(Answer::failed(Outcome::Failed, vec![fault]))
        }
    }
}
