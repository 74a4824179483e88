//! The head of an ELF program: what machine it is for, and who loads it.

/// What the head of a program says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elf {
    machine: u16,
    /// The dynamic loader it needs; `None` for a static program.
    pub(super) interpreter: Option<String>,
}

const INTERPRETER: u32 = 3;

impl Elf {
    /// Reads the head of a program; `None` when it is not an ELF program, or a mangled one.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        if head.get(..4)? != b"\x7fELF" {
            return None;
        }
        let wide = match head.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let little = match head.get(5)? {
            1 => true,
            2 => false,
            _ => return None,
        };
        let file = Fields { head, little };
        let (table, size_at, count_at) = match wide {
            true => (file.number(32, 8)?, 54, 56),
            false => (file.number(28, 4)?, 42, 44),
        };
        let (size, count) = (file.number(size_at, 2)?, file.number(count_at, 2)?);
        let mut interpreter = None;
        for index in 0..count {
            let header = usize::try_from(table.checked_add(index * size)?).ok()?;
            // A table behind the head is nothing that a linker writes.
            if file.number(header, 4)? != u64::from(INTERPRETER) {
                continue;
            }
            let (from, length) = match wide {
                true => (file.number(header + 8, 8)?, file.number(header + 32, 8)?),
                false => (file.number(header + 4, 4)?, file.number(header + 16, 4)?),
            };
            let from = usize::try_from(from).ok()?;
            let text = head.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
            let text = text.split(|byte| *byte == 0).next()?;
            interpreter = Some(String::from_utf8_lossy(text).into_owned());
        }
        Some(Self { machine: file.number(18, 2)? as u16, interpreter })
    }

    /// The architecture in the words of images.
    pub(super) fn architecture(&self) -> String {
        match self.machine {
            3 => "386".to_owned(),
            40 => "arm".to_owned(),
            62 => "amd64".to_owned(),
            183 => "arm64".to_owned(),
            243 => "riscv64".to_owned(),
            22 => "s390x".to_owned(),
            21 => "ppc64le".to_owned(),
            other => format!("machine {other}"),
        }
    }
}

struct Fields<'a> {
    head: &'a [u8],
    little: bool,
}

impl Fields<'_> {
    fn number(&self, at: usize, bytes: usize) -> Option<u64> {
        let field = self.head.get(at..at.checked_add(bytes)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.little {
            true => field.iter().rev().fold(0, add),
            false => field.iter().fold(0, add),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_for_this_machine() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(&program[..64 << 10]).unwrap();
        assert_eq!(elf.architecture(), longshore_contract::Platform::host().architecture);
    }

    #[test]
    fn a_mangled_head_is_no_program() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for cut in [0, 3, 4, 5, 17, 40, 63, 70] {
            assert_eq!(Elf::read(&program[..cut]), None, "{cut}");
        }
        let mut far = program[..4096].to_vec();
        far[32..40].fill(0xff);
        assert_eq!(Elf::read(&far), None);
        assert_eq!(Elf::read(b"#!/bin/sh\n"), None);
    }
}
