//! HLS of streams that ended: what is still to be removed, and the numbering for who publishes again.

use std::collections::HashMap;
use std::time::Instant;

use crate::hls::files::{Disposal, Listed};

/// Most streams of which nothing is left but the numbering, about 1 kB each. Who comes back after so many others
/// counts from 0 again.
const MAX_IDLE: usize = 1000;
/// Most streams with files that are to be removed later: of more, the first one's are removed now.
const MAX_BUSY: usize = 10_000;

/// Vhost and path.
type Name = (String, String);

/// Streams that ended.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// With the order in which they ended.
    streams: HashMap<Name, (u64, Disposal)>,
    count: u64,
}

impl Remembered {
    /// Takes what a stream leaves.
    pub(super) fn insert(&mut self, name: Name, disposal: Disposal) {
        self.count += 1;
        self.streams.insert(name, (self.count, disposal));
        if let Some(mut disposal) = self.overflow(MAX_BUSY, true) {
            disposal.remove_now();
        }
        self.forget();
    }

    /// What a stream left, for its next publisher.
    pub(super) fn take(&mut self, name: &Name) -> Option<Listed> {
        self.streams.remove(name).map(|(_, disposal)| disposal.into_listed())
    }

    /// When something is to be removed next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.streams.values().filter_map(|(_, disposal)| disposal.next()).min()
    }

    /// Removes what is due.
    pub(super) fn work(&mut self, now: Instant) {
        self.streams.retain(|_, (_, disposal)| {
            disposal.clean(now);
            let due = disposal.due.is_some_and(|due| due <= now);
            if due {
                disposal.dispose();
            }
            !due
        });
        self.forget();
    }

    /// Removes what `hls_dispose` would have removed later.
    pub(super) fn quit(&mut self) {
        for (_, disposal) in self.streams.values_mut().filter(|(_, disposal)| disposal.due.is_some()) {
            disposal.dispose();
        }
    }

    fn forget(&mut self) {
        while self.overflow(MAX_IDLE, false).is_some() {}
    }

    /// Takes the first out of those that have (or have not) something to be removed, where they are too many.
    fn overflow(&mut self, most: usize, busy: bool) -> Option<Disposal> {
        let of_kind = self.streams.iter().filter(|(_, (_, disposal))| disposal.next().is_some() == busy);
        let (count, first) = of_kind.fold((0, None), |(count, first), (name, (order, _))| {
            let before = first.is_none_or(|(least, _)| *order < least);
            (count + 1, if before { Some((*order, name)) } else { first })
        });
        let name = first.filter(|_| count > most)?.1.clone();
        self.streams.remove(&name).map(|(_, disposal)| disposal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::Hls;
    use crate::hls::files::Files;
    use crate::recorder::Names;
    use std::time::Duration;

    fn ended(text: &str, stream: &str, now: Instant) -> (Name, Disposal) {
        let block = crate::conf::parse::parse(&format!("enabled on; hls_path /nowhere; {text}")).unwrap();
        let hls = Hls::read(&block, false).unwrap().unwrap();
        let names = Names { vhost: "v", app: "live", stream };
        let (_, disposal) = Files::new(hls, names, Listed::default()).finish(now);
        (("v".into(), format!("/live/{stream}")), disposal)
    }

    #[test]
    fn memory_has_a_bound_without_disposal() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        for index in 0..MAX_IDLE + 3 {
            let (name, disposal) = ended("", &index.to_string(), now);
            remembered.insert(name, disposal);
        }
        assert_eq!((remembered.streams.len(), remembered.next()), (MAX_IDLE, None));
        assert!(remembered.take(&("v".into(), "/live/2".into())).is_none());
        assert!(remembered.take(&("v".into(), "/live/3".into())).is_some());
    }

    #[test]
    fn what_is_to_be_removed_is_not_forgotten() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        for index in 0..MAX_IDLE + 3 {
            let (name, disposal) = ended("hls_dispose 5;", &index.to_string(), now);
            remembered.insert(name, disposal);
        }
        assert_eq!(remembered.streams.len(), MAX_IDLE + 3);
        assert_eq!(remembered.next(), Some(now + Duration::from_secs(5)));
        remembered.work(now + Duration::from_secs(5));
        assert!(remembered.streams.is_empty());
    }
}
