//! Which change comes after which.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change};
use crate::graph::{Graph, ObjectId, Until};

/// Links the changes as the graph says, with the prunes behind them, last what others need.
///
/// What a change needs through resources that do not change counts too: they are there, but what they stand on moves.
pub(super) fn order(changes: &mut Vec<Change>, prunes: Vec<Change>, graph: &Graph) {
    let position: BTreeMap<usize, usize> =
        changes.iter().enumerate().filter_map(|(at, change)| Some((change.resource?, at))).collect();
    for change in changes.iter_mut() {
        let Some(resource) = change.resource else { continue };
        let mut seen = BTreeSet::new();
        let mut open: Vec<(usize, bool)> = graph.resources[resource]
            .needs
            .iter()
            .map(|need| (need.on, need.until == Until::Ready))
            .collect();
        while let Some((on, ready)) = open.pop() {
            if !seen.insert((on, ready)) {
                continue;
            }
            match position.get(&on) {
                Some(at) => {
                    let strict = change.after.entry(*at).or_insert(false);
                    *strict |= ready;
                }
                None => {
                    open.extend(
                        graph.resources[on]
                            .needs
                            .iter()
                            .map(|need| (need.on, ready && need.until == Until::Ready)),
                    );
                }
            }
        }
    }
    let needed: BTreeSet<usize> = changes.iter().flat_map(|change| change.after.keys().copied()).collect();
    let last: BTreeMap<usize, bool> =
        (0..changes.len()).filter(|at| !needed.contains(at)).map(|at| (at, true)).collect();
    let mut prunes = prunes;
    let before = changes.len();
    chain_by_rank(&mut prunes, before);
    for prune in prunes.iter_mut().filter(|prune| prune.after.is_empty()) {
        prune.after.clone_from(&last);
    }
    changes.append(&mut prunes);
}

/// Links deletions in the reverse of the graph's order; kinds that others stand on go last, namespaces last of all.
pub(super) fn reverse(changes: &mut [Change], graph: &Graph) {
    let numbers: BTreeMap<&ObjectId, usize> =
        graph.resources.iter().enumerate().map(|(number, resource)| (&resource.id, number)).collect();
    let mut ranks: Vec<u8> = graph.resources.iter().map(|resource| rank(&resource.id.kind)).collect();
    // What others use goes after them, whatever its kind. Resources stand after what they need, so one pass from the end is enough.
    for (from, resource) in graph.resources.iter().enumerate().rev() {
        for need in &resource.needs {
            ranks[need.on] = ranks[need.on].max(ranks[from]);
        }
    }
    let rank_of = |change: &Change| {
        numbers.get(&change.id).map_or_else(|| rank(&change.id.kind), |number| ranks[*number])
    };
    // Namespaces and CRDs after everything else, the rest by how late the graph would make them.
    changes.sort_by_cached_key(|change| {
        let declared = numbers.get(&change.id).copied().unwrap_or(usize::MAX);
        (rank_of(change), std::cmp::Reverse(declared))
    });
    let position: BTreeMap<usize, usize> =
        changes.iter().enumerate().filter_map(|(at, change)| Some((*numbers.get(&change.id)?, at))).collect();
    for (from, need) in graph.edges() {
        if let (Some(user), Some(used)) = (position.get(&from), position.get(&need.on)) {
            changes[*used].after.insert(*user, true);
        }
    }
    let ranks: Vec<u8> = changes.iter().map(rank_of).collect();
    link_ranks(changes, &ranks, 0);
    for change in changes.iter_mut() {
        change.action = Action::Delete;
    }
}

fn chain_by_rank(changes: &mut [Change], offset: usize) {
    changes.sort_by_key(|change| rank(&change.id.kind));
    let ranks: Vec<u8> = changes.iter().map(|change| rank(&change.id.kind)).collect();
    link_ranks(changes, &ranks, offset);
}

/// Everything of one rank is gone before the next rank begins.
fn link_ranks(changes: &mut [Change], ranks: &[u8], offset: usize) {
    for at in 0..changes.len() {
        let Some(below) = ranks.iter().filter(|rank| **rank < ranks[at]).max().copied() else { continue };
        for (other, rank) in ranks.iter().enumerate() {
            if *rank == below {
                changes[at].after.insert(offset + other, true);
            }
        }
    }
}

/// In which round of deletions a kind goes.
fn rank(kind: &str) -> u8 {
    match kind {
        // A webhook without its Service would block every deletion.
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" | "APIService" => 0,
        "PersistentVolumeClaim" => 2,
        "PersistentVolume" | "StorageClass" => 3,
        "CustomResourceDefinition" => 4,
        "Namespace" => 5,
        _ => 1,
    }
}
