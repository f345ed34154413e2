//! Connecting again: where to, and after which wait.

use std::net::SocketAddr;
use std::time::Duration;

/// The wait after all addresses failed once; it doubles with each further round.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Where a client connects, in turn.
#[derive(Debug)]
pub(super) struct Again {
    addresses: Vec<SocketAddr>,
    at: usize,
    /// Attempts that failed since the last one that worked.
    failures: u32,
}

impl Again {
    /// To these addresses, of which there is at least one; `start` chooses the first.
    pub(super) fn new(addresses: Vec<SocketAddr>, start: usize) -> Self {
        let at = start % addresses.len().max(1);
        Again { addresses, at, failures: 0 }
    }

    /// Where to connect now.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.addresses.get(self.at).copied()
    }

    /// A connection works.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// A connection ended or could not be had: the next address is tried after this wait, at once while there are
    /// addresses that did not fail. `random` spreads clients that lost the same server.
    pub(super) fn lost(&mut self, random: u64) -> Duration {
        let count = self.addresses.len().max(1);
        self.at = (self.at + 1) % count;
        self.failures = self.failures.saturating_add(1);
        let rounds = self.failures.saturating_sub(1) / count as u32;
        if rounds == 0 {
            return Duration::ZERO;
        }
        let wait = FIRST.saturating_mul(1 << (rounds - 1).min(10)).min(LONGEST);
        wait / 2 + wait.mul_f64((random % 1000) as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_tried_before_a_wait_that_grows_to_a_bound() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut again = Again::new(vec![address(1), address(2)], 3);
        assert_eq!(again.address(), Some(address(2)));
        assert_eq!((again.lost(0), again.address()), (Duration::ZERO, Some(address(1))));
        assert_eq!((again.lost(0), again.address()), (Duration::ZERO, Some(address(2))));
        assert_eq!(again.lost(0), FIRST / 2);
        let waits: Vec<Duration> = (0..40).map(|_| again.lost(999)).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[39] > LONGEST * 9 / 10 && waits[39] <= LONGEST);
        again.worked();
        assert_eq!(again.lost(0), Duration::ZERO);
    }
}
