//! RTMP's handshake: the simple one of the specification and Adobe's digest ("complex") one, both sides, sans-IO.
//!
//! The server answers a digest handshake with digests and anything else with the simple form; C2 is read and not
//! looked at, as ffmpeg and SRS have it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Size of C1, C2, S1 and S2.
pub const SIZE: usize = 1536;
/// The version that S1 of an SRS names.
const SERVER_VERSION: u32 = 0x0100_0504;
const DIGEST: usize = 32;

const PLAYER_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e,
    0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

/// Where a digest stands in C1 or S1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    /// Key block first, the digest in the second half.
    KeyFirst,
    /// The digest in the first half.
    DigestFirst,
}

impl Schema {
    fn digest_at(self, block: &[u8]) -> usize {
        let base = match self {
            Schema::KeyFirst => 772,
            Schema::DigestFirst => 8,
        };
        let sum: usize = block[base..base + 4].iter().map(|byte| usize::from(*byte)).sum();
        base + 4 + sum % 728
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn full_key(key: &[u8]) -> Vec<u8> {
    [key, &KEY_TAIL].concat()
}

fn digest_of(key: &[u8], block: &[u8], at: usize) -> [u8; DIGEST] {
    hmac(key, &[&block[..at], &block[at + DIGEST..]])
}

/// The digest of C1 or S1, and its schema, when it has one made with `key`.
fn find_digest(key: &[u8], block: &[u8]) -> Option<(Schema, [u8; DIGEST])> {
    [Schema::KeyFirst, Schema::DigestFirst].into_iter().find_map(|schema| {
        let at = schema.digest_at(block);
        let digest = digest_of(key, block, at);
        (block[at..at + DIGEST] == digest).then_some((schema, digest))
    })
}

/// Bytes without a pattern for the random fields; they protect nothing.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

fn first_block(time: u32, version: u32, seed: u64) -> Vec<u8> {
    let mut block = noise(seed);
    block[..4].copy_from_slice(&time.to_be_bytes());
    block[4..8].copy_from_slice(&version.to_be_bytes());
    block
}

/// S0, S1 and S2 for a client's C1; `time` in seconds and `seed` differ between connections.
pub fn server_answer(c1: &[u8; SIZE], time: u32, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 2 * SIZE);
    out.push(3);
    let Some((schema, digest)) = find_digest(PLAYER_KEY, c1) else {
        let mut s1 = first_block(time, SERVER_VERSION, seed);
        s1[4..8].copy_from_slice(&c1[..4]);
        out.extend_from_slice(&s1);
        out.extend_from_slice(c1);
        return out;
    };
    let mut s1 = first_block(time, SERVER_VERSION, seed);
    let at = schema.digest_at(&s1);
    let s1_digest = digest_of(SERVER_KEY, &s1, at);
    s1[at..at + DIGEST].copy_from_slice(&s1_digest);
    out.extend_from_slice(&s1);
    let mut s2 = noise(seed.rotate_left(17));
    let key = hmac(&full_key(SERVER_KEY), &[&digest]);
    let signature = hmac(&key, &[&s2[..SIZE - DIGEST]]);
    s2[SIZE - DIGEST..].copy_from_slice(&signature);
    out.extend_from_slice(&s2);
    out
}

/// C0 and C1 with a digest (schema 1), as SRS sends them when it is the client.
pub fn client_hello(time: u32, seed: u64) -> Vec<u8> {
    let mut c1 = first_block(time, 0x8000_0702, seed);
    let at = Schema::DigestFirst.digest_at(&c1);
    let digest = digest_of(PLAYER_KEY, &c1, at);
    c1[at..at + DIGEST].copy_from_slice(&digest);
    let mut out = vec![3];
    out.extend_from_slice(&c1);
    out
}

/// C2 for a server's S1: signed when the server answered with a digest, else S1 sent back.
pub fn client_answer(s1: &[u8; SIZE], seed: u64) -> Vec<u8> {
    let Some((_, digest)) = find_digest(SERVER_KEY, s1) else {
        return s1.to_vec();
    };
    let mut c2 = noise(seed);
    let key = hmac(&full_key(PLAYER_KEY), &[&digest]);
    let signature = hmac(&key, &[&c2[..SIZE - DIGEST]]);
    c2[SIZE - DIGEST..].copy_from_slice(&signature);
    c2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: &[u8]) -> &[u8; SIZE] {
        bytes.try_into().unwrap()
    }

    #[test]
    fn a_digest_client_gets_digests_that_it_can_check() {
        let hello = client_hello(7, 42);
        let answer = server_answer(block(&hello[1..]), 9, 4242);
        assert_eq!(answer.len(), 1 + 2 * SIZE);
        assert!(find_digest(SERVER_KEY, &answer[1..=SIZE]).is_some());
        let (_, digest) = find_digest(PLAYER_KEY, &hello[1..]).unwrap();
        let s2 = &answer[1 + SIZE..];
        let key = hmac(&full_key(SERVER_KEY), &[&digest]);
        assert_eq!(s2[SIZE - DIGEST..], hmac(&key, &[&s2[..SIZE - DIGEST]]));
        assert_ne!(client_answer(block(&answer[1..=SIZE]), 5), answer[1..=SIZE]);
    }

    #[test]
    fn a_simple_client_gets_its_c1_back() {
        let c1 = first_block(1, 0, 99);
        let answer = server_answer(block(&c1), 2, 3);
        assert_eq!(answer[1 + SIZE..], c1);
        assert_eq!(client_answer(block(&answer[1..=SIZE]), 5), answer[1..=SIZE]);
    }

    #[test]
    fn both_schemas_are_found() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            let mut c1 = first_block(1, 0x0102_0304, 77);
            let at = schema.digest_at(&c1);
            let digest = digest_of(PLAYER_KEY, &c1, at);
            c1[at..at + DIGEST].copy_from_slice(&digest);
            assert_eq!(find_digest(PLAYER_KEY, &c1), Some((schema, digest)));
        }
    }
}
