//! What one `writev` sends.

use std::io::IoSlice;

/// Linux takes no more of them at a time (IOV_MAX).
const MOST: usize = 1024;

/// Slices behind what was sent of them before.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    slices: Vec<IoSlice<'a>>,
    skip: usize,
}

impl<'a> Slices<'a> {
    /// None yet; of those that come the first `skip` bytes are left out.
    pub(super) fn new(capacity: usize, skip: usize) -> Self {
        Slices { slices: Vec::with_capacity(capacity), skip }
    }

    /// Appends what is not left out.
    pub(super) fn push(&mut self, bytes: &'a [u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        if skipped < bytes.len() {
            self.slices.push(IoSlice::new(&bytes[skipped..]));
        }
    }

    /// Those that one call takes, and how many bytes they are.
    pub(super) fn first(&self) -> (&[IoSlice<'a>], usize) {
        let first = &self.slices[..self.slices.len().min(MOST)];
        (first, first.iter().map(|slice| slice.len()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sent_is_left_out(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9), skip in 0usize..40) {
            let all = parts.concat();
            let skip = skip.min(all.len());
            let mut slices = Slices::new(parts.len(), skip);
            for part in &parts {
                slices.push(part);
            }
            let (first, bytes) = slices.first();
            let left: Vec<u8> = first.iter().flat_map(|slice| slice.iter().copied()).collect();
            prop_assert_eq!(&left, &all[skip..]);
            prop_assert_eq!(bytes, left.len());
            prop_assert!(first.iter().all(|slice| !slice.is_empty()));
        }
    }
}
