//! Runs a stackctl program in a test's own Kubernetes namespace.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::testing::TestNamespace;
use serde_json::Value;

/// A stackctl program with a folder and a cluster user of its own.
#[derive(Debug)]
pub struct Stackctl {
    program: PathBuf,
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
}

/// How a call ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Stackctl {
    /// `program` as the namespace's user.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    pub fn new(program: &str, namespace: &TestNamespace) -> Self {
        Self::with_kubeconfig(program, namespace.kubeconfig())
    }

    /// `program` with this kubeconfig.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    pub fn with_kubeconfig(program: &str, kubeconfig: &Path) -> Self {
        Self {
            program: program.into(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file in the temporary folder");
    }

    /// The command, for whoever wants more than its end.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If the program can't be started.
    pub fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().expect("the program starts");
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        Said {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it, and insists on exit code 0.
    ///
    /// # Panics
    /// If it ends otherwise.
    pub fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}\n--- stdout\n{}\n--- stderr\n{}", said.stdout, said.stderr);
        said
    }

    /// Runs it with `--json`, and reads what it says.
    ///
    /// # Panics
    /// If it ends with another code than `code`, or says no JSON.
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let said = self.run(&arguments);
        assert_eq!(
            said.code, code,
            "{arguments:?}\n--- stdout\n{}\n--- stderr\n{}",
            said.stdout, said.stderr
        );
        let read = serde_json::from_str(&said.stdout);
        assert!(read.is_ok(), "this is no JSON: {}", said.stdout);
        read.unwrap_or_default()
    }
}
