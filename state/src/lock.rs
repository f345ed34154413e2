//! The lock on a stack: a lease that expires, with a number that only grows.
//!
//! [`LeaseRecord`] has the fields of a `coordination.k8s.io/v1` Lease, and its operations are pure decisions on
//! the record that is there and the time, so they serve a Lease in the cluster as well as a value in a
//! [`Store`]. [`Lock`] is the thin layer that does the latter.
//!
//! A holder that is killed needs nobody to clean up: once its lease has expired, the next one takes over. What
//! makes that safe is not the clock but the fencing number: each new holder gets a higher one, and
//! [`crate::Inventory::begin`] refuses a lower one than it has seen. The clock only has to be good enough to
//! keep two holders from working at once, which it is while machines differ by less than [`MAX_CLOCK_SKEW`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::format::{self, FormatError};
use crate::stack::StackId;
use crate::store::{Expect, Store, StoreError, Versioned};

const WHAT: &str = "lock";
const VERSION: u64 = 1;

/// How far the clocks of two machines may differ. A lease is taken over only this long after it expired, while
/// its holder stops at once.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Who has the lock, in the terms of a Lease's spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRecord {
    /// `holderIdentity`; `None` once released.
    pub holder: Option<String>,
    /// `acquireTime`: since when this holder has it.
    pub acquired: Timestamp,
    /// `renewTime`.
    pub renewed: Timestamp,
    /// `leaseDurationSeconds`, counted from `renewed`.
    pub ttl_seconds: u32,
    /// `leaseTransitions`: the fencing number, one more with each new holder. It never goes back, which is why
    /// a released record is kept.
    pub fencing: u64,
}

/// Who wants the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// Names this one run, for example `alice@host run 7f3a`. No two runs may have the same name: a record with
    /// our name is taken for our own, because the answer to the write that made it may have been lost.
    pub holder: String,
    /// How long the lock lasts without renewal, in whole seconds (rounded up, at least 1). Renew it at a third.
    pub ttl: Duration,
}

/// The lock, held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who holds it.
    pub holder: String,
    /// The fencing number: higher than that of every holder before.
    pub fencing: u64,
    /// When it ends unless it is renewed. From then on the holder must not change anything.
    pub expires: Timestamp,
}

impl Grant {
    /// Whether the holder may go on working at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires
    }
}

/// Somebody else has the lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("locked by {holder} since {since}, until {expires} unless it is renewed")]
pub struct Locked {
    /// Who has it.
    pub holder: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends, by the holder's clock.
    pub expires: Timestamp,
    /// The holder's fencing number.
    pub fencing: u64,
}

/// The lock was ours and no longer is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lock of {holder} (number {fencing}) expired and {}; stop and plan again",
    taken_text(taken_by.as_deref())
)]
pub struct Lost {
    /// Who held it.
    pub holder: String,
    /// The number that is no longer valid.
    pub fencing: u64,
    /// Who has it now.
    pub taken_by: Option<String>,
}

fn taken_text(taken_by: Option<&str>) -> String {
    taken_by.map_or_else(|| "was given up or deleted".to_owned(), |by| format!("was taken over by {by}"))
}

impl LeaseRecord {
    /// The record to write in order to get the lock.
    ///
    /// `unchanged_for` is how long the caller has seen this very record without a change, by a clock that
    /// never steps (zero if just read). A live holder would have renewed by then, so a record is also taken
    /// over when its times make no sense here, because its writer's clock ran ahead.
    pub fn acquire(
        current: Option<&Self>,
        request: &LockRequest,
        now: Timestamp,
        unchanged_for: Duration,
    ) -> Result<Self, Locked> {
        let seconds = request.ttl.as_secs().saturating_add((request.ttl.subsec_nanos() > 0).into());
        let ttl_seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        let fresh = |fencing| Self {
            holder: Some(request.holder.clone()),
            acquired: now,
            renewed: now,
            ttl_seconds,
            fencing,
        };
        let Some(current) = current else { return Ok(fresh(1)) };
        let Some(holder) = &current.holder else { return Ok(fresh(current.fencing.saturating_add(1))) };
        if *holder == request.holder {
            return Ok(Self { renewed: now, ttl_seconds, ..current.clone() });
        }
        let silent = unchanged_for >= Duration::from_secs(current.ttl_seconds.into()) + MAX_CLOCK_SKEW;
        if now >= later(current.expires(), MAX_CLOCK_SKEW) || silent {
            return Ok(fresh(current.fencing.saturating_add(1)));
        }
        Err(Locked {
            holder: holder.clone(),
            since: current.acquired,
            expires: current.expires(),
            fencing: current.fencing,
        })
    }

    /// The record to write in order to keep the lock. Also after it expired, as long as nobody took it.
    pub fn renew(current: Option<&Self>, grant: &Grant, now: Timestamp) -> Result<Self, Lost> {
        Ok(Self { renewed: now, ..Self::own(current, grant)?.clone() })
    }

    /// The record to write in order to give the lock up. It keeps the fencing number.
    pub fn release(current: Option<&Self>, grant: &Grant) -> Result<Self, Lost> {
        Ok(Self { holder: None, ..Self::own(current, grant)?.clone() })
    }

    /// When the lease ends, by its holder's clock.
    pub fn expires(&self) -> Timestamp {
        later(self.renewed, Duration::from_secs(self.ttl_seconds.into()))
    }

    /// What the holder of this record has; `None` if nobody holds it.
    pub fn grant(&self) -> Option<Grant> {
        let holder = self.holder.clone()?;
        Some(Grant { holder, fencing: self.fencing, expires: self.expires() })
    }

    fn own<'a>(current: Option<&'a Self>, grant: &Grant) -> Result<&'a Self, Lost> {
        current
            .filter(|current| {
                current.fencing == grant.fencing && current.holder.as_ref() == Some(&grant.holder)
            })
            .ok_or_else(|| Lost {
                holder: grant.holder.clone(),
                fencing: grant.fencing,
                taken_by: current.and_then(|current| current.holder.clone()),
            })
    }
}

/// At the end of time there is no later.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Why the lock could not be had, kept or given up.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(transparent)]
    Locked(#[from] Locked),
    /// It was ours and no longer is.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// What the store holds is not a lock.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The store failed. A write may have happened all the same; calling again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lock of one stack in a [`Store`].
pub struct Lock {
    store: Arc<dyn Store>,
    key: String,
    /// The record last read, and since when it has been seen unchanged.
    seen: Option<(LeaseRecord, Instant)>,
}

/// Who else writes the record could change it between our read and our write only so often.
const MAX_CONFLICTS: u32 = 16;

impl Lock {
    /// The lock of `stack` in `store`. Nothing is read yet.
    pub fn new(store: Arc<dyn Store>, stack: &StackId) -> Self {
        Self { store, key: stack.key(WHAT), seen: None }
    }

    /// Tries to get the lock, once: to wait for it, call again on the same `Lock`, which remembers how long it
    /// has seen the holder silent.
    ///
    /// `now` must be from before the call, so that the lease does not seem to last longer than it does.
    pub async fn acquire(&mut self, request: &LockRequest, now: Timestamp) -> Result<Grant, LockError> {
        self.change(|current, silence| Ok(LeaseRecord::acquire(current, request, now, silence)?))
            .await
            .and_then(|record| {
                record.grant().ok_or_else(|| {
                    // An acquired record has a holder; the type cannot say so.
                    LockError::Format(FormatError::Damaged { what: WHAT, why: "it has no holder".to_owned() })
                })
            })
    }

    /// Keeps the lock for another ttl from `now`.
    pub async fn renew(&mut self, grant: &Grant, now: Timestamp) -> Result<Grant, LockError> {
        let record = self.change(|current, _| Ok(LeaseRecord::renew(current, grant, now)?)).await?;
        Ok(Grant { expires: record.expires(), ..grant.clone() })
    }

    /// Gives the lock up. Doing so twice is fine.
    pub async fn release(&mut self, grant: &Grant) -> Result<(), LockError> {
        if let Some((current, _)) = self.read().await?
            && current.holder.is_none()
            && current.fencing == grant.fencing
        {
            return Ok(());
        }
        self.change(|current, _| Ok(LeaseRecord::release(current, grant)?)).await?;
        Ok(())
    }

    /// Reads who has the lock, and writes nothing.
    pub async fn inspect(&mut self) -> Result<Option<LeaseRecord>, LockError> {
        Ok(self.read().await?.map(|(record, _)| record))
    }

    /// Reads, decides and writes until nobody wrote in between.
    async fn change(
        &mut self,
        decide: impl Fn(Option<&LeaseRecord>, Duration) -> Result<LeaseRecord, LockError>,
    ) -> Result<LeaseRecord, LockError> {
        let mut conflicts = 0;
        loop {
            let read = self.read().await?;
            let silence = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
            let next = decide(read.as_ref().map(|(record, _)| record), silence)?;
            let expected = Expect::read(read.as_ref().map(|(_, stored)| stored));
            let bytes = format::encode(VERSION, &next).into();
            match self.store.put(&self.key, bytes, expected).await {
                Ok(_) => return Ok(next),
                Err(StoreError::Conflict { .. }) if conflicts < MAX_CONFLICTS => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn read(&mut self) -> Result<Option<(LeaseRecord, Versioned)>, LockError> {
        let Some(stored) = self.store.get(&self.key).await? else {
            self.seen = None;
            return Ok(None);
        };
        format::version(WHAT, VERSION, &stored.bytes)?;
        let record: LeaseRecord = format::content(WHAT, &stored.bytes)?;
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != record) {
            self.seen = Some((record.clone(), Instant::now()));
        }
        Ok(Some((record, stored)))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("store", &self.store.describe())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
