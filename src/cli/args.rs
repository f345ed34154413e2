//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::output::Color;
use super::{completions, down, graph, image, plan, render, status, up};

/// Plan, apply and watch the stacks of this program on Kubernetes
#[derive(Debug, Parser)]
#[command(
    name = "stackctl",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: GlobalOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// One variant a verb; each has its own file.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Plan(plan::PlanArgs),
    Up(up::UpArgs),
    Down(down::DownArgs),
    Status(status::StatusArgs),
    Graph(graph::GraphArgs),
    Render(render::RenderArgs),
    Image(image::ImageArgs),
    Completions(completions::CompletionsArgs),
}

/// Options that every verb takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options", next_display_order = 1000)]
pub(crate) struct GlobalOptions {
    /// Named environment of the environment file: cluster, namespace and settings
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// Environment file [default: stackctl.toml here or above]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set a setting of the stack; may be repeated
    ///
    /// Settings come from, in this order: --set, the variable STACKCTL_SET_KEY (capitals, with _ for - and .), the
    /// environment file, the program's defaults.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace of the stack
    #[arg(long, short, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig file [default: as kubectl finds it]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Tell what is done inside; -vv and -vvv tell more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}
