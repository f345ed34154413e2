//! A thousand objects (250 each of ConfigMap, ServiceAccount, Service and Deployment) on a control plane, beside kubectl.
//!
//! `cargo bench --package stackctl-tests`: seven pairs of runs in turn for each row, whole processes, medians. Both tools get
//! namespaces of their own with the same objects. The figures of one run can be compared with each other, not with another machine's.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use cluster::Tier;
use cluster::testing::{TestCluster, TestNamespace};
use nix::sys::resource::{UsageWho, getrusage};

const FIXTURES: &str = env!("CARGO_BIN_EXE_fixtures");
const PAIRS: usize = 7;

/// One run of a command.
#[derive(Clone, Copy, Debug)]
struct Figure {
    seconds: f64,
    mebibytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--measure", command)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return measure_here(command);
    }
    let cluster = TestCluster::own(Tier::ControlPlane)?;
    let folder = tempfile::tempdir()?;
    let manifest = folder.path().join("thousand.yaml");
    let with_pods = folder.path().join("with-pods.yaml");
    render(&manifest, &[])?;
    render(&with_pods, &["--set", "replicas=1"])?;

    say("| work | stackctl | kubectl | ratio |")?;
    say("|---|---|---|---|")?;
    unchanged(&cluster, &manifest)?;
    create(&cluster, &manifest)?;
    create_and_wait(&cluster, &with_pods)?;
    Ok(())
}

/// The objects as a file for kubectl, without what only stackctl puts in.
fn render(path: &Path, settings: &[&str]) -> Result<(), Box<dyn Error>> {
    let output = Command::new(FIXTURES)
        .args(["render", "thousand", "--namespace", "default"])
        .args(settings)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let own: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("namespace: ") && !line.contains("stackctl.dev/stack"))
        .collect();
    std::fs::write(
        path,
        own.join("\n").replace("  labels:\n---", "---").replace("  labels:\ndata:", "data:"),
    )?;
    Ok(())
}

fn unchanged(cluster: &TestCluster, manifest: &Path) -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = (cluster.namespace("ours")?, cluster.namespace("theirs")?);
    run(&stackctl(&ours, &["up", "thousand", "--yes", "--no-wait"]))?;
    run(&kubectl(cluster, &theirs, &["apply", "--server-side"], manifest))?;
    let plan = stackctl(&ours, &["plan", "thousand"]);
    let diff = kubectl(cluster, &theirs, &["diff", "--server-side"], manifest);
    pairs("plan / diff --server-side, nothing changed", |_| Ok((measure(&plan)?, measure(&diff)?)))
}

fn create(cluster: &TestCluster, manifest: &Path) -> Result<(), Box<dyn Error>> {
    pairs("up --no-wait / apply --server-side, all new", |_| {
        let (ours, theirs) = (cluster.namespace("ours")?, cluster.namespace("theirs")?);
        let up = stackctl(&ours, &["up", "thousand", "--yes", "--no-wait"]);
        let apply = kubectl(cluster, &theirs, &["apply", "--server-side"], manifest);
        Ok((measure(&up)?, measure(&apply)?))
    })
}

fn create_and_wait(cluster: &TestCluster, manifest: &Path) -> Result<(), Box<dyn Error>> {
    pairs("up / apply --server-side and wait, all new, 250 pods", |_| {
        let (ours, theirs) = (cluster.namespace("ours")?, cluster.namespace("theirs")?);
        let up = measure(&stackctl(&ours, &["up", "thousand", "--yes", "--set", "replicas=1"]))?;
        ours.kubectl(["delete", "deployments", "--all", "--wait=true"])?;
        let apply = measure(&kubectl(cluster, &theirs, &["apply", "--server-side"], manifest))?;
        let wait = ["wait", "--for=condition=Available", "deployments", "--all", "--timeout=300s"];
        let wait = measure(&kubectl_words(cluster, &theirs, &wait))?;
        theirs.kubectl(["delete", "deployments", "--all", "--wait=true"])?;
        let both =
            Figure { seconds: apply.seconds + wait.seconds, mebibytes: apply.mebibytes.max(wait.mebibytes) };
        Ok((up, both))
    })
}

fn pairs(
    work: &str,
    mut pair: impl FnMut(usize) -> Result<(Figure, Figure), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        let (a, b) = pair(number)?;
        ours.push(a);
        theirs.push(b);
    }
    let (a, b) = (median(&ours), median(&theirs));
    say(&format!(
        "| {work} | {:.2} s, {:.0} MiB | {:.2} s, {:.0} MiB | {:.1} |",
        a.seconds,
        a.mebibytes,
        b.seconds,
        b.mebibytes,
        b.seconds / a.seconds
    ))
}

fn median(figures: &[Figure]) -> Figure {
    let middle = |of: fn(&Figure) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figure { seconds: middle(|figure| figure.seconds), mebibytes: middle(|figure| figure.mebibytes) }
}

fn stackctl(namespace: &TestNamespace, words: &[&str]) -> Vec<String> {
    let kubeconfig = namespace.kubeconfig().display().to_string();
    [FIXTURES, words[0], words[1], "--kubeconfig", &kubeconfig]
        .into_iter()
        .chain(words[2..].iter().copied())
        .map(str::to_owned)
        .collect()
}

fn kubectl(cluster: &TestCluster, namespace: &TestNamespace, words: &[&str], manifest: &Path) -> Vec<String> {
    let file = manifest.display().to_string();
    let words: Vec<&str> = words.iter().copied().chain(["--filename", &file]).collect();
    kubectl_words(cluster, namespace, &words)
}

fn kubectl_words(cluster: &TestCluster, namespace: &TestNamespace, words: &[&str]) -> Vec<String> {
    let program = cluster.kubectl().get_program().to_string_lossy().into_owned();
    let kubeconfig = namespace.kubeconfig().display().to_string();
    [program.as_str(), "--kubeconfig", &kubeconfig]
        .into_iter()
        .chain(words.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn run(command: &[String]) -> Result<(), Box<dyn Error>> {
    let output = Command::new(&command[0]).args(&command[1..]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// Runs a command under a process of its own, whose only child it is: so its peak memory can be told from all others'.
fn measure(command: &[String]) -> Result<Figure, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).arg("--measure").args(command).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(mebibytes)) => Ok(Figure { seconds: seconds?, mebibytes: mebibytes? }),
        _ => Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn measure_here(command: &[String]) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let output = Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let seconds = start.elapsed().as_secs_f64();
    // `kubectl diff` ends with 1 when there are differences: then something is wrong here.
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of one process fit a float")]
    let mebibytes = usage.max_rss() as f64 / 1024.0;
    say(&format!("{seconds} {mebibytes}"))
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
