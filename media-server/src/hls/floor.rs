//! `hls_ts_floor`: segments are numbered by the clock, and cut so that the numbers stay with it.

/// A segment's length is changed by this part of the deviation (SRS).
const REAP: f64 = 0.3;
/// Numbers that are further from the clock jump back to it (SRS).
const JUMP: i64 = 20;

/// The number of a stream's segment, which grows by one each and follows the time divided by `hls_fragment`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    accepted: Option<i64>,
}

impl Floor {
    /// The next segment's number, and how many seconds longer than `hls_fragment` it should be. `seconds` since 1970.
    pub fn next(&mut self, seconds: f64, fragment: f64) -> (i64, f64) {
        let current = (seconds / fragment).floor() as i64;
        let mut accepted = self.accepted.map_or(current - 1, |accepted| accepted + 1);
        if (accepted - current).abs() > JUMP {
            accepted = current - 1;
        }
        self.accepted = Some(accepted);
        (accepted, REAP * (accepted - current) as f64 * fragment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_by_one_and_follow_the_clock() {
        let mut floor = Floor::default();
        assert_eq!(floor.next(1000.0, 10.0), (99, -3.0));
        assert_eq!(floor.next(1007.0, 10.0), (100, 0.0));
        assert_eq!(floor.next(1009.0, 10.0), (101, 3.0));
        assert_eq!(floor.next(1022.0, 10.0), (102, 0.0));
        // A stream that was away comes back at the clock's number.
        assert_eq!(floor.next(5000.0, 10.0), (499, -3.0));
    }
}
