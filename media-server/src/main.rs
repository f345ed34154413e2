//! The program: see the library's front page.

use std::process::ExitCode;

fn main() -> ExitCode {
    media_server::cli::main()
}
