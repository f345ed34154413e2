//! A 128-bit hash: what the inventory keeps instead of contents.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 cut to its first 128 bits (a truncation as FIPS 180-4 section 7 has it): short enough to keep three
/// of them for each of 10,000 objects, long enough that two contents never meet by chance.
///
/// For contents that must not be guessed from their hash (Secrets) use [`crate::StackKey::fingerprint`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, std::hash::Hash)]
pub struct Hash128([u8; 16]);

impl Hash128 {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::truncate(&Sha256::digest(bytes).into())
    }

    /// The first half of a 256-bit hash.
    pub(crate) fn truncate(hash: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(half)
    }

    /// A hash that was stored.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The hash, to be stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_first_half_of_sha_256() {
        // FIPS 180-4 example: "abc".
        assert_eq!(Hash128::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
    }
}
