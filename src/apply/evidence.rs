//! The last words of containers that the evidence points at.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::kinds::Evidence;

const LINES: u32 = 20;
/// More containers than these say nothing new.
const AT_MOST: usize = 3;
/// A kubelet that doesn't answer must not hold the run.
const PATIENCE: Duration = Duration::from_secs(10);

/// The last log lines, as `(pod/container, text)`: those of the life that crashed, or if there was none, of this one.
pub(crate) async fn logs(
    cluster: &dyn Cluster,
    namespace: Option<&str>,
    evidence: &[Evidence],
) -> Vec<(String, String)> {
    let mut logs = Vec::new();
    let Some(namespace) = namespace else { return logs };
    let wanted = evidence.iter().filter(|one| one.wants_logs);
    let wanted = wanted.filter_map(|one| Some((one.object.strip_prefix("Pod ")?, one.container.as_deref()?)));
    for (pod, container) in wanted.take(AT_MOST) {
        let name = format!("{pod}/{container}");
        if logs.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let mut said = String::new();
        for previous in [true, false] {
            let request = cluster.logs(namespace, pod, container, previous, LINES);
            match tokio::time::timeout(PATIENCE, request).await {
                Ok(Ok(text)) if !text.trim().is_empty() => {
                    said = text;
                    break;
                }
                // It has no previous life, or said nothing in it.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if !said.is_empty() {
            logs.push((name, said));
        }
    }
    logs
}
