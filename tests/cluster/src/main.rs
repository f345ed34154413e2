//! The command of the local Kubernetes; see the library.

fn main() -> std::process::ExitCode {
    cluster::main()
}
