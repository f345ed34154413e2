//! The order of a graph, by petgraph, and the cycle if there is none.

use std::collections::BTreeMap;

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use super::{GraphError, Resource};

/// The resources' numbers, each after what it needs; among free ones, namespaces and the like first, then as declared.
pub(super) fn order(resources: &[Resource]) -> Result<Vec<usize>, GraphError> {
    let mut graph = DiGraph::<usize, ()>::new();
    let nodes: Vec<_> = (0..resources.len()).map(|number| graph.add_node(number)).collect();
    for (from, resource) in resources.iter().enumerate() {
        for need in &resource.needs {
            graph.add_edge(nodes[from], nodes[need.on], ());
        }
    }
    if let Some(cycle) = tarjan_scc(&graph).into_iter().find(|component| component.len() > 1) {
        let members: Vec<usize> = cycle.into_iter().map(|node| graph[node]).collect();
        return Err(cycle_error(resources, &members));
    }
    // Kahn's algorithm with a rank: petgraph's toposort would give any of the legal orders, and a plan should read well.
    let mut missing: Vec<usize> = resources.iter().map(|resource| resource.needs.len()).collect();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, resource) in resources.iter().enumerate() {
        for need in &resource.needs {
            dependants.entry(need.on).or_default().push(from);
        }
    }
    let key = |number: usize| (rank(&resources[number].gvk.kind), number);
    let mut free: std::collections::BTreeSet<(u8, usize)> =
        (0..resources.len()).filter(|number| missing[*number] == 0).map(key).collect();
    let mut order = Vec::with_capacity(resources.len());
    while let Some((_, number)) = free.pop_first() {
        order.push(number);
        for dependant in dependants.remove(&number).unwrap_or_default() {
            missing[dependant] -= 1;
            if missing[dependant] == 0 {
                free.insert(key(dependant));
            }
        }
    }
    Ok(order)
}

/// Sorts the resources and renumbers what refers to them.
pub(super) fn reorder(resources: Vec<Resource>, order: &[usize]) -> Vec<Resource> {
    let mut new = vec![0; resources.len()];
    for (position, old) in order.iter().enumerate() {
        new[*old] = position;
    }
    let mut slots: Vec<Option<Resource>> = resources.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|old| slots[*old].take())
        .map(|mut resource| {
            resource.needs.iter_mut().for_each(|need| need.on = new[need.on]);
            resource.needs.sort_by_key(|need| need.on);
            resource.configs.iter_mut().for_each(|config| config.on = new[config.on]);
            resource
        })
        .collect()
}

/// Kinds that others usually stand on come first where nothing else decides.
fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "StorageClass" | "PriorityClass" | "IngressClass" | "RuntimeClass" => 2,
        "ResourceQuota" | "LimitRange" => 3,
        "ServiceAccount" | "ClusterRole" | "Role" | "ClusterRoleBinding" | "RoleBinding" => 4,
        "PersistentVolume" => 5,
        "PersistentVolumeClaim" | "ConfigMap" | "Secret" => 6,
        "Service" => 7,
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" | "APIService" => 10,
        "Ingress" | "HorizontalPodAutoscaler" | "PodDisruptionBudget" => 9,
        _ => 8,
    }
}

fn cycle_error(resources: &[Resource], members: &[usize]) -> GraphError {
    // Follows edges inside the component until a resource comes a second time: that walk is a cycle.
    let mut walk = vec![members[0]];
    while let Some(next) = walk
        .last()
        .and_then(|last| resources[*last].needs.iter().map(|need| need.on).find(|on| members.contains(on)))
    {
        if let Some(start) = walk.iter().position(|seen| *seen == next) {
            walk.drain(..start);
            walk.push(next);
            break;
        }
        walk.push(next);
    }
    let steps: Vec<String> = walk
        .windows(2)
        .map(|pair| {
            let why = resources[pair[0]]
                .needs
                .iter()
                .find(|need| need.on == pair[1])
                .map_or("", |need| need.why.as_str());
            format!(
                "{} ({}) needs {} ({why})",
                resources[pair[0]].id, resources[pair[0]].location, resources[pair[1]].id
            )
        })
        .collect();
    GraphError {
        location: resources[walk[0]].location.clone(),
        message: format!("these resources need each other in a circle: {}", steps.join("; ")),
        hint: Some("take one of the references out, or pass the value another way".to_owned()),
    }
}
