//! Sending to the players whose time has come.

use std::collections::VecDeque;
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
    /// CPU time spent on it so far.
    cost: Duration,
}

impl Core {
    /// Sends to all players whose time has come, for at most [`SEND_SLICE`].
    pub(super) fn turn(&mut self) {
        for entry in 0..self.wheels.len() {
            let Some(wheel) = &mut self.wheels[entry] else { continue };
            let busy = |queue: &VecDeque<Sweep>| queue.iter().any(|sweep| sweep.entry == entry);
            if wheel.policy.realtime && busy(&self.urgent) {
                continue;
            }
            let slots = wheel.due(self.index, self.started, self.now);
            let queue = if wheel.policy.realtime { &mut self.urgent } else { &mut self.sweeps };
            queue.extend(slots.into_iter().map(|slot| Sweep { entry, slot, place: 0, cost: Duration::ZERO }));
        }
        let until = self.now + SEND_SLICE;
        while let Some(sweep) = self.urgent.pop_front() {
            if let Some(rest) = self.sweep(sweep, until) {
                self.urgent.push_front(rest);
                return;
            }
        }
        while let Some(sweep) = self.sweeps.pop_front() {
            if let Some(rest) = self.sweep(sweep, until) {
                self.sweeps.push_front(rest);
                return;
            }
        }
    }

    /// Sends to a slot's players; gives what is left when the time is over.
    fn sweep(&mut self, mut sweep: Sweep, until: Instant) -> Option<Sweep> {
        let mut since_look = 0;
        let began = cpu_time();
        loop {
            let wheel = self.wheels.get(sweep.entry)?.as_ref()?;
            let Some(index) = wheel.slots[sweep.slot].get(sweep.place).copied() else { break };
            let mut conn = self.conns.get_mut(index).and_then(Option::take)?;
            let enough = wheel.policy.mw_msgs;
            let mut next = Next::Keep;
            let wait = match &mut conn.player {
                Some(player) => {
                    let few =
                        wheel.view.live && !player.waited && player.waiting(&wheel.view, enough) < enough;
                    player.waited = few;
                    few
                }
                None => true,
            };
            if conn.blocked || wait {
                let needed = conn.player.as_ref().and_then(|player| player.next);
                if let Some(Some(wheel)) = self.wheels.get_mut(sweep.entry) {
                    wheel.note_needed(needed);
                }
            } else {
                next = self.send(&mut conn);
            }
            let closes = !matches!(next, Next::Keep);
            self.settle(index, conn, next);
            // Who closes leaves its place to the last one of the slot.
            sweep.place += usize::from(!closes);
            since_look += 1;
            if since_look % 16 == 0 && Instant::now() >= until {
                sweep.cost += cpu_time().saturating_sub(began);
                return Some(sweep);
            }
        }
        if let Some(Some(wheel)) = self.wheels.get_mut(sweep.entry)
            && wheel.policy.realtime
        {
            wheel.note_sweep(sweep.cost + cpu_time().saturating_sub(began));
        }
        None
    }
}

/// What this thread has used of its CPU.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
