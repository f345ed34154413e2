//! Object names for keys: readable, and never one for two.

use stackctl_state::Hash128;

/// The name of the object that holds the value of `key` in the cluster with this uid.
///
/// A stack's own values are `VALUE.NAMESPACE.STACK`, such as `inventory.default.quick-start`. Any other key becomes
/// `key-` and its hash: a name may have no capital letters, no `_` and no `/`, and at most 253 characters
/// (RFC 1123 as Kubernetes has it), so what is readable of it would be ambiguous.
pub(super) fn name(cluster: &str, key: &str) -> String {
    stack_value(cluster, key).unwrap_or_else(|| format!("key-{}", hash(key)))
}

/// A hash of the key, as the value of a label, which has at most 63 characters.
pub(super) fn hash(key: &str) -> String {
    Hash128::of(key.as_bytes()).to_string()
}

/// The parts of [`stackctl_state::StackId::key`], if all of them can stand in a name.
fn stack_value(cluster: &str, key: &str) -> Option<String> {
    let mut parts = key.strip_prefix("stacks/")?.strip_prefix(cluster)?.strip_prefix('/')?.split('/');
    let (namespace, stack, value) = (parts.next()?, parts.next()?, parts.next()?);
    let readable = parts.next().is_none() && [namespace, stack, value].into_iter().all(is_label);
    readable.then(|| format!("{value}.{namespace}.{stack}"))
}

/// A DNS label (RFC 1123), and so without a dot: the dots between them stay the only ones.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stackctl_state::StackId;

    use super::*;

    const CLUSTER: &str = "0b1c2d3e-0000-4000-8000-000000000000";

    #[test]
    fn a_stacks_values_can_be_read_off_their_names() {
        let stack = StackId::new(CLUSTER, "default", "quick-start").unwrap();
        assert_eq!(name(CLUSTER, &stack.key("inventory")), "inventory.default.quick-start");
        assert_eq!(name("another", &stack.key("inventory")).len(), "key-".len() + 32);
    }

    fn keys() -> impl Strategy<Value = String> {
        let segment = "[A-Za-z0-9][A-Za-z0-9._-]{0,70}";
        let label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
        prop_oneof![
            prop::collection::vec(segment, 1..6).prop_map(|segments| segments.join("/")),
            (label, label, label).prop_map(|(a, b, c)| format!("stacks/{CLUSTER}/{a}/{b}/{c}")),
            // Keys that are close to one another.
            "stacks/0b1c2d3e-0000-4000-8000-000000000000/[a.]{1,3}/[a.]{1,3}/[a.]{1,3}",
        ]
    }

    proptest! {
        #[test]
        fn every_key_has_a_name_that_kubernetes_takes(key in keys()) {
            let name = name(CLUSTER, &key);
            prop_assert!(name.len() <= 253 - "..0123456789abcdef-1000".len());
            prop_assert!(name.split('.').all(|label| label.len() <= 68 && !label.is_empty()
                && !label.starts_with('-') && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')), "{}", name);
            prop_assert!(hash(&key).len() <= 63);
        }

        #[test]
        fn two_keys_never_have_one_name(one in keys(), other in keys()) {
            prop_assert_eq!(one == other, name(CLUSTER, &one) == name(CLUSTER, &other));
        }

        #[test]
        fn a_readable_name_tells_its_key(a in "[a-z0-9]{1,9}", b in "[a-z0-9]{1,9}", c in "[a-z0-9]{1,9}") {
            let name = name(CLUSTER, &format!("stacks/{CLUSTER}/{a}/{b}/{c}"));
            let parts: Vec<&str> = name.split('.').collect();
            prop_assert_eq!(parts, [c.as_str(), a.as_str(), b.as_str()]);
        }
    }
}
