//! The stackctl binary of this repository: the tutorial's systems.

use std::process::ExitCode;

fn main() -> ExitCode {
    stackctl::main(stacks::all())
}
