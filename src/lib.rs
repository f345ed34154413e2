//! Declare infrastructure on Kubernetes in Rust.
//!
//! A program describes a system as a typed graph of resources. stackctl compares the graph with the live cluster, shows a plan, and applies it in
//! order, waiting for each thing to be really ready. The program *is* the command line: its `main` hands its stacks to [`main`].
//!
//! ```text
//! stacks/            src/graph        src/cluster        src/plan                src/apply          src/ui
//! Rust program  ──►  Stack       ──►  Observation   ──►  questions ⇄ answers ──► Plan ──► Run  ──►  Report
//! (typed)            (resources,      (what is live,     (dry-runs, probes;       (lock, waits,      (terminal,
//!                     references)      read once)         two rounds)              resumes)           JSON)
//! ```
//!
//! Data goes one way. Everything between observation and run is pure: the planner gives questions for the server and takes the answers, readiness
//! verdicts take the time as an argument. I/O lives at both ends, behind two small traits: [`cluster::Cluster`] (Kubernetes) and `Store` (of the
//! crate `stackctl-state`).
//!
//! | room | what |
//! |---|---|
//! | [`graph`] | stacks, resources, handles, late values, builders, validation |
//! | [`kinds`] | what is known of single kinds: readiness, immutability, noise, what a replacement loses |
//! | [`ack`] | Alibaba Cloud's load balancers as typed values, and the cloud controller's rules |
//! | [`cluster`] | the trait, and the live cluster behind it; the state's place in the cluster |
//! | [`observation`] | what was read from the cluster, once |
//! | [`plan`] | changes, diffs with causes, order, replacements, guards, the proof that nothing changes |
//! | [`apply`] | from graph to plan over the network; the scheduler and the run |
//! | [`image`] | the media server's image: made, pushed and loaded without Docker |
//! | [`ui`] and [`cli`] | views of plans and reports; one file a verb |
//!
//! ```no_run
//! use stackctl::graph::build::{Port, container, deployment, service};
//! use stackctl::graph::{Definition, Stack};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! struct Settings {
//!     replicas: i32,
//! }
//!
//! const HTTP: Port = Port::tcp(8080);
//!
//! fn build(settings: Settings, stack: &mut Stack) {
//!     let web = stack.add(
//!         deployment("web").replicas(settings.replicas).container(container("web", "nginx:1").port(HTTP)),
//!     );
//!     stack.add(service("web").to(&web).port(HTTP));
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     stackctl::main([Definition::new("web", "A web server", build)])
//! }
//! ```

pub mod ack;
pub mod apply;
pub mod cli;
pub mod cluster;
pub mod graph;
pub mod image;
pub mod kinds;
pub mod observation;
pub mod plan;
pub mod ui;

pub use cli::main;
pub use k8s_openapi;
