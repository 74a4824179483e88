//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

pub(crate) use super::unpack::fuzzing::{bytes, members};

use super::elf::Elf;

/// The head of a program.
pub(crate) fn program(bytes: &[u8]) {
    if let Some(program) = Elf::read(bytes) {
        assert!(!program.architecture().is_empty());
        assert!(program.interpreter.is_none_or(|interpreter| interpreter.len() <= 3 * bytes.len()));
    }
}
