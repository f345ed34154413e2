//! An API server in memory, for tests: server-side apply with ownership, conditional writes, finalizers, watches, and faults on demand.
//!
//! It is simpler than the real one where tests don't care: it knows no schemas, so a list of objects that all have a `name` is merged by
//! it and every other list is atomic; nothing is defaulted or validated; dry-runs see exactly what writes would.

mod merge;
mod ownership;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::channel::mpsc;
use futures::stream::{BoxStream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Applied, ApplyOptions, Cluster, ClusterError, DeleteOptions, LabelSelector, Selection, Watched};
use crate::graph::{Gvk, ObjectId, Scope};
use crate::observation::{ClusterIdentity, KindInfo, Rejection, RejectionCause};

/// One request that wrote, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) verb: &'static str,
    pub(crate) id: ObjectId,
    /// HTTP status; 0 if it never arrived.
    pub(crate) code: u16,
}

/// Called after each change of an object, with the server's state: a controller.
pub(crate) type Controller = Box<dyn FnMut(&mut State, &ObjectId) + Send>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<ObjectId, Value>,
    pub(crate) kinds: Vec<KindInfo>,
    pub(crate) journal: Vec<Write>,
    /// Every request that was answered, reads included.
    pub(crate) requests: u64,
    /// Watches that were opened.
    pub(crate) watches: Vec<(Gvk, Selection)>,
    pub(crate) logs: BTreeMap<(String, String, bool), String>,
    version: u64,
    uids: u64,
    watchers: Vec<Watcher>,
    faults: VecDeque<(Fault, Rejection)>,
    alive_for: Option<u64>,
    /// The last request has been let through without an answer.
    last_lost: bool,
    refused_kinds: BTreeSet<String>,
    changed: Vec<ObjectId>,
}

struct Watcher {
    gvk: Gvk,
    selection: Selection,
    labels: LabelSelector,
    sender: mpsc::UnboundedSender<Result<Watched, ClusterError>>,
}

/// Which request a fault hits: the first that fits.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) verb: &'static str,
    pub(crate) name: &'static str,
}

/// The server.
pub(crate) struct Fake {
    identity: ClusterIdentity,
    state: Mutex<State>,
    controllers: Mutex<Vec<Controller>>,
    latency: Duration,
    died: Notify,
    /// The last write before the death happens, and its answer gets lost.
    lose_answers: bool,
}

impl Fake {
    /// A server that knows the usual kinds and has a namespace `live`.
    pub(crate) fn new() -> Self {
        let kind = |group: &str, version: &str, kind: &str, plural: &str, scope| KindInfo {
            gvk: Gvk::new(group, version, kind),
            plural: plural.to_owned(),
            scope,
            verbs: ["get", "list", "watch", "create", "patch", "delete"].map(str::to_owned).to_vec(),
        };
        let kinds = vec![
            kind("", "v1", "ConfigMap", "configmaps", Scope::Namespaced),
            kind("", "v1", "Service", "services", Scope::Namespaced),
            kind("", "v1", "Pod", "pods", Scope::Namespaced),
            kind("", "v1", "Event", "events", Scope::Namespaced),
            kind("", "v1", "Namespace", "namespaces", Scope::Cluster),
            kind("apps", "v1", "Deployment", "deployments", Scope::Namespaced),
            kind(
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                Scope::Cluster,
            ),
        ];
        let identity = ClusterIdentity {
            context: "fake".to_owned(),
            server: "https://127.0.0.1:1".to_owned(),
            uid: "cluster".to_owned(),
            version: "v1.34.0".to_owned(),
        };
        let state = Mutex::new(State { kinds, ..State::default() });
        Self {
            identity,
            state,
            controllers: Mutex::default(),
            latency: Duration::ZERO,
            died: Notify::new(),
            lose_answers: false,
        }
    }

    /// Every request takes this long.
    pub(crate) fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The write at which the client dies still happens.
    pub(crate) fn losing_answers(mut self) -> Self {
        self.lose_answers = true;
        self
    }

    pub(crate) fn with_controller(
        self,
        controller: impl FnMut(&mut State, &ObjectId) + Send + 'static,
    ) -> Self {
        self.controllers.lock().unwrap().push(Box::new(controller));
        self
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// After `requests` more ones none is answered any more, as if the client were killed there (see [`Fake::died`]); `None`: it lives.
    pub(crate) fn die_after(&self, requests: Option<u64>) {
        let mut state = self.state();
        state.alive_for = requests;
        state.last_lost = false;
    }

    /// Ends when the first request isn't answered.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }

    /// The next `verb` of the object `name` is rejected.
    pub(crate) fn reject_next(&self, verb: &'static str, name: &'static str, code: u16, message: &str) {
        let rejection = rejection(code, message);
        self.state().faults.push_back((Fault { verb, name }, rejection));
    }

    /// Watching objects of this kind is forbidden.
    pub(crate) fn forbid_watching(&self, kind: &str) {
        self.state().refused_kinds.insert(kind.to_owned());
    }

    /// Changes an object as somebody else would; it must be there.
    pub(crate) fn edit(&self, id: &ObjectId, edit: impl FnOnce(&mut Value)) {
        self.change(|state| state.edit(id, edit));
    }

    /// Sets one field (a dotted path without lists) by an update of `manager`, who owns it then.
    pub(crate) fn edit_as(&self, manager: &str, id: &ObjectId, path: &str, value: Value) {
        self.edit(id, |object| ownership::set(object, manager, path, value));
    }

    /// Puts an object there as somebody else would.
    pub(crate) fn put(&self, object: Value) {
        self.change(|state| state.put(object));
    }

    /// Deletes an object as somebody else would.
    pub(crate) fn remove(&self, id: &ObjectId) {
        self.change(|state| state.delete(id, false));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let made = change(&mut state);
        let mut controllers = self.controllers.lock().unwrap();
        while let Some(id) = state.changed.pop() {
            for controller in controllers.iter_mut() {
                controller(&mut state, &id);
            }
        }
        made
    }

    /// Takes a request in; `false`: its answer will be lost.
    async fn request(&self, verb: &'static str, id: &ObjectId, writes: bool) -> Result<bool, ClusterError> {
        tokio::time::sleep(self.latency).await;
        let answered = {
            let mut state = self.state();
            match state.alive_for {
                Some(0) if self.lose_answers && writes && !state.last_lost => {
                    state.last_lost = true;
                    Some(false)
                }
                Some(0) => None,
                Some(left) => {
                    state.alive_for = Some(left - 1);
                    Some(true)
                }
                None => Some(true),
            }
        };
        let Some(answered) = answered else { return self.silence().await };
        let mut state = self.state();
        state.requests += 1;
        let fault = state.faults.iter().position(|(fault, _)| fault.verb == verb && fault.name == id.name);
        if let Some((_, rejection)) = fault.and_then(|at| state.faults.remove(at)) {
            if writes {
                state.journal.push(Write { verb, id: id.clone(), code: rejection.code });
            }
            return Err(rejected(verb, id, rejection));
        }
        Ok(answered)
    }

    async fn silence<T>(&self) -> T {
        self.died.notify_one();
        std::future::pending().await
    }

    fn written<T>(
        &self,
        verb: &'static str,
        id: &ObjectId,
        change: impl FnOnce(&mut State) -> Result<(u16, T), Rejection>,
    ) -> Result<T, ClusterError> {
        self.change(|state| {
            let result = change(state);
            let code = result.as_ref().map_or_else(|rejection| rejection.code, |(code, _)| *code);
            state.journal.push(Write { verb, id: id.clone(), code });
            result.map(|(_, answer)| answer).map_err(|rejection| rejected(verb, id, rejection))
        })
    }
}

impl State {
    /// A new or replaced object, not by apply.
    pub(crate) fn put(&mut self, mut object: Value) {
        let id = ObjectId::of(&object).expect("kind and name");
        if !self.objects.contains_key(&id) {
            self.stamp_new(&mut object);
        }
        self.store(id, object);
    }

    pub(crate) fn edit(&mut self, id: &ObjectId, edit: impl FnOnce(&mut Value)) {
        let mut object = self.objects.get(id).cloned().expect("an object to edit");
        let spec = object.get("spec").cloned();
        edit(&mut object);
        if object.get("spec") != spec.as_ref() {
            bump_generation(&mut object);
        }
        if Some(&object) != self.objects.get(id) {
            self.store(id.clone(), object);
        }
    }

    /// Deletes; an object with finalizers stays until they are gone.
    pub(crate) fn delete(&mut self, id: &ObjectId, foreground: bool) {
        let Some(object) = self.objects.get(id) else { return };
        let uid = object["metadata"]["uid"].clone();
        let owned: Vec<ObjectId> = self
            .objects
            .iter()
            .filter(|(_, other)| {
                let owners = other.pointer("/metadata/ownerReferences").and_then(Value::as_array);
                owners.into_iter().flatten().any(|owner| owner["uid"] == uid)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in &owned {
            self.delete(id, foreground);
        }
        let mut object = self.objects.get(id).cloned().unwrap_or_default();
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if foreground && owned.iter().any(|id| self.objects.contains_key(id)) {
            finalizers.push(json!("foregroundDeletion"));
        }
        if finalizers.is_empty() {
            self.objects.remove(id);
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.tell(id, Some(&object), None);
            self.changed.push(id.clone());
            return;
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object["metadata"]["finalizers"] = json!(finalizers);
            self.store(id.clone(), object);
        }
    }

    /// A controller is done with an object that is being deleted.
    pub(crate) fn remove_finalizer(&mut self, id: &ObjectId, finalizer: &str) {
        self.edit(id, |object| {
            if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|one| one != finalizer);
            }
        });
        let object = &self.objects[id];
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        if deleted && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.delete(id, false);
        }
    }

    fn stamp_new(&mut self, object: &mut Value) {
        self.uids += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if object.get("spec").is_some() {
            object["metadata"]["generation"] = json!(1);
        }
    }

    fn store(&mut self, id: ObjectId, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = self.objects.insert(id.clone(), object.clone());
        self.tell(&id, before.as_ref(), Some(&object));
        self.changed.push(id);
    }

    fn tell(&mut self, id: &ObjectId, before: Option<&Value>, after: Option<&Value>) {
        self.watchers.retain(|watcher| {
            if watcher.gvk.group != id.group || watcher.gvk.kind != id.kind {
                return true;
            }
            let sees = |object: &Value| selected(object, &watcher.selection, &watcher.labels);
            let event = match (before.filter(|object| sees(object)), after.filter(|object| sees(object))) {
                (_, Some(after)) => Watched::Applied(after.clone()),
                (Some(before), None) => Watched::Deleted(before.clone()),
                (None, None) => return true,
            };
            watcher.sender.unbounded_send(Ok(event)).is_ok()
        });
    }

    /// Server-side apply: status and answer.
    fn apply(&mut self, body: &Value, options: &ApplyOptions) -> Result<(u16, Applied), Rejection> {
        let id = ObjectId::of(body).ok_or_else(|| rejection(400, "no kind or name"))?;
        if let Some(namespace) = id.namespace.as_deref() {
            let gvk = Gvk::new("", "v1", "Namespace");
            if namespace != "live" && !self.objects.contains_key(&ObjectId::new(&gvk, None, namespace)) {
                return Err(rejection(404, &format!("namespaces \"{namespace}\" not found")));
            }
        }
        let live = self.objects.get(&id).cloned();
        let wanted_version = body.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if wanted_version.is_some()
            && wanted_version != live.as_ref().and_then(|live| live["metadata"]["resourceVersion"].as_str())
        {
            return Err(rejection(
                409,
                "the object has been modified; please apply your changes to the latest version",
            ));
        }
        if live
            .as_ref()
            .is_some_and(|live| live.pointer("/spec/immutable") != body.pointer("/spec/immutable"))
        {
            let mut rejection = rejection(422, "spec.immutable: field is immutable");
            let cause = RejectionCause {
                field: "spec.immutable".to_owned(),
                reason: "FieldValueInvalid".to_owned(),
                message: "field is immutable".to_owned(),
            };
            rejection.causes.push(cause);
            return Err(rejection);
        }
        let created = live.is_none();
        let base = live.clone().unwrap_or_else(|| json!({"metadata": {}}));
        let mut object =
            ownership::apply(&base, body, &options.manager, options.force).map_err(|conflicts| {
                let names: Vec<String> =
                    conflicts.iter().map(|(path, by)| format!("conflict with {by:?}: {path}")).collect();
                let mut rejection = rejection(409, &format!("Apply failed: {}", names.join(", ")));
                rejection.causes = conflicts
                    .into_iter()
                    .map(|(field, message)| RejectionCause {
                        field,
                        reason: "FieldManagerConflict".to_owned(),
                        message,
                    })
                    .collect();
                rejection
            })?;
        if let (Some(live), false) = (&live, created)
            && live.get("spec") != object.get("spec")
        {
            bump_generation(&mut object);
        }
        if options.dry_run {
            return Ok((if created { 201 } else { 200 }, Applied { object, created }));
        }
        if created {
            self.stamp_new(&mut object);
        }
        if live.as_ref() != Some(&object) {
            self.store(id.clone(), object);
        }
        let object = self.objects[&id].clone();
        Ok((if created { 201 } else { 200 }, Applied { object, created }))
    }
}

#[async_trait]
impl Cluster for Fake {
    fn identity(&self) -> &ClusterIdentity {
        &self.identity
    }

    async fn discover(&self, kinds: &[Gvk]) -> Result<Vec<KindInfo>, ClusterError> {
        self.request("discover", &nothing(), false).await?;
        Ok(self.state().kinds.iter().filter(|kind| kinds.contains(&kind.gvk)).cloned().collect())
    }

    fn forget_discovery(&self) {}

    async fn list(&self, kind: &KindInfo, selection: &Selection) -> Result<Vec<Value>, ClusterError> {
        self.request("list", &nothing(), false).await?;
        Ok(listed(&self.state(), &kind.gvk, selection))
    }

    async fn get(&self, _kind: &KindInfo, id: &ObjectId) -> Result<Option<Value>, ClusterError> {
        self.request("get", id, false).await?;
        Ok(self.state().objects.get(id).cloned())
    }

    async fn apply(
        &self,
        kind: &KindInfo,
        body: &Value,
        options: &ApplyOptions,
    ) -> Result<Applied, ClusterError> {
        let id = ObjectId::of(body).unwrap_or_else(nothing);
        let verb = if options.dry_run { "dry-run" } else { "apply" };
        let answered = self.request(verb, &id, !options.dry_run).await?;
        if !self.state().kinds.iter().any(|known| known.gvk == kind.gvk) {
            return Err(rejected(
                verb,
                &id,
                rejection(404, "the server could not find the requested resource"),
            ));
        }
        if options.dry_run {
            let applied = self.state().apply(body, options);
            return applied.map(|(_, applied)| applied).map_err(|rejection| rejected(verb, &id, rejection));
        }
        let applied = self.written(verb, &id, |state| state.apply(body, options))?;
        if answered { Ok(applied) } else { self.silence().await }
    }

    async fn patch(
        &self,
        _kind: &KindInfo,
        id: &ObjectId,
        operations: &[Value],
        _manager: &str,
    ) -> Result<Value, ClusterError> {
        let answered = self.request("patch", id, true).await?;
        let object = self.written("patch", id, |state| {
            let mut object = state.objects.get(id).cloned().ok_or_else(|| rejection(404, "not found"))?;
            merge::json_patch(&mut object, operations).map_err(|message| rejection(422, &message))?;
            state.edit(id, |live| *live = object);
            Ok((200, state.objects[id].clone()))
        })?;
        if answered { Ok(object) } else { self.silence().await }
    }

    async fn delete(
        &self,
        _kind: &KindInfo,
        id: &ObjectId,
        options: &DeleteOptions,
    ) -> Result<bool, ClusterError> {
        let answered = self.request("delete", id, true).await?;
        let existed = self.written("delete", id, |state| {
            let Some(live) = state.objects.get(id) else { return Ok((404, false)) };
            let fits = |wanted: &Option<String>, pointer| {
                wanted.is_none() || live.pointer(pointer).and_then(Value::as_str) == wanted.as_deref()
            };
            if !fits(&options.uid, "/metadata/uid")
                || !fits(&options.resource_version, "/metadata/resourceVersion")
            {
                return Err(rejection(409, "the precondition failed"));
            }
            state.delete(id, options.foreground);
            Ok((200, true))
        })?;
        if answered { Ok(existed) } else { self.silence().await }
    }

    fn watch(
        &self,
        kind: &KindInfo,
        selection: &Selection,
    ) -> BoxStream<'static, Result<Watched, ClusterError>> {
        let (sender, receiver) = mpsc::unbounded();
        let mut state = self.state();
        state.watches.push((kind.gvk.clone(), selection.clone()));
        let first = if state.refused_kinds.contains(&kind.gvk.kind) {
            Err(rejected("watch", &nothing(), rejection(403, "forbidden")))
        } else {
            Ok(Watched::Restarted(listed(&state, &kind.gvk, selection)))
        };
        let _ = sender.unbounded_send(first);
        state.watchers.push(Watcher {
            gvk: kind.gvk.clone(),
            selection: selection.clone(),
            labels: LabelSelector::parse(selection.labels.as_deref().unwrap_or_default()),
            sender,
        });
        receiver.boxed()
    }

    async fn logs(
        &self,
        _namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError> {
        self.request("logs", &nothing(), false).await?;
        let key = (pod.to_owned(), container.to_owned(), previous);
        let text = self.state().logs.get(&key).cloned();
        let text =
            text.ok_or_else(|| rejected("logs", &nothing(), rejection(400, "no such container life")))?;
        let all: Vec<&str> = text.lines().collect();
        Ok(all[all.len().saturating_sub(lines as usize)..].join("\n"))
    }
}

fn listed(state: &State, gvk: &Gvk, selection: &Selection) -> Vec<Value> {
    let labels = LabelSelector::parse(selection.labels.as_deref().unwrap_or_default());
    let of_kind = state.objects.iter().filter(|(id, _)| id.group == gvk.group && id.kind == gvk.kind);
    of_kind.map(|(_, object)| object).filter(|object| selected(object, selection, &labels)).cloned().collect()
}

fn selected(object: &Value, selection: &Selection, labels: &LabelSelector) -> bool {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let named = selection.fields.as_deref().and_then(|fields| fields.strip_prefix("metadata.name="));
    (selection.namespace.is_none() || selection.namespace.as_deref() == text("/metadata/namespace"))
        && labels.matches(object)
        && (named.is_none() || named == text("/metadata/name"))
}

fn bump_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    object["metadata"]["generation"] = json!(generation + 1);
}

fn nothing() -> ObjectId {
    ObjectId::new(&Gvk::new("", "v1", ""), None, "")
}

fn rejection(code: u16, message: &str) -> Rejection {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "BadRequest",
    };
    Rejection { code, reason: reason.to_owned(), message: message.to_owned(), causes: Vec::new() }
}

fn rejected(verb: &'static str, id: &ObjectId, rejection: Rejection) -> ClusterError {
    ClusterError::Rejected { verb, object: id.to_string(), rejection }
}
