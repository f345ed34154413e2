//! The fields of a new object as an indented tree, in which a chain of single fields takes one line:
//! `template.spec.containers[name=srs]:`.

use serde_json::Value;

use super::{View, style, text};

/// Lines of a long text that are shown without `--full`.
const TEXT_LINES: usize = 8;

/// A tree of fields. Its branches keep the order in which their first fields came.
#[derive(Default)]
pub(super) struct Tree {
    branches: Vec<(String, Tree)>,
    leaf: Option<Leaf>,
}

/// A field's value, and what is said beside it.
pub(super) struct Leaf {
    value: Value,
    remark: Option<String>,
}

impl Tree {
    /// Puts a value at a path; objects become branches.
    pub(super) fn insert(&mut self, path: &str, value: &Value, remark: Option<&str>) {
        let mut node = self;
        for segment in segments(path) {
            node = node.branch(segment);
        }
        node.fill(value, remark);
    }

    fn fill(&mut self, value: &Value, remark: Option<&str>) {
        match value {
            Value::Object(fields) if text::is_nested(value) => {
                for (key, value) in fields {
                    self.branch(&text::clean(key)).fill(value, remark);
                }
            }
            Value::Array(items) if text::is_nested(value) => {
                for (number, item) in items.iter().enumerate() {
                    self.branch(&format!("[{number}]")).fill(item, remark);
                }
            }
            scalar => {
                self.leaf = Some(Leaf { value: scalar.clone(), remark: remark.map(str::to_owned) });
            }
        }
    }

    fn branch(&mut self, segment: &str) -> &mut Self {
        let place = self.branches.iter().position(|(name, _)| name == segment).unwrap_or_else(|| {
            self.branches.push((segment.to_owned(), Self::default()));
            self.branches.len() - 1
        });
        &mut self.branches[place].1
    }

    /// Writes the tree's lines, each ended, the outermost indented by `indent`.
    pub(super) fn write(&self, out: &mut String, indent: usize, view: &View) {
        self.write_under("", out, indent, view);
    }

    fn write_under(&self, above: &str, out: &mut String, indent: usize, view: &View) {
        for (segment, branch) in &self.branches {
            // `name: conf` under `volumes[name=conf]`, unless nothing else would be left.
            if self.branches.len() > 1 && branch.repeats(above, segment) {
                continue;
            }
            let (mut label, mut last, mut node) = (segment.clone(), segment, branch);
            while let Some((segment, only)) = node.only_branch(last) {
                label = joined(&label, segment);
                (last, node) = (segment, only);
            }
            if let Some(leaf) = &node.leaf {
                leaf.write(out, &label, indent, view);
            } else {
                out.push_str(&format!("{:indent$}{label}:\n", ""));
            }
            node.write_under(last, out, indent + 2, view);
        }
    }

    /// The single branch that can share this node's line.
    fn only_branch(&self, above: &str) -> Option<(&String, &Self)> {
        let mut telling = self.branches.iter().filter(|(segment, branch)| !branch.repeats(above, segment));
        match (telling.next(), telling.next(), &self.leaf) {
            (Some((segment, only)), None, None) => Some((segment, only)),
            _ => None,
        }
    }

    /// Whether this field only says again what the list key in `above` says: `name: conf` in `[name=conf]`.
    fn repeats(&self, above: &str, segment: &str) -> bool {
        let Some(keys) = above.strip_prefix('[').and_then(|keys| keys.strip_suffix(']')) else {
            return false;
        };
        let Some(leaf) = &self.leaf else { return false };
        let value = leaf.value.as_str().map_or_else(|| leaf.value.to_string(), str::to_owned);
        keys.split(',').any(|key| key.split_once('=') == Some((segment, &value)))
    }
}

impl Leaf {
    fn write(&self, out: &mut String, label: &str, indent: usize, view: &View) {
        let remark = self.remark.as_ref().map(|remark| format!("  {}", style::paint(style::QUIET, remark)));
        let remark = remark.unwrap_or_default();
        if let Some(text) = text::several_lines(&self.value) {
            out.push_str(&format!("{:indent$}{label}:{remark}\n", ""));
            out.push_str(&block(text, indent + 2, view, "  "));
        } else {
            out.push_str(&format!("{:indent$}{label}: {}{remark}\n", "", text::value(&self.value)));
        }
    }
}

/// The lines of a text, behind a rule; a long one is cut unless everything is wanted.
pub(super) fn block(text: &str, indent: usize, view: &View, mark: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // To hide a line or two would cost a line and tell nothing.
    let shown = if view.full || lines.len() <= TEXT_LINES + 2 { lines.len() } else { TEXT_LINES };
    let rule = style::paint(style::QUIET, "│");
    let mut block = String::new();
    for line in &lines[..shown] {
        block.push_str(format!("{:indent$}{mark}{rule} {}", "", text::clean(line)).trim_end());
        block.push('\n');
    }
    if shown < lines.len() {
        let more = format!("… {} more lines (--full shows them)", lines.len() - shown);
        block.push_str(&format!("{:indent$}{mark}{rule} {}\n", "", style::paint(style::QUIET, more)));
    }
    block
}

/// Splits a path at its dots and before its brackets; dots inside brackets don't count.
fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, character) in path.char_indices() {
        match character {
            '.' if depth == 0 => {
                segments.push(&path[start..at]);
                start = at + 1;
            }
            '[' => {
                if depth == 0 {
                    segments.push(&path[start..at]);
                    start = at;
                }
                depth += 1;
            }
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    segments.push(&path[start..]);
    segments.retain(|segment| !segment.is_empty());
    segments
}

fn joined(path: &str, segment: &str) -> String {
    if segment.starts_with('[') { format!("{path}{segment}") } else { format!("{path}.{segment}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_outside_of_brackets() {
        for (path, expected) in [
            ("spec.replicas", vec!["spec", "replicas"]),
            ("a.b[name=x.y].c", vec!["a", "b", "[name=x.y]", "c"]),
            ("metadata.annotations[\"k8s.io/a\"]", vec!["metadata", "annotations", "[\"k8s.io/a\"]"]),
            ("a[0][1]", vec!["a", "[0]", "[1]"]),
            ("", vec![]),
            ("a]b[", vec!["a]b", "["]),
        ] {
            assert_eq!(segments(path), expected, "{path}");
        }
    }
}
