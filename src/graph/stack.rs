//! The stack: where a program puts its resources, and gets handles back to refer to them.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::handle::{Handle, Untyped};
use super::{
    Config, Graph, GraphError, GraphErrors, Gvk, Location, Need, ObjectId, Policy, Resource, Scope, Until,
    finish, scope, yaml,
};

/// The label that every object of a stack carries; its value is [`stack_label`].
pub const STACK_LABEL: &str = "stackctl.dev/stack";

/// The value of [`STACK_LABEL`]: `namespace.name`, shortened with a hash when that is too long for a label (63 characters).
pub fn stack_label(namespace: &str, name: &str) -> String {
    let full = format!("{namespace}.{name}");
    if full.len() <= 63 {
        full
    } else {
        format!("{}-{}", full.get(..46).unwrap_or_default(), finish::digest(full.as_bytes()))
    }
}

/// The resources that a program declares for one system.
#[derive(Debug)]
pub struct Stack {
    name: String,
    namespace: String,
    pub(super) resources: Vec<Resource>,
    pub(super) errors: Vec<GraphError>,
}

/// What a builder, a typed object or a piece of YAML becomes in the stack.
#[derive(Debug, Default)]
pub struct Declared {
    /// The object.
    pub body: Value,
    /// ConfigMaps and Secrets that its pods read.
    pub configs: Vec<Config>,
    /// What the program says about it beside the body.
    pub policy: Policy,
    /// What is wrong with it.
    pub errors: Vec<GraphError>,
}

/// Something that can be added to a stack: a builder of [`super::build`], or any object type of `k8s-openapi` as it is.
pub trait Declare {
    /// The object type, which the handle carries.
    type Object: k8s_openapi::Resource;

    /// Makes the object.
    fn declare(self) -> Declared;
}

impl<T> Declare for T
where
    T: k8s_openapi::Resource + Metadata<Ty = ObjectMeta> + Serialize,
{
    type Object = T;

    fn declare(self) -> Declared {
        match serde_json::to_value(&self) {
            Ok(body) => Declared { body, ..Declared::default() },
            Err(error) => Declared {
                errors: vec![GraphError {
                    location: Location { file: String::new(), line: 0 },
                    message: format!("this {} can't be written as JSON: {error}", T::KIND),
                    hint: None,
                }],
                ..Declared::default()
            },
        }
    }
}

impl Stack {
    /// An empty stack; resources that name no namespace go to `namespace`.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: namespace.into(), resources: Vec::new(), errors: Vec::new() }
    }

    /// The stack's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of resources that name none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Adds a resource: a builder, or an object of `k8s-openapi`.
    #[track_caller]
    pub fn add<D: Declare>(&mut self, declaration: D) -> Handle<D::Object> {
        let location = Location::caller();
        let mut declared = declaration.declare();
        for mut error in declared.errors.drain(..) {
            if error.location.line == 0 {
                error.location = location.clone();
            }
            self.errors.push(error);
        }
        let gvk = Gvk::from_api_version(
            <D::Object as k8s_openapi::Resource>::API_VERSION,
            <D::Object as k8s_openapi::Resource>::KIND,
        );
        // k8s-openapi writes apiVersion and kind itself; builders rely on it too.
        let index = self.push(gvk, declared, location);
        self.handle(index)
    }

    /// Adds an object of any kind, as JSON. `apiVersion`, `kind` and `metadata.name` must be there.
    #[track_caller]
    pub fn object(&mut self, body: Value) -> Handle<Untyped> {
        let location = Location::caller();
        let index = self.push_untyped(body, location);
        self.handle(index)
    }

    /// Takes in every document of a YAML file. The path is relative to the current directory.
    #[track_caller]
    pub fn yaml(&mut self, path: impl AsRef<Path>) -> Yaml {
        let location = Location::caller();
        let path = path.as_ref();
        match std::fs::read_to_string(path) {
            Ok(text) => self.yaml_documents(&path.display().to_string(), &text),
            Err(error) => {
                self.errors.push(GraphError {
                    location,
                    message: format!("{} can't be read: {error}", path.display()),
                    hint: Some("the path is relative to the directory stackctl runs in".to_owned()),
                });
                Yaml { handles: BTreeMap::new() }
            }
        }
    }

    /// Takes in every document of a YAML text, such as one from `include_str!`; `file` names it in messages.
    pub fn yaml_text(&mut self, file: &str, text: &str) -> Yaml {
        self.yaml_documents(file, text)
    }

    fn yaml_documents(&mut self, file: &str, text: &str) -> Yaml {
        let mut handles = BTreeMap::new();
        match yaml::documents(file, text) {
            Ok(documents) => {
                for (location, body) in documents {
                    let index = self.push_untyped(body, location);
                    let id = &self.resources[index].id;
                    handles.insert((id.kind.clone(), id.name.clone()), self.handle(index));
                }
            }
            Err(error) => self.errors.push(error),
        }
        Yaml { handles }
    }

    /// Says that `later` is begun only when `earlier` works, where no reference says so.
    pub fn after<A, B>(&mut self, later: &Handle<A>, earlier: &Handle<B>) {
        self.resources[later.index()].needs.push(Need {
            on: earlier.index(),
            until: Until::Ready,
            why: "the program says so".to_owned(),
        });
    }

    /// The policies of a resource, to change them.
    pub fn policy<K>(&mut self, handle: &Handle<K>) -> &mut Policy {
        &mut self.resources[handle.index()].policy
    }

    /// Validates everything and makes the graph.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place in the program.
    pub fn finish(self) -> Result<Graph, GraphErrors> {
        finish::finish(self)
    }

    fn push_untyped(&mut self, body: Value, location: Location) -> usize {
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let gvk = Gvk::from_api_version(&text("/apiVersion"), text("/kind"));
        for (pointer, field) in
            [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")]
        {
            if text(pointer).is_empty() {
                self.errors.push(GraphError {
                    location: location.clone(),
                    message: format!("this object has no {field}"),
                    hint: Some("every object needs apiVersion, kind and metadata.name".to_owned()),
                });
            }
        }
        self.push(gvk, Declared { body, ..Declared::default() }, location)
    }

    fn push(&mut self, gvk: Gvk, declared: Declared, location: Location) -> usize {
        let Declared { mut body, configs, policy, .. } = declared;
        if !body.is_object() {
            body = json!({});
        }
        body["apiVersion"] = json!(gvk.api_version());
        body["kind"] = json!(gvk.kind);
        if let Some(fields) = body.as_object_mut() {
            // What a live object was exported with is the server's to say.
            fields.remove("status");
        }
        let scope = scope::of(&gvk);
        if body.pointer("/metadata/namespace").is_none() && scope == Some(Scope::Namespaced) {
            body["metadata"]["namespace"] = json!(self.namespace);
        }
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = ObjectId::new(
            &gvk,
            text("/metadata/namespace").as_deref(),
            &text("/metadata/name").unwrap_or_default(),
        );
        body["metadata"]["labels"][STACK_LABEL] = json!(stack_label(&self.namespace, &self.name));
        self.resources.push(Resource { id, gvk, scope, body, location, policy, needs: Vec::new(), configs });
        self.resources.len() - 1
    }

    fn handle<K>(&self, index: usize) -> Handle<K> {
        let resource = &self.resources[index];
        Handle::new(index, resource.id.clone(), resource.body.clone())
    }
}

/// The resources of a YAML file, to refer to.
#[derive(Debug)]
pub struct Yaml {
    handles: BTreeMap<(String, String), Handle<Untyped>>,
}

impl Yaml {
    /// The resource of type `K` with this name; `None` if the file has none.
    pub fn get<K: k8s_openapi::Resource>(&self, name: &str) -> Option<Handle<K>> {
        self.handles.get(&(K::KIND.to_owned(), name.to_owned())).map(Handle::cast)
    }

    /// All of them, by kind and name.
    pub fn all(&self) -> impl Iterator<Item = &Handle<Untyped>> {
        self.handles.values()
    }
}
