//! The stack's own random key, and what it is for: fingerprints of Secrets.
//!
//! A plain hash of a password can be guessed by hashing passwords. An HMAC (RFC 2104, with SHA-256) under a key
//! that stays in the store cannot, and still shows whether a value changed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::format::{self, FormatError};
use crate::hash::Hash128;
use crate::stack::StackId;
use crate::store::{Expect, Store, StoreError};

const WHAT: &str = "key";
const VERSION: u64 = 1;

/// A stack's secret key for fingerprints. It is never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct StackKey([u8; 32]);

/// Why a stack has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds is not a key.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The system gave no random bytes.
    #[error("the system has no random bytes for the stack's key: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    key: String,
}

impl StackKey {
    /// A key of given bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the stack's key, `None` when the stack has none yet. Writes nothing: fit for a plan.
    pub async fn load(store: &dyn Store, stack: &StackId) -> Result<Option<Self>, KeyError> {
        let stored = store.get(&stack.key(WHAT)).await?;
        Ok(stored.map(|stored| Self::decode(&stored.bytes)).transpose()?)
    }

    /// A new key, kept nowhere yet: a plan needs one, but writes nothing.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// Keeps this key as the stack's, if it has none; gives the one that it has now. Of two that come at the same time, both
    /// get the first one's.
    pub async fn keep(self, store: &dyn Store, stack: &StackId) -> Result<Self, KeyError> {
        if let Some(key) = Self::load(store, stack).await? {
            return Ok(key);
        }
        match store.put(&stack.key(WHAT), self.encode().into(), Expect::Absent).await {
            Ok(_) => Ok(self),
            // Somebody was faster, or our own write arrived and only its answer was lost.
            Err(error) => Self::load(store, stack).await?.ok_or(KeyError::Store(error)),
        }
    }

    /// Reads the stack's key, or makes one.
    pub async fn load_or_create(store: &dyn Store, stack: &StackId) -> Result<Self, KeyError> {
        match Self::load(store, stack).await? {
            Some(key) => Ok(key),
            None => Self::random()?.keep(store, stack).await,
        }
    }

    /// The keyed fingerprint of some bytes.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        // A key shorter than the hash's block counts as filled up with zeros (RFC 2104 section 2).
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(bytes);
        Fingerprint(mac.finalize().into_bytes().into())
    }

    fn encode(&self) -> Vec<u8> {
        format::encode(VERSION, &Stored { key: STANDARD_NO_PAD.encode(self.0) })
    }

    fn decode(json: &[u8]) -> Result<Self, FormatError> {
        format::version(WHAT, VERSION, json)?;
        let stored: Stored = format::content(WHAT, json)?;
        let bytes = STANDARD_NO_PAD.decode(stored.key).ok().and_then(|bytes| bytes.try_into().ok());
        let damaged = || FormatError::Damaged { what: WHAT, why: "not 32 bytes in base64".to_owned() };
        Ok(Self(bytes.ok_or_else(damaged)?))
    }
}

impl fmt::Debug for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StackKey(..)")
    }
}

/// A keyed fingerprint: equal for equal bytes under one stack's key, and no help in guessing them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Eight hexadecimal digits, to be shown: enough to tell one value from the next.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }

    /// All 64 hexadecimal digits, to be stored.
    pub fn full(&self) -> String {
        self.to_string()
    }

    /// The first 128 bits, where the inventory wants a hash.
    pub fn hash(&self) -> Hash128 {
        Hash128::truncate(&self.0)
    }
}

/// The full fingerprint.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Fault, MemoryStore, Operation};

    fn stack() -> StackId {
        StackId::new("c", "n", "s").unwrap()
    }

    #[test]
    fn fingerprint_is_hmac_sha_256() {
        // RFC 4231, test case 1, its 20-byte key filled up with zeros as HMAC itself does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let fingerprint = StackKey::from_bytes(key).fingerprint(b"Hi There");
        assert_eq!(fingerprint.full(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_eq!(fingerprint.short(), "b0344c61");
        assert_eq!(fingerprint.hash().to_string(), "b0344c61d8db38535ca8afceaf0bf12b");
    }

    #[tokio::test]
    async fn is_made_once() {
        let store = MemoryStore::new();
        assert!(StackKey::load(&store, &stack()).await.unwrap().is_none());
        let key = StackKey::load_or_create(&store, &stack()).await.unwrap();
        assert!(StackKey::load_or_create(&store, &stack()).await.unwrap() == key);
        let other = StackId::new("c", "n", "other").unwrap();
        assert!(StackKey::load_or_create(&store, &other).await.unwrap() != key);
    }

    #[tokio::test]
    async fn of_two_makers_both_get_the_first_ones() {
        let store = MemoryStore::new();
        let first = StackKey::from_bytes([7; 32]);
        // Between our read and our write the other one writes.
        let (other, bytes) = (store.clone(), first.encode());
        let racing = store.with_faults(move |operation| {
            if let Operation::Put(key) = operation {
                other.insert_if_absent(key, bytes.clone());
            }
            None
        });
        assert!(StackKey::load_or_create(&racing, &stack()).await.unwrap() == first);
    }

    #[tokio::test]
    async fn a_lost_answer_is_no_lost_key() {
        let store = MemoryStore::new();
        let lossy = store.with_faults(|operation| match operation {
            Operation::Put(_) => Some(Fault::After),
            _ => None,
        });
        let key = StackKey::load_or_create(&lossy, &stack()).await.unwrap();
        assert!(StackKey::load(&store, &stack()).await.unwrap() == Some(key));
    }

    #[test]
    fn reads_version_1_and_refuses_newer() {
        let key = StackKey::decode(include_bytes!("../tests/fixtures/key-v1.json")).unwrap();
        assert!(key == StackKey::from_bytes(*b"a key that is for this test only"));
        let newer = StackKey::decode(br#"{"version":2,"keys":[]}"#).unwrap_err();
        assert!(matches!(newer, FormatError::Newer { found: 2, known: 1, .. }));
    }

    #[test]
    fn is_never_shown() {
        let key = StackKey::from_bytes(*b"a key that is for this test only");
        assert_eq!(format!("{key:?}"), "StackKey(..)");
        for damaged in [
            r#"{"version":1,"key":"aHVudGVyMg"}"#,
            r#"{"version":1,"key":{"hunter2":1}}"#,
            r#"{"version":"hunter2"}"#,
            "hunter2",
        ] {
            let error = StackKey::decode(damaged.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
        }
    }
}
