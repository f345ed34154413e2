//! YAML files into JSON objects, each with the line it begins at.

use serde_json::Value;

use super::{GraphError, Location};

/// The documents of `text`, without the empty ones. A `List` gives its items.
pub(super) fn documents(file: &str, text: &str) -> Result<Vec<(Location, Value)>, GraphError> {
    let mut found = Vec::new();
    for (line, document) in split(text) {
        // As kubectl reads it: `defaultMode: 0644` is a file mode in octal.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let value: Value = serde_saphyr::from_str_with_options(&document, options).map_err(|error| {
            let inside = error.location().map_or(1, |location| u32::try_from(location.line()).unwrap_or(1));
            GraphError {
                location: Location { file: file.to_owned(), line: line + inside - 1 },
                message: format!("this YAML can't be read: {}", error.without_snippet()),
                hint: None,
            }
        })?;
        let first = document.lines().take_while(|line| is_blank(line)).count();
        let location = Location { file: file.to_owned(), line: line + u32::try_from(first).unwrap_or(0) };
        match value {
            Value::Null => {}
            Value::Object(ref fields) if fields.get("kind").is_some_and(|kind| kind == "List") => {
                let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                found.extend(items.into_iter().map(|item| (location.clone(), item)));
            }
            Value::Object(_) => found.push((location, value)),
            _ => {
                return Err(GraphError {
                    location,
                    message: "this YAML document is not an object".to_owned(),
                    hint: Some("separate objects with a line of ---".to_owned()),
                });
            }
        }
    }
    Ok(found)
}

/// Splits at `---` lines; each document with the number of its first line. A block scalar can't hold such a line: it is indented.
fn split(text: &str) -> Vec<(u32, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let behind = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if behind.is_some_and(is_blank) {
            documents.push((number + 1, String::new()));
        } else if behind.is_some() {
            documents.push((number, format!("{line}\n")));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|(_, document)| !document.lines().all(is_blank));
    documents
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#') || line.starts_with('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_know_their_lines_and_lists_their_items() {
        let text = "# head\n\napiVersion: v1\nkind: A\n---\n# nothing\n---\nkind: List\nitems:\n- {kind: B}\n- {kind: C}\n";
        let found = documents("x.yaml", text).unwrap();
        let seen: Vec<_> =
            found.iter().map(|(at, value)| (at.line, value["kind"].as_str().unwrap())).collect();
        assert_eq!(seen, [(3, "A"), (8, "B"), (8, "C")]);
    }

    #[test]
    fn an_error_names_its_line() {
        let error = documents("x.yaml", "kind: A\n---\nkind: B\n  bad: [\n").unwrap_err();
        assert_eq!(error.location.file, "x.yaml");
        assert!(error.location.line >= 3, "{error}");
        assert!(documents("x.yaml", "- a\n- b\n").is_err());
    }

    #[test]
    fn a_configuration_file_inside_keeps_every_character() {
        let text = "kind: ConfigMap\ndata:\n  srs.conf: |-\n    listen 1935;\n    # --- not a separator\n    vhost __defaultVhost__ {\n    }\n";
        let found = documents("x.yaml", text).unwrap();
        assert_eq!(
            found[0].1["data"]["srs.conf"],
            "listen 1935;\n# --- not a separator\nvhost __defaultVhost__ {\n}"
        );
    }

    #[test]
    fn content_behind_the_separator_is_kept() {
        let found =
            documents("x.yaml", "--- {kind: A}\n--- # nothing\n---\t\nkind: B\n--- {kind: C,\n  x: 1}\n")
                .unwrap();
        let seen: Vec<_> =
            found.iter().map(|(at, value)| (at.line, value["kind"].as_str().unwrap())).collect();
        assert_eq!(seen, [(1, "A"), (4, "B"), (5, "C")]);
    }

    #[test]
    fn file_modes_are_octal_as_for_kubectl() {
        let found =
            documents("x.yaml", "kind: A\nmode: 0644\nnew: 0o644\nplain: 644\ntext: '0644'\n").unwrap();
        let value = &found[0].1;
        assert_eq!(
            *value,
            serde_json::json!({"kind": "A", "mode": 420, "new": 420, "plain": 644, "text": "0644"})
        );
    }
}
