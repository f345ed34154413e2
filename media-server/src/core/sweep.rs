//! Sending to the players whose time has come.

use std::time::{Duration, Instant};

use super::{Core, Next};

/// Sending goes on so long before the core looks for events again.
const SEND_SLICE: Duration = Duration::from_millis(1);

/// A part of a sweep: players of a slot from a place on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    entry: usize,
    slot: usize,
    place: usize,
}

impl Core {
    /// Sends to all players whose time has come, realtime ones first, for at most [`SEND_SLICE`].
    pub(super) fn turn(&mut self) {
        let until = self.now + SEND_SLICE;
        for entry in 0..self.wheels.len() {
            let Some(wheel) = &mut self.wheels[entry] else { continue };
            if wheel.policy.realtime {
                if wheel.round(self.index, self.now) {
                    self.go_round(entry, until);
                }
                continue;
            }
            let mut slots = wheel.due(self.index, self.started, self.now);
            slots.retain(|slot| wheel.queue(*slot));
            self.sweeps.extend(slots.into_iter().map(|slot| Sweep { entry, slot, place: 0 }));
        }
        while let Some(sweep) = self.sweeps.pop_front() {
            // What is due while it goes on is another sweep: it may be of news that the first players have not got.
            if sweep.place == 0
                && let Some(Some(wheel)) = self.wheels.get_mut(sweep.entry)
            {
                wheel.begin(sweep.slot);
            }
            if let Some(rest) = self.sweep(sweep, until) {
                self.sweeps.push_front(rest);
                return;
            }
        }
    }

    /// Goes on with a realtime stream's round.
    fn go_round(&mut self, entry: usize, until: Instant) {
        let began = cpu_time();
        let mut since_look = 0;
        while let Some(Some(wheel)) = self.wheels.get_mut(entry) {
            let Some(index) = wheel.next_realtime() else { break };
            let gone = self.serve(entry, index, false);
            since_look += 1;
            let Some(Some(wheel)) = self.wheels.get_mut(entry) else { return };
            wheel.served(gone);
            if since_look % 16 == 0 && Instant::now() >= until {
                break;
            }
        }
        if let Some(Some(wheel)) = self.wheels.get_mut(entry) {
            wheel.rotor.spend(cpu_time().saturating_sub(began));
        }
    }

    /// Sends to a slot's players; gives what is left when the time is over.
    fn sweep(&mut self, mut sweep: Sweep, until: Instant) -> Option<Sweep> {
        let mut since_look = 0;
        loop {
            let wheel = self.wheels.get(sweep.entry)?.as_ref()?;
            let index = wheel.slots[sweep.slot].get(sweep.place).copied()?;
            let gone = self.serve(sweep.entry, index, true);
            // Who is gone left its place to the last one of the slot.
            sweep.place += usize::from(!gone);
            since_look += 1;
            if since_look % 16 == 0 && Instant::now() >= until {
                return Some(sweep);
            }
        }
    }

    /// Sends to one player, or lets it wait once for more messages where it `may_wait`; true when it is gone.
    fn serve(&mut self, entry: usize, index: usize, may_wait: bool) -> bool {
        let Some(Some(wheel)) = self.wheels.get_mut(entry) else { return false };
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return false };
        let enough = wheel.policy.mw_msgs;
        let wait = conn.player.as_mut().is_none_or(|player| {
            let few = may_wait
                && wheel.view.live
                && !player.relay
                && !player.waited
                && player.waiting(&wheel.view, enough) < enough;
            player.waited = few;
            few
        });
        let mut next = Next::Keep;
        if conn.blocked || wait {
            wheel.note_needed(conn.player.as_ref().and_then(|player| player.next));
        } else {
            next = self.send(&mut conn);
        }
        let gone = !matches!(next, Next::Keep);
        self.settle(index, conn, next);
        gone
    }
}

/// What this thread has used of its CPU.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
