//! Just enough of ELF (System V ABI, chapters 4 and 5) to see for which machine a program is and whether it is
//! static: a program that needs a loader would start in the image with "no such file or directory".

use oci_spec::image::Arch;

/// What matters of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elf {
    pub(super) architecture: Arch,
    /// No `PT_INTERP`: needs no dynamic loader.
    pub(super) is_static: bool,
}

const PT_INTERP: u32 = 3;

/// Reads the header of a 64-bit little-endian program; says what is wrong if it is none.
pub(super) fn look(program: &[u8]) -> Result<Elf, &'static str> {
    const CUT: &str = "its ELF header is cut off";
    if program.get(..4) != Some(b"\x7fELF") {
        return Err("it is not an ELF program");
    }
    if program.get(4..6) != Some(&[2, 1]) {
        return Err("it is not a 64-bit little-endian program");
    }
    let architecture = match number(program, 18, 2).ok_or(CUT)? {
        62 => Arch::Amd64,
        183 => Arch::ARM64,
        _ => return Err("it is for a machine other than x86_64 and aarch64"),
    };
    let table = number(program, 32, 8).ok_or(CUT)?;
    let size = number(program, 54, 2).ok_or(CUT)?;
    let count = number(program, 56, 2).ok_or(CUT)?;
    let mut is_static = true;
    for index in 0..count {
        let header = index.checked_mul(size).and_then(|offset| offset.checked_add(table)).ok_or(CUT)?;
        let kind = number(program, usize::try_from(header).map_err(|_| CUT)?, 4).ok_or(CUT)?;
        is_static &= kind != u64::from(PT_INTERP);
    }
    Ok(Elf { architecture, is_static })
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_a_static_program_from_a_dynamic_one() {
        let look_at = |path: &str| look(&std::fs::read(path).unwrap()).unwrap();
        assert!(look_at("/bin/busybox").is_static);
        assert!(!look_at("/bin/ls").is_static);
        assert_eq!(look_at("/bin/ls").architecture, look_at("/bin/busybox").architecture);
    }

    #[test]
    fn names_what_is_none() {
        assert_eq!(look(b"#!/bin/sh\n"), Err("it is not an ELF program"));
        assert_eq!(look(b"\x7fELF\x01\x01"), Err("it is not a 64-bit little-endian program"));
        assert_eq!(look(b"\x7fELF\x02\x01"), Err("its ELF header is cut off"));
    }

    proptest! {
        #[test]
        fn hostile_headers_do_no_harm(mut rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut program = b"\x7fELF\x02\x01".to_vec();
            program.append(&mut rest);
            let _ = look(&program);
        }
    }
}
