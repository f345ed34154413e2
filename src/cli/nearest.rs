//! «Did you mean …?»

/// The candidate that `word` is most probably a slip of; `None` if none is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase();
            // A setting's last part is often what was meant (`replicas` for `origin.replicas`).
            let last = other.rsplit('.').next().unwrap_or(&other);
            let score = strsim::jaro_winkler(&lower, &other).max(0.95 * strsim::jaro_winkler(&lower, last));
            (score, candidate)
        })
        .filter(|(score, _)| *score > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// ` (did you mean X?)`, or a list of all if none is near.
pub(crate) fn suggestion(word: &str, candidates: &[&str]) -> Option<String> {
    if candidates.is_empty() {
        return None;
    }
    Some(match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are: {}", candidates.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognized() {
        let keys = ["image", "origin.replicas", "edge.image", "load-balancer"];
        for (word, expected) in [
            ("imgae", Some("image")),
            ("replicas", Some("origin.replicas")),
            ("origin.replica", Some("origin.replicas")),
            ("Image", Some("image")),
            ("loadbalancer", Some("load-balancer")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
