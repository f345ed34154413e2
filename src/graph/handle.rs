//! Handles: typed references to resources of the stack.

use std::marker::PhantomData;
use std::rc::Rc;

use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::{Late, ObjectId, OnChange};

/// Stands for an object whose type the program doesn't know (`stack.object`, YAML).
#[derive(Debug)]
pub enum Untyped {}

/// A reference to a resource of type `K` in a stack.
#[derive(Debug)]
pub struct Handle<K> {
    index: usize,
    id: ObjectId,
    body: Rc<Value>,
    kind: PhantomData<fn() -> K>,
}

/// A ConfigMap or Secret that a builder's pods read: what becomes a [`super::Config`] once the stack knows it for its own.
#[derive(Clone, Debug)]
pub struct Mounted {
    pub(super) config: Handle<Untyped>,
    pub(super) on_change: OnChange,
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        self.cast()
    }
}

impl<K> Handle<K> {
    pub(super) fn new(index: usize, id: ObjectId, body: Value) -> Self {
        Self { index, id, body: Rc::new(body), kind: PhantomData }
    }

    pub(super) fn cast<L>(&self) -> Handle<L> {
        Handle { index: self.index, id: self.id.clone(), body: Rc::clone(&self.body), kind: PhantomData }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn mounted(&self, on_change: OnChange) -> Mounted {
        Mounted { config: self.cast(), on_change }
    }

    /// Which object it is.
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.id.name
    }

    /// The body as it was declared.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The value that stands at `pointer` (RFC 6901) of the live object once it is ready; `sample` is one of the right form.
    pub fn late<T>(&self, pointer: &str, sample: &str) -> Late<T> {
        Late::new(self.id.clone(), pointer, sample)
    }
}

impl Handle<Service> {
    /// The load balancer's address (an IP, as CLB gives), known once the Service is ready.
    pub fn address(&self) -> Late<String> {
        self.late("/status/loadBalancer/ingress/0/ip", "192.0.2.1")
    }

    /// The load balancer's name (a host name, as NLB gives), known once the Service is ready.
    pub fn hostname(&self) -> Late<String> {
        self.late("/status/loadBalancer/ingress/0/hostname", "late.example.com")
    }

    /// The Service's name inside the cluster, `name.namespace.svc`.
    pub fn dns(&self) -> String {
        match &self.id.namespace {
            Some(namespace) => format!("{}.{namespace}.svc", self.id.name),
            None => self.id.name.clone(),
        }
    }
}
