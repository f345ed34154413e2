//! A program's stacks by name, and the finished graph.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Location, Resource, Stack};

/// A finished, validated graph: what a stack declares for one namespace and one set of settings.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The stack's name.
    pub stack: String,
    /// The namespace of resources that name none.
    pub namespace: String,
    /// The resources, each after everything it needs.
    pub resources: Vec<Resource>,
}

/// Makes a graph from settings (the defaults with what the user said on top) for a namespace.
pub type Build = Box<dyn Fn(&Value, &str) -> Result<Graph, GraphErrors> + Send + Sync>;

/// A stack that a program offers: what `stackctl::main` takes.
pub struct Definition {
    /// What the user types, such as `quick-start`.
    pub name: String,
    /// One line for the list of stacks.
    pub about: String,
    /// Every setting with its default, as a JSON object; the keys are the only ones there are, the values give the types.
    pub defaults: Value,
    /// Makes the graph.
    pub build: Build,
}

impl Definition {
    /// A stack named `name`, with settings of type `S` (a struct; its `Default` gives every setting's default), declared by `build`.
    #[track_caller]
    pub fn new<S>(
        name: impl Into<String>,
        about: impl Into<String>,
        build: impl Fn(S, &mut Stack) + Send + Sync + 'static,
    ) -> Self
    where
        S: Default + Serialize + DeserializeOwned,
    {
        let (name, location) = (name.into(), Location::caller());
        let stack_name = name.clone();
        Self {
            name,
            about: about.into(),
            defaults: serde_json::to_value(S::default()).unwrap_or_default(),
            build: Box::new(move |settings, namespace| {
                let settings = serde_json::from_value(settings.clone()).map_err(|error| GraphErrors {
                    stack: stack_name.clone(),
                    errors: vec![GraphError {
                        location: location.clone(),
                        message: format!("its settings don't fit: {error}"),
                        hint: None,
                    }],
                })?;
                let mut stack = Stack::new(&stack_name, namespace);
                build(settings, &mut stack);
                stack.finish()
            }),
        }
    }
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with a graph, each with its place in the program.
#[derive(Debug, thiserror::Error)]
#[error("{} in stack {stack}", if errors.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.len()) })]
pub struct GraphErrors {
    /// The stack's name.
    pub stack: String,
    /// In the order of their places.
    pub errors: Vec<GraphError>,
}

/// One thing that is wrong with a graph.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{location}: {message}")]
pub struct GraphError {
    /// Where in the program.
    pub location: super::Location,
    /// What is wrong and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
