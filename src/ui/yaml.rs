//! Objects as YAML, in the order in which people write manifests.

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;

use crate::graph::Graph;

/// Keys that come first wherever they stand, in this order; all others follow by the alphabet, `status` last.
const FIRST: &[&str] =
    &["apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "spec"];

/// Writes every object of the graph, each as one document, in the graph's order.
pub fn graph(graph: &Graph) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for (number, resource) in graph.resources.iter().enumerate() {
        if number > 0 {
            text.push_str("---\n");
        }
        text.push_str(&object(&resource.body)?);
    }
    Ok(text)
}

/// Writes one object; the same object gives the same text.
pub fn object(object: &Value) -> Result<String, serde_saphyr::ser::Error> {
    // Folding (`>`) breaks long commands in places where readers don't expect it.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, &Ordered(object), options)?;
    Ok(text)
}

struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Ordered(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(key, _)| (rank(key), *key));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(key, &Ordered(value))?;
                }
                map.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

fn rank(key: &str) -> usize {
    match key {
        "status" => FIRST.len() + 1,
        _ => FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map() -> Value {
        json!({
            "data": {"srs.conf": "listen 1935;\nvhost __defaultVhost__ {\n}\n", "number": "1", "switch": "yes", "empty": "",
                     "long": "ffmpeg -re -i ".repeat(12)},
            "kind": "ConfigMap",
            "metadata": {"namespace": "live", "labels": {"app": "srs"}, "name": "srs-config"},
            "apiVersion": "v1",
        })
    }

    #[test]
    fn people_can_read_it() {
        insta::assert_snapshot!(object(&config_map()).unwrap(), @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: srs-config
          namespace: live
          labels:
            app: srs
        data:
          empty: ""
          long: "ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i ffmpeg -re -i "
          number: "1"
          srs.conf: |
            listen 1935;
            vhost __defaultVhost__ {
            }
          switch: "yes"
        "#);
    }

    #[test]
    fn it_reads_back_as_the_same_object() {
        let read: Value = serde_saphyr::from_str(&object(&config_map()).unwrap()).unwrap();
        assert_eq!(read, config_map());
    }
}
