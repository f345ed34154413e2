//! What every verb begins with: which stack, which environment, which settings, which cluster.

use std::path::PathBuf;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::args::GlobalOptions;
use super::engine::{Connect, Engine, Target};
use super::environment::{self, Environment};
use super::error::Error;
use super::nearest::suggestion;
use super::output::Output;
use super::settings;
use crate::graph::{Definition, Graph};
use crate::ui::terminal::View;

/// What a verb works with. All that comes from the process (variables, folder, time, signals) comes in here.
pub(crate) struct Session<'a> {
    pub(crate) definitions: &'a [Definition],
    pub(crate) connect: &'a dyn Connect,
    pub(crate) options: GlobalOptions,
    pub(crate) output: Output,
    /// Environment variables.
    pub(crate) variables: Vec<(String, String)>,
    /// The current directory.
    pub(crate) folder: PathBuf,
    pub(crate) now: Timestamp,
    /// Begins to catch Ctrl-C; each one gives an item.
    pub(crate) interrupts: fn() -> std::io::Result<mpsc::UnboundedReceiver<()>>,
}

/// A stack as it is meant in this call.
pub(crate) struct Chosen {
    pub(crate) graph: Graph,
    pub(crate) target: Target,
    pub(crate) environment: Option<Environment>,
}

impl Session<'_> {
    /// Finds the stack, reads environment and settings, and builds the graph.
    pub(crate) async fn choose(&self, stack: Option<&str>) -> Result<Chosen, Error> {
        let definition = self.definition(stack)?;
        let environment = match &self.options.env {
            Some(name) => {
                let stacks: Vec<&str> = self.definitions.iter().map(|other| other.name.as_str()).collect();
                Some(environment::load(name, self.options.config.as_deref(), &self.folder, &stacks)?)
            }
            None => None,
        };
        let of_environment = environment.as_ref();
        let target = Target {
            kubeconfig: self.options.kubeconfig.clone(),
            context: self
                .options
                .context
                .clone()
                .or_else(|| of_environment.and_then(|environment| environment.context.clone())),
        };
        let namespace = match self
            .options
            .namespace
            .clone()
            .or_else(|| of_environment.and_then(|environment| environment.namespace.clone()))
        {
            Some(namespace) => namespace,
            None => self.connect.namespace(&target).await?,
        };
        let mut given = of_environment
            .map(|environment| environment.settings_of(&definition.name).to_vec())
            .unwrap_or_default();
        given.extend(settings::from_variables(&definition.defaults, self.variables.iter().cloned()));
        for argument in &self.options.set {
            given.push(settings::from_flag(argument)?);
        }
        let settings = settings::merge(&definition.name, &definition.defaults, &given)?;
        let graph = (definition.build)(&settings, &namespace)?;
        Ok(Chosen { graph, target, environment })
    }

    /// Reaches the cluster, and makes sure that it is the environment's.
    pub(crate) async fn reach(&self, chosen: &Chosen) -> Result<Box<dyn Engine>, Error> {
        let engine = self.connect.connect(&chosen.target).await?;
        if let Some(environment) = &chosen.environment {
            environment.check(engine.identity())?;
        }
        Ok(engine)
    }

    /// How views are wanted.
    pub(crate) fn view(&self, chosen: &Chosen, full: bool) -> View {
        View {
            width: self.output.width,
            full,
            now: self.now,
            environment: chosen.environment.as_ref().map(|environment| environment.name.clone()),
        }
    }

    fn definition(&self, stack: Option<&str>) -> Result<&Definition, Error> {
        let names: Vec<&str> = self.definitions.iter().map(|definition| definition.name.as_str()).collect();
        match (stack, self.definitions) {
            (Some(stack), all) => all.iter().find(|definition| definition.name == stack).ok_or_else(|| {
                let error = Error::usage(format_args!("there is no stack {stack}"));
                match suggestion(stack, &names) {
                    Some(hint) => error.hint(hint),
                    None => error.hint("this program has no stack at all"),
                }
            }),
            (None, [only]) => Ok(only),
            (None, []) => Err(Error::usage("this program has no stack")),
            (None, all) => Err(all
                .iter()
                .fold(Error::usage("which stack? This program has several"), |error, definition| {
                    error.cause(format_args!("{}: {}", definition.name, definition.about))
                })),
        }
    }
}
