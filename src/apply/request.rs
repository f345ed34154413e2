//! The requests of one change: asked again when the object moved, tried again when the server was busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::event::ResultOf;
use super::watches::uid;
use crate::cluster::{Applied, ApplyOptions, Cluster, ClusterError, DeleteOptions};
use crate::graph::late::{self, LateRef};
use crate::graph::{Gvk, ObjectId};
use crate::observation::{KindInfo, Rejection};
use crate::plan::again::{self, Again};
use crate::plan::{Action, Answer, Change, Environment};

/// How often an object that moves is asked about again.
const TRIES: usize = 10;

/// How often a busy server is asked again: with doubling pauses, about a minute in all.
const BUSY_TRIES: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of a create or update.
#[derive(Debug)]
pub(crate) struct Made {
    /// The change as it was carried out.
    pub(crate) change: Change,
    /// The object after it.
    pub(crate) object: Value,
    /// A create found it there.
    pub(crate) adopted: bool,
}

/// What became of a deletion's request.
#[derive(Debug)]
pub(crate) enum Deleting {
    /// It isn't there.
    Gone,
    /// It is on its way: the change as it was carried out, and the object.
    Accepted(Box<Change>, Value),
    /// Somebody made the object what it should be; nothing is to be done.
    Nothing(Box<Change>, Value),
}

/// Sends the requests of a run.
pub(crate) struct Requests {
    cluster: Arc<dyn Cluster>,
    environment: Environment,
    kinds: Mutex<BTreeMap<Gvk, KindInfo>>,
    /// Through which version the objects of the plan are read.
    versions: BTreeMap<ObjectId, Gvk>,
    writes: AtomicU64,
}

impl Requests {
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        environment: Environment,
        kinds: BTreeMap<Gvk, KindInfo>,
        versions: BTreeMap<ObjectId, Gvk>,
    ) -> Self {
        Self { cluster, environment, kinds: Mutex::new(kinds), versions, writes: AtomicU64::new(0) }
    }

    /// How many requests have written something.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How the server serves a kind; asked for if it isn't known yet.
    pub(crate) async fn kind(&self, gvk: &Gvk) -> Result<KindInfo, ResultOf> {
        if let Some(kind) = self.known_kind(gvk) {
            return Ok(kind);
        }
        let found = self.busy(|| self.cluster.discover(std::slice::from_ref(gvk))).await?;
        let Some(kind) = found.into_iter().find(|kind| kind.gvk == *gvk) else {
            return Err(ResultOf::Refused { message: format!("the server does not know the kind {gvk}") });
        };
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(gvk.clone(), kind.clone());
        Ok(kind)
    }

    pub(crate) fn known_kind(&self, gvk: &Gvk) -> Option<KindInfo> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(gvk).cloned()
    }

    /// Reads the object of a change.
    pub(crate) async fn get(&self, gvk: &Gvk, id: &ObjectId) -> Result<Option<Value>, ResultOf> {
        let kind = self.kind(gvk).await?;
        Ok(self.busy(|| self.cluster.get(&kind, id)).await?)
    }

    /// Creates or updates. A replacement comes here once the old object is gone.
    pub(crate) async fn make(&self, mut change: Change) -> Result<Made, ResultOf> {
        let kind = self.kind(&change.gvk).await?;
        if self.fill(&mut change).await? {
            let live = self.busy(|| self.cluster.get(&kind, &change.id)).await?;
            match self.ask_again(&kind, change, live).await? {
                Asked::Same(same) => change = *same,
                Asked::Nothing(made) => return Ok(*made),
            }
        }
        for _ in 0..TRIES {
            let error = match self.apply(&kind, &mut change).await {
                Ok(applied) => {
                    let adopted = !applied.created && change.action != Action::Update;
                    return Ok(Made { change, object: applied.object, adopted });
                }
                Err(error) => error,
            };
            let ClusterError::Rejected { rejection, .. } = &error else { return Err(error.into()) };
            if rejection.code == 403 {
                return Err(error.into());
            }
            let live = self.busy(|| self.cluster.get(&kind, &change.id)).await?;
            if !has_moved(&change, live.as_ref()) {
                return Err(error.into());
            }
            if change.action == Action::Replace {
                return Err(stale(format!(
                    "{} was deleted to be replaced, and somebody else created it meanwhile: {error}",
                    change.id
                )));
            }
            match self.ask_again(&kind, change, live).await? {
                Asked::Same(same) => change = *same,
                Asked::Nothing(made) => return Ok(*made),
            }
        }
        Err(stale(format!("{} was changed by others again and again, {TRIES} times", change.id)))
    }

    /// Deletes, for a deletion or as the first half of a replacement.
    pub(crate) async fn delete(&self, mut change: Change) -> Result<Deleting, ResultOf> {
        let kind = self.kind(&change.gvk).await?;
        let replaces = change.action == Action::Replace;
        if replaces {
            // Before the deletion: without its values the new object could not be made.
            self.fill(&mut change).await?;
        }
        for _ in 0..TRIES {
            let options = DeleteOptions {
                uid: change.uid.clone(),
                // What is only deleted may have a new status; what is replaced must still need it.
                resource_version: change.resource_version.clone().filter(|_| replaces),
                dry_run: false,
                foreground: owns_others(&change.gvk),
            };
            let error = match self.busy(|| self.cluster.delete(&kind, &change.id, &options)).await {
                Ok(existed) => {
                    self.writes.fetch_add(u64::from(existed), Ordering::Relaxed);
                    let object = match (existed, change.live.take()) {
                        (true, Some(live)) => Some(live),
                        (true, None) => self.busy(|| self.cluster.get(&kind, &change.id)).await?,
                        (false, _) => None,
                    };
                    return Ok(
                        object.map_or(Deleting::Gone, |object| Deleting::Accepted(Box::new(change), object))
                    );
                }
                Err(error) => error,
            };
            match &error {
                ClusterError::Rejected { rejection, .. } if rejection.code == 404 => {
                    return Ok(Deleting::Gone);
                }
                ClusterError::Rejected { rejection, .. } if rejection.code == 409 => {}
                _ => return Err(error.into()),
            }
            let live = self.busy(|| self.cluster.get(&kind, &change.id)).await?;
            let Some(live) = live else { return Ok(Deleting::Gone) };
            if change.uid.is_some() && uid(&live) != change.uid.as_deref() {
                return Err(stale(format!(
                    "{} was deleted by somebody else and created again; the new one is not deleted on the word of this plan",
                    change.id
                )));
            }
            if !replaces || !has_moved(&change, Some(&live)) {
                return Err(error.into());
            }
            if change.live.as_ref().is_some_and(|known| without_status(known) == without_status(&live)) {
                change.resource_version = version(&live).map(str::to_owned);
                change.live = Some(live);
                continue;
            }
            match self.ask_again(&kind, change, Some(live)).await? {
                Asked::Same(same) if same.action == Action::Replace => change = *same,
                Asked::Same(same) => {
                    return Err(stale(format!("{} no longer has to be replaced", same.id)));
                }
                Asked::Nothing(made) => return Ok(Deleting::Nothing(Box::new(made.change), made.object)),
            }
        }
        Err(stale(format!("{} was changed by others again and again, {TRIES} times", change.id)))
    }

    /// Looks these kinds up anew.
    pub(crate) async fn discover_anew(&self, kinds: &[Gvk]) -> Result<Vec<KindInfo>, ClusterError> {
        self.cluster.forget_discovery();
        let found = self.busy(|| self.cluster.discover(kinds)).await?;
        let mut known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(found.iter().map(|kind| (kind.gvk.clone(), kind.clone())));
        Ok(found)
    }

    /// Puts late values into the body from the live objects they come from; `false` if there are none.
    async fn fill(&self, change: &mut Change) -> Result<bool, ResultOf> {
        let wanted = late::unresolved(&change.body);
        if wanted.is_empty() {
            return Ok(false);
        }
        let mut sources: BTreeMap<&ObjectId, Value> = BTreeMap::new();
        for LateRef { id, .. } in &wanted {
            if sources.contains_key(id) {
                continue;
            }
            let Some(gvk) = self.version_of(id) else {
                let message =
                    format!("{} needs a value of {id}, whose kind the plan does not know", change.id);
                return Err(ResultOf::Error { message });
            };
            let live = self.get(&gvk, id).await?;
            sources.insert(id, live.unwrap_or_default());
        }
        let lookup = |wanted: &LateRef| {
            sources.get(&wanted.id)?.pointer(&wanted.pointer).filter(|v| !v.is_null()).cloned()
        };
        match late::fill(&mut change.body, &lookup) {
            Ok(()) => Ok(true),
            Err(LateRef { id, pointer, .. }) => Err(ResultOf::Error {
                message: format!("{} needs {pointer} of {id}, which has no value yet", change.id),
            }),
        }
    }

    fn version_of(&self, id: &ObjectId) -> Option<Gvk> {
        self.versions.get(id).cloned().or_else(|| {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.keys().find(|gvk| gvk.group == id.group && gvk.kind == id.kind).cloned()
        })
    }

    /// Asks the server what the change would do now; only the same as was agreed to goes on.
    async fn ask_again(
        &self,
        kind: &KindInfo,
        change: Change,
        live: Option<Value>,
    ) -> Result<Asked, ResultOf> {
        let question = again::question(&change);
        let options =
            ApplyOptions { manager: self.environment.manager.clone(), dry_run: true, force: question.force };
        let answer = match self.busy(|| self.cluster.apply(kind, &question.body, &options)).await {
            Ok(applied) => Answer::Accepted(applied.object),
            Err(ClusterError::Rejected { rejection, .. }) => Answer::Rejected(rejection),
            Err(error) => return Err(error.into()),
        };
        match again::judge(&change, live.clone(), answer, &self.environment) {
            Again::Same(same) => Ok(Asked::Same(same)),
            Again::Nothing => {
                let object = live.unwrap_or_default();
                Ok(Asked::Nothing(Box::new(Made { change, object, adopted: false })))
            }
            Again::Moved { message } => Err(stale(message)),
        }
    }

    async fn apply(&self, kind: &KindInfo, change: &mut Change) -> Result<Applied, ClusterError> {
        let update = change.action == Action::Update;
        if update && !change.removals.is_empty() {
            self.remove(kind, change).await?;
        }
        let mut body = change.body.clone();
        if let (true, Some(version)) = (update, &change.resource_version) {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        let options =
            ApplyOptions { manager: self.environment.manager.clone(), dry_run: false, force: update };
        let applied = self.busy(|| self.cluster.apply(kind, &body, &options)).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(applied)
    }

    /// Takes out what a human added. Before the apply, whose time makes everything older than it agreed to: killed in between, the
    /// next plan still sees what is left to do.
    async fn remove(&self, kind: &KindInfo, change: &mut Change) -> Result<(), ClusterError> {
        let known = change.resource_version.clone().unwrap_or_default();
        let operations = on_version(&change.removals, &known);
        let patched = self
            .busy(|| self.cluster.patch(kind, &change.id, &operations, &self.environment.manager))
            .await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        change.removals.clear();
        change.resource_version = version(&patched).map(str::to_owned);
        change.live = Some(patched);
        Ok(())
    }

    /// Tries again, with bounded back-off, what failed only because the server was busy or not there yet.
    async fn busy<T, F>(&self, request: impl Fn() -> F) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, ClusterError>>,
    {
        let mut pause = FIRST_PAUSE;
        for _ in 1..BUSY_TRIES {
            match request().await {
                Err(ClusterError::Rejected { rejection, .. }) if is_transient(&rejection) => {}
                Err(ClusterError::Unreachable { .. }) => {}
                answer => return answer,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        request().await
    }
}

enum Asked {
    Same(Box<Change>),
    Nothing(Box<Made>),
}

/// Answers that are another one a moment later.
fn is_transient(rejection: &Rejection) -> bool {
    match rejection.code {
        429 | 502 | 503 | 504 => true,
        500 => {
            // A webhook whose pods have just become ready, and etcd's leader elections.
            rejection.message.contains("failed calling webhook") || rejection.message.contains("etcdserver:")
        }
        // The controller manager makes a namespace's default ServiceAccount a moment after it.
        403 => rejection.message.contains("error looking up service account"),
        _ => false,
    }
}

/// Whether the live object is another one than the change was made from.
fn has_moved(change: &Change, live: Option<&Value>) -> bool {
    match (change.action, live) {
        (Action::Create, live) => live.is_some(),
        (_, None) => true,
        (_, Some(live)) => {
            let differs =
                |seen: Option<&str>, known: &Option<String>| known.is_some() && seen != known.as_deref();
            differs(uid(live), &change.uid) || differs(version(live), &change.resource_version)
        }
    }
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

/// The operations, with a test on `version` in front.
fn on_version(removals: &[Value], version: &str) -> Vec<Value> {
    const PATH: &str = "/metadata/resourceVersion";
    let tests_version =
        |operation: &&Value| operation["op"] == json!("test") && operation["path"] == json!(PATH);
    let test = json!({"op": "test", "path": PATH, "value": version});
    std::iter::once(test)
        .chain(removals.iter().filter(|operation| !tests_version(operation)).cloned())
        .collect()
}

/// What a status update leaves as it is.
fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
    }
    object
}

/// Whether objects of this kind own others, so that their deletion is over only when those are gone. Others are deleted without: it
/// saves the garbage collector's round.
fn owns_others(gvk: &Gvk) -> bool {
    match gvk.group.as_str() {
        "" => gvk.kind == "ReplicationController",
        "rbac.authorization.k8s.io"
        | "storage.k8s.io"
        | "networking.k8s.io"
        | "policy"
        | "autoscaling"
        | "scheduling.k8s.io"
        | "apiextensions.k8s.io"
        | "admissionregistration.k8s.io" => false,
        _ => true,
    }
}

fn stale(message: String) -> ResultOf {
    ResultOf::Stale { message }
}

impl From<ClusterError> for ResultOf {
    fn from(error: ClusterError) -> Self {
        let message = error.to_string();
        match error {
            ClusterError::Rejected { .. } => Self::Refused { message },
            _ => Self::Error { message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_are_tested_against_the_newest_version() {
        let removals = [
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "1"}),
            json!({"op": "remove", "path": "/data/x"}),
        ];
        let expected = [
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}),
            json!({"op": "remove", "path": "/data/x"}),
        ];
        assert_eq!(on_version(&removals, "7"), expected);
        assert_eq!(on_version(&removals[1..], "7"), expected);
    }

    #[test]
    fn only_answers_that_pass_are_tried_again() {
        let rejection = |code, message: &str| Rejection {
            code,
            reason: String::new(),
            message: message.to_owned(),
            causes: Vec::new(),
        };
        assert!(is_transient(&rejection(429, "too many requests")));
        assert!(is_transient(&rejection(
            500,
            "Internal error occurred: failed calling webhook \"x\": connection refused"
        )));
        assert!(!is_transient(&rejection(500, "boom")));
        assert!(!is_transient(&rejection(403, "deployments is forbidden")));
        assert!(!is_transient(&rejection(422, "invalid")));
        assert!(!is_transient(&rejection(409, "conflict")));
    }
}
