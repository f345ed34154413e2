//! Services: the selector comes from the workload, the ports are checked against its containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::container::target;
use super::{Port, Workload};
use crate::graph::pods;
use crate::graph::{Declare, Declared, GraphError, Handle, Location};

/// A cloud's load balancer as a typed value: what it makes of the Service.
pub trait LoadBalancer {
    /// The Service's annotations.
    fn annotations(&self) -> BTreeMap<String, String>;

    /// `spec.loadBalancerClass`, if it needs one.
    fn class(&self) -> Option<String>;

    /// What can't be, in words for the reader.
    fn problems(&self, ports: &[Port]) -> Vec<String>;
}

/// A Service named `name`.
#[track_caller]
pub fn service(name: impl Into<String>) -> ServiceBuilder {
    ServiceBuilder {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        spec: ServiceSpec::default(),
        ports: Vec::new(),
        behind: None,
        balancer: None,
        customize: Vec::new(),
    }
}

/// A last change to the object itself.
type Customize = Box<dyn FnOnce(&mut Service)>;

/// Makes a Service.
pub struct ServiceBuilder {
    metadata: ObjectMeta,
    spec: ServiceSpec,
    ports: Vec<(Port, Option<String>, Location)>,
    behind: Option<Behind>,
    balancer: Option<(Box<dyn LoadBalancer>, Location)>,
    customize: Vec<Customize>,
}

struct Behind {
    workload: String,
    ports: Vec<(Option<String>, Option<u64>, String)>,
}

impl ServiceBuilder {
    /// Leads to the pods of `workload`.
    pub fn to<K: Workload>(mut self, workload: &Handle<K>) -> Self {
        let body = workload.body();
        let labels = body.pointer("/spec/selector/matchLabels").cloned().unwrap_or_default();
        self.spec.selector = serde_json::from_value(labels).ok();
        let ports = pods::template(K::KIND, body).map(pods::ports).unwrap_or_default();
        self.behind = Some(Behind {
            workload: workload.id().to_string(),
            ports: ports
                .into_iter()
                .map(|port| (port.name.map(str::to_owned), port.number, port.protocol.to_owned()))
                .collect(),
        });
        self
    }

    /// Offers `port` under its own number.
    #[track_caller]
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push((port, None, Location::caller()));
        self
    }

    /// Offers `port` under its own number, and names it in the Service.
    #[track_caller]
    pub fn port_named(mut self, port: Port, name: impl Into<String>) -> Self {
        self.ports.push((port, Some(name.into()), Location::caller()));
        self
    }

    /// Headless: DNS gives the pods' own addresses.
    pub fn headless(mut self) -> Self {
        self.spec.cluster_ip = Some("None".to_owned());
        self
    }

    /// Type LoadBalancer, by this cloud's load balancer.
    #[track_caller]
    pub fn load_balancer(mut self, balancer: impl LoadBalancer + 'static) -> Self {
        self.spec.type_ = Some("LoadBalancer".to_owned());
        self.balancer = Some((Box::new(balancer), Location::caller()));
        self
    }

    /// Changes the object itself, last.
    pub fn customize(mut self, change: impl FnOnce(&mut Service) + 'static) -> Self {
        self.customize.push(Box::new(change));
        self
    }
}

impl Declare for ServiceBuilder {
    type Object = Service;

    fn declare(self) -> Declared {
        let Self { mut metadata, mut spec, ports, behind, balancer, customize } = self;
        let mut errors = Vec::new();
        let name = metadata.name.clone().unwrap_or_default();
        for (port, _, location) in &ports {
            if let Some(behind) = &behind
                && !behind.has(*port)
            {
                errors.push(behind.error(&name, *port, location.clone()));
            }
        }
        let many = ports.len() > 1;
        spec.ports = Some(
            ports
                .iter()
                .map(|(port, named, _)| ServicePort {
                    // Kubernetes asks for names as soon as there are two ports.
                    name: named.clone().or_else(|| port.name.map(str::to_owned)).or_else(|| {
                        many.then(|| format!("{}-{}", port.protocol.to_lowercase(), port.number))
                    }),
                    port: i32::from(port.number),
                    protocol: Some(port.protocol.to_owned()),
                    target_port: Some(target(*port)),
                    ..ServicePort::default()
                })
                .collect(),
        );
        if let Some((balancer, location)) = balancer {
            let annotations = balancer.annotations();
            if !annotations.is_empty() {
                metadata.annotations.get_or_insert_default().extend(annotations);
            }
            spec.load_balancer_class = balancer.class();
            let offered: Vec<Port> = ports.iter().map(|(port, ..)| *port).collect();
            errors.extend(balancer.problems(&offered).into_iter().map(|message| GraphError {
                location: location.clone(),
                message: format!("Service {name}: {message}"),
                hint: None,
            }));
        }
        let mut object = Service { metadata, spec: Some(spec), status: None };
        for change in customize {
            change(&mut object);
        }
        let mut declared = object.declare();
        declared.errors.extend(errors);
        declared
    }
}

impl Behind {
    fn has(&self, port: Port) -> bool {
        self.ports.iter().any(|(name, number, protocol)| {
            *number == Some(u64::from(port.number))
                && protocol == port.protocol
                && (port.name.is_none() || name.as_deref() == port.name)
        })
    }

    fn error(&self, service: &str, port: Port, location: Location) -> GraphError {
        let show = |name: Option<&str>, number: u64, protocol: &str| match name {
            Some(name) => format!("{number}/{protocol} ({name})"),
            None => format!("{number}/{protocol}"),
        };
        let has: Vec<String> = self
            .ports
            .iter()
            .map(|(name, number, protocol)| show(name.as_deref(), number.unwrap_or(0), protocol))
            .collect();
        let has = if has.is_empty() {
            "its containers have no ports".to_owned()
        } else {
            format!("it has {}", has.join(", "))
        };
        GraphError {
            location,
            message: format!(
                "Service {service} offers port {}, which no container of {} has; {has}",
                show(port.name, u64::from(port.number), port.protocol),
                self.workload
            ),
            hint: Some("give the container the port, or take it out of the Service".to_owned()),
        }
    }
}
