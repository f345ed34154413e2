//! The stack: where a program puts its resources, and gets handles back to refer to them.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::handle::{Handle, Untyped};
use super::{
    Config, Graph, GraphError, GraphErrors, Gvk, Location, Mounted, Need, ObjectId, Policy, Resource, Scope,
    Until, finish, scope, secrets, shape, yaml,
};

/// The label that every object of a stack carries; its value is [`stack_label`].
pub const STACK_LABEL: &str = "stackctl.dev/stack";

/// The value of [`STACK_LABEL`]: `namespace.name`, shortened with a hash when that is too long for a label (63 characters).
pub fn stack_label(namespace: &str, name: &str) -> String {
    shortened(&format!("{namespace}.{name}"))
}

/// A name of at most 63 bytes: labels, volumes and the names of annotations have no room for more. A longer one ends in a hash of it.
pub(super) fn shortened(name: &str) -> String {
    if name.len() <= 63 {
        name.to_owned()
    } else {
        format!("{}-{}", &name[..name.floor_char_boundary(46)], finish::digest(name.as_bytes()))
    }
}

/// The resources that a program declares for one system.
#[derive(Debug)]
pub struct Stack {
    name: String,
    namespace: String,
    pub(super) resources: Vec<Resource>,
    pub(super) errors: Vec<GraphError>,
    /// Given out where a handle of another stack asks for a policy.
    stray: Policy,
}

/// What a builder, a typed object or a piece of YAML becomes in the stack.
#[derive(Debug, Default)]
pub struct Declared {
    /// The object.
    pub body: Value,
    /// ConfigMaps and Secrets that its pods read.
    pub configs: Vec<Mounted>,
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
        Self {
            name: name.into(),
            namespace: namespace.into(),
            resources: Vec::new(),
            errors: Vec::new(),
            stray: Policy::default(),
        }
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
    #[track_caller]
    pub fn after<A, B>(&mut self, later: &Handle<A>, earlier: &Handle<B>) {
        let location = Location::caller();
        let (Some(from), Some(on)) = (self.own(later, &location), self.own(earlier, &location)) else {
            return;
        };
        if from == on {
            self.errors.push(GraphError {
                location,
                message: format!("{} can't come after itself", later.id()),
                hint: None,
            });
            return;
        }
        self.resources[from].needs.push(Need {
            on,
            until: Until::Ready,
            why: "the program says so".to_owned(),
        });
    }

    /// The policies of a resource, to change them.
    #[track_caller]
    pub fn policy<K>(&mut self, handle: &Handle<K>) -> &mut Policy {
        match self.own(handle, &Location::caller()) {
            Some(index) => &mut self.resources[index].policy,
            None => &mut self.stray,
        }
    }

    /// The number of the resource that the handle stands for; an error of the stack if it is another stack's.
    fn own<K>(&mut self, handle: &Handle<K>, location: &Location) -> Option<usize> {
        if self.resources.get(handle.index()).is_some_and(|resource| resource.id == *handle.id()) {
            return Some(handle.index());
        }
        self.errors.push(GraphError {
            location: location.clone(),
            message: format!("{} is not in this stack", handle.id()),
            hint: Some("a handle belongs to the stack that gave it".to_owned()),
        });
        None
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
        for field in ["apiVersion", "kind"] {
            if body.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
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
        let what = if gvk.kind.is_empty() { "object" } else { gvk.kind.as_str() };
        self.errors.extend(shape::settle(what, &mut body, &location));
        if body.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            self.errors.push(GraphError {
                location: location.clone(),
                message: format!("this {what} has no metadata.name"),
                hint: Some("every object needs apiVersion, kind and metadata.name".to_owned()),
            });
        }
        let scope = scope::of(&gvk);
        if let Some(metadata) = shape::object_at(&mut body, &["metadata"]) {
            match scope {
                Some(Scope::Namespaced) => {
                    metadata.entry("namespace").or_insert_with(|| json!(self.namespace));
                }
                Some(Scope::Cluster) => drop(metadata.remove("namespace")),
                None => {}
            }
        }
        if let Some(labels) = shape::object_at(&mut body, &["metadata", "labels"]) {
            labels.insert(STACK_LABEL.to_owned(), json!(stack_label(&self.namespace, &self.name)));
        }
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = ObjectId::new(
            &gvk,
            text("/metadata/namespace").as_deref(),
            &text("/metadata/name").unwrap_or_default(),
        );
        if gvk.group.is_empty() && gvk.kind == "Secret" {
            self.errors.extend(secrets::move_string_data(&mut body, &location).err());
            self.errors.extend(secrets::late_key(&body).map(|key| GraphError {
                location: location.clone(),
                message: format!("{id}: a late value can't stand in a Secret (key {key:?})"),
                hint: Some("put it into a ConfigMap or an environment variable".to_owned()),
            }));
        }
        let configs = configs
            .iter()
            .filter_map(|Mounted { config, on_change }| {
                Some(Config { on: self.own(config, &location)?, on_change: *on_change })
            })
            .collect();
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
