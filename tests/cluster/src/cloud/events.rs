//! CCM's events on Services: of the core group, counted when they repeat.

use k8s_openapi::{
    api::core::v1::{Event, EventSource, Service},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::MANAGER;
use crate::{error::Result, programs::hex};

/// What CCM tells about a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    EnsuredLoadBalancer,
    SyncLoadBalancerFailed,
    CleanLoadBalancerFailed,
    PreservedOnDelete,
}

impl Reason {
    fn kind(self) -> &'static str {
        match self {
            Self::EnsuredLoadBalancer | Self::PreservedOnDelete => "Normal",
            Self::SyncLoadBalancerFailed | Self::CleanLoadBalancerFailed => "Warning",
        }
    }
}

/// Sends an event, or counts it once more when it was sent before.
pub(crate) async fn send(client: &Client, service: &Service, reason: Reason, message: &str) -> Result<()> {
    let events: Api<Event> = Api::namespaced(client.clone(), &service.namespace().unwrap_or_default());
    let uid = service.uid().unwrap_or_default();
    let digest = Sha256::digest(format!("{uid}{reason:?}{message}"));
    let name = format!("{}.{}", service.name_any(), hex(&digest[..8]));
    let now = Time(Timestamp::now());
    if let Some(event) = events.get_opt(&name).await? {
        let again = json!({ "count": event.count.unwrap_or(1) + 1, "lastTimestamp": now });
        events.patch(&name, &PatchParams::apply(MANAGER), &Patch::Merge(again)).await?;
        return Ok(());
    }
    let event = Event {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        involved_object: service.object_ref(&()),
        reason: Some(format!("{reason:?}")),
        message: Some(message.to_owned()),
        type_: Some(reason.kind().to_owned()),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), host: None }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    };
    events
        .create(&PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }, &event)
        .await?;
    Ok(())
}
