//! What stands in place of a value that is larger than one Secret takes: where its parts are.

/// Names the parts of one version of a value. Each version has parts of its own, so that a reader sees one version or
/// the other, never a mixture, whenever a writer dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Random, in hexadecimal.
    id: String,
    count: usize,
}

impl Head {
    pub(super) fn new(count: usize) -> Self {
        Self { id: format!("{:016x}", fastrand::u64(..)), count }
    }

    /// The names of the parts, below the name of the value's own Secret.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        (0..self.count).map(|number| format!("{name}.{}-{number}", self.id)).collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        format!("{} {}", self.id, self.count).into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (id, count) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        let sound = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        // A thousand parts are a gigabyte, which the API server would never have taken.
        let count = count.parse().ok().filter(|count| (1..=1000).contains(count))?;
        sound.then(|| Self { id: id.to_owned(), count })
    }
}
