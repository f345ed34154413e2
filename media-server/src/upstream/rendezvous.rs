//! The order of servers for a stream, by rendezvous hashing (highest random weight): all edges agree on it, streams
//! are spread evenly, and when a server goes only its own streams move.

use sha2::{Digest, Sha256};

fn weight(key: &str, server: &str) -> u64 {
    let hash = Sha256::new().chain_update(key).chain_update([0]).chain_update(server).finalize();
    u64::from_be_bytes(hash[..8].try_into().unwrap_or_default())
}

/// Sorts servers by their weight for a key, the one that should have it first.
pub fn order<T>(key: &str, servers: &mut [T], name: impl Fn(&T) -> String) {
    servers.sort_by_cached_key(|server| {
        let name = name(server);
        (std::cmp::Reverse(weight(key, &name)), name)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ordered(key: &str, servers: &[&str]) -> Vec<String> {
        let mut servers: Vec<String> = servers.iter().map(|name| (*name).to_owned()).collect();
        order(key, &mut servers, Clone::clone);
        servers
    }

    #[test]
    fn streams_are_spread() {
        let servers = ["a:1935", "b:1935", "c:1935"];
        let mut counts = [0; 3];
        for stream in 0..3000 {
            let first = &ordered(&format!("live/{stream}"), &servers)[0];
            counts[servers.iter().position(|server| server == first).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_the_list(key in ".{0,20}") {
            prop_assert_eq!(ordered(&key, &["a", "b", "c"]), ordered(&key, &["c", "a", "b"]));
        }

        #[test]
        fn without_one_the_others_keep_their_order(key in ".{0,20}", gone in 0usize..4) {
            let all = ["a", "b", "c", "d"];
            let mut expected = ordered(&key, &all);
            expected.retain(|server| server != all[gone]);
            let rest: Vec<&str> = all.into_iter().filter(|server| *server != all[gone]).collect();
            prop_assert_eq!(ordered(&key, &rest), expected);
        }
    }
}
