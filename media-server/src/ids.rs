//! Ids as SRS makes them: short, lower case, unique enough within a process.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A number nobody outside can foresee.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// `length` characters of a-z and 0-9; at most 12 are random.
pub fn id(length: usize) -> String {
    const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut number = random();
    (0..length)
        .map(|_| {
            let index = (number % 36) as usize;
            number /= 36;
            char::from(ALPHABET[index])
        })
        .collect()
}

/// The id of a connection.
pub fn connection() -> String {
    id(8)
}

/// The id of a server, vhost or stream.
pub fn vid() -> String {
    format!("vid-{}", id(7))
}
