//! Alibaba Cloud's Kubernetes (ACK): its load balancers as typed values, and what its cloud controller manager (CCM) does with a Service.
//!
//! A Service of type LoadBalancer becomes a Classic Load Balancer ([`Clb`]) or, with the class `alibabacloud.com/nlb`, a Network Load Balancer
//! ([`Nlb`]). Everything about it is said in annotations, which nothing validates: CCM ignores keys that it doesn't know, and
//! hands values on to the cloud, whose refusal is an event on the Service. So all of this room goes by one table of the annotations
//! (`annotation.rs`): the typed values write it, [`lint`] checks any Service against it, [`immutable_change`] finds what CCM would refuse for ever,
//! [`undo_removed`] what a removed annotation leaves behind, and [`shared_listeners`] who takes a listener from whom. The rules of
//! kind Service know when CCM is done with it.

mod annotation;
mod ccm;
mod clb;
mod health_check;
mod http;
mod immutable;
mod lint;
mod nlb;
mod relations;
mod service;
mod settings;
mod sharing;
#[cfg(test)]
mod tests;
mod value;

pub use annotation::Family;
pub use clb::{Acl, AddressType, BackendType, Clb, Created, Internet, Intranet, Reused, Spec};
pub use health_check::{HealthCheck, HttpCheck, HttpCode};
pub use http::{CipherPolicy, Http, Sticky};
pub use immutable::{immutable_change, undo_removed};
pub use lint::{Finding, Severity, lint};
pub use nlb::{Alpn, Nlb, ServerGroupType, Tls, Zone};
pub(crate) use service::Service;
pub use settings::{Listeners, Scheduler};
pub use sharing::shared_listeners;
