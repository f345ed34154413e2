//! Named environments: which cluster, which namespace, which settings. They stand in `stackctl.toml`:
//!
//! ```toml
//! [environments.live]
//! context = "ack-shanghai"          # of the kubeconfig
//! namespace = "live"
//! cluster = "0b7a…"                 # uid of the namespace kube-system: no other cluster is touched
//! protected = true                  # nothing that is guarded is deleted, and there is no `down`
//!
//! [environments.live.settings.quick-start]
//! image = "registry.example.com/srs:4"
//! ```

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::nearest::suggestion;
use super::settings::{Given, GivenValue, Source};
use crate::observation::ClusterIdentity;

/// The file's name; it is looked for in the current directory and those above it.
pub(crate) const FILE_NAME: &str = "stackctl.toml";

/// One environment of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Environment {
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) place: String,
    /// Context of the kubeconfig.
    pub(crate) context: Option<String>,
    pub(crate) namespace: Option<String>,
    /// The cluster it is pinned to, and where that is said.
    pub(crate) cluster: Option<(String, String)>,
    pub(crate) protected: bool,
    /// Settings by stack.
    pub(crate) settings: Vec<(String, Vec<Given>)>,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{place}: {message}")]
    Syntax { place: String, message: String },
    #[error("{place}: there is no {what} {name} here")]
    Unknown { place: String, what: &'static str, name: String, hint: Option<String> },
    #[error("{place}: {name} must be {expected}")]
    WrongType { place: String, name: String, expected: &'static str },
    #[error("there is no environment {name} in {path}", path = path.display())]
    NoSuchEnvironment { name: String, path: PathBuf, hint: Option<String> },
    #[error("there is no environment {name}: no {FILE_NAME} in {} or above", start.display())]
    NoFile { name: String, start: PathBuf },
}

impl From<EnvironmentError> for Error {
    fn from(error: EnvironmentError) -> Self {
        let hint = match &error {
            EnvironmentError::Unknown { hint, .. } | EnvironmentError::NoSuchEnvironment { hint, .. } => {
                hint.clone()
            }
            EnvironmentError::NoFile { .. } => Some("--config FILE names another one".to_owned()),
            _ => None,
        };
        let converted = Self::failed(&error);
        match hint {
            Some(hint) => converted.hint(hint),
            None => converted,
        }
    }
}

/// Finds and reads an environment. `file`: named by the user; else it is looked for from `start` upwards.
pub(crate) fn load(
    name: &str,
    file: Option<&Path>,
    start: &Path,
    stacks: &[&str],
) -> Result<Environment, EnvironmentError> {
    let found = match file {
        Some(file) => Some(file.to_owned()),
        None => start.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file()),
    };
    let path =
        found.ok_or_else(|| EnvironmentError::NoFile { name: name.to_owned(), start: start.to_owned() })?;
    let text = fs::read_to_string(&path)
        .map_err(|source| EnvironmentError::Unreadable { path: path.clone(), source })?;
    // The shorter path reads better, and works as well.
    let shown = path.strip_prefix(start).map(Path::to_owned).unwrap_or(path);
    let mut all = parse(&shown, &text, stacks)?;
    if let Some(place) = all.iter().position(|environment| environment.name == name) {
        return Ok(all.swap_remove(place));
    }
    let names: Vec<&str> = all.iter().map(|environment| environment.name.as_str()).collect();
    let hint = suggestion(name, &names);
    Err(EnvironmentError::NoSuchEnvironment { name: name.to_owned(), path: shown, hint })
}

/// Reads the file's text. `stacks` are the only ones that settings may be for.
pub(crate) fn parse(path: &Path, text: &str, stacks: &[&str]) -> Result<Vec<Environment>, EnvironmentError> {
    let file = File { path, text };
    let document = DeTable::parse(text).map_err(|error| EnvironmentError::Syntax {
        place: file.place(&error.span().unwrap_or_default()),
        message: error.message().to_owned(),
    })?;
    let mut environments = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "environments" {
            return Err(file.unknown("key", key.get_ref(), &key.span(), &["environments"]));
        }
        for (name, value) in file.table(key.get_ref(), value.get_ref(), &value.span())? {
            let table = file.table(name.get_ref(), value.get_ref(), &value.span())?;
            environments.push(file.environment(name.get_ref(), &name.span(), table, stacks)?);
        }
    }
    Ok(environments)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn environment(
        &self,
        name: &str,
        span: &Range<usize>,
        table: &DeTable<'_>,
        stacks: &[&str],
    ) -> Result<Environment, EnvironmentError> {
        let mut environment =
            Environment { name: name.to_owned(), place: self.place(span), ..Environment::default() };
        for (key, value) in table {
            let (key, span, value) = (key.get_ref().as_ref(), key.span(), value.get_ref());
            match key {
                "context" => environment.context = Some(self.string(key, value, &span)?),
                "namespace" => environment.namespace = Some(self.string(key, value, &span)?),
                "cluster" => environment.cluster = Some((self.string(key, value, &span)?, self.place(&span))),
                "protected" => {
                    environment.protected =
                        value.as_bool().ok_or_else(|| self.wrong_type(key, "true or false", &span))?;
                }
                "settings" => {
                    for (stack, value) in self.table(key, value, &span)? {
                        if !stacks.contains(&stack.get_ref().as_ref()) {
                            return Err(self.unknown("stack", stack.get_ref(), &stack.span(), stacks));
                        }
                        let table = self.table(stack.get_ref(), value.get_ref(), &value.span())?;
                        let mut given = Vec::new();
                        self.settings("", table, &mut given)?;
                        environment.settings.push((stack.get_ref().to_string(), given));
                    }
                }
                other => {
                    let known = ["context", "namespace", "cluster", "protected", "settings"];
                    return Err(self.unknown("key", other, &span, &known));
                }
            }
        }
        Ok(environment)
    }

    fn settings(
        &self,
        above: &str,
        table: &DeTable<'_>,
        given: &mut Vec<Given>,
    ) -> Result<(), EnvironmentError> {
        for (key, value) in table {
            let path = if above.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{above}.{}", key.get_ref())
            };
            if let DeValue::Table(table) = value.get_ref() {
                self.settings(&path, table, given)?;
                continue;
            }
            let value = self.value(&path, value.get_ref(), &key.span())?;
            let source = Source::File { path: self.path.to_owned(), line: self.line(&key.span()) };
            given.push(Given { key: path, value: GivenValue::Typed(value), source });
        }
        Ok(())
    }

    /// A TOML value in JSON's types; dates become strings.
    fn value(&self, key: &str, value: &DeValue<'_>, span: &Range<usize>) -> Result<Value, EnvironmentError> {
        Ok(match value {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Datetime(time) => time.to_string().into(),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| self.wrong_type(key, "an integer of at most 64 bits", span))?
                .into(),
            DeValue::Float(number) => {
                let number = number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                Value::Number(number.ok_or_else(|| self.wrong_type(key, "a finite number", span))?)
            }
            DeValue::Array(items) => items
                .iter()
                .map(|item| self.value(key, item.get_ref(), &item.span()))
                .collect::<Result<Vec<_>, _>>()?
                .into(),
            DeValue::Table(fields) => fields
                .iter()
                .map(|(key, item)| {
                    Ok((key.get_ref().to_string(), self.value(key.get_ref(), item.get_ref(), &item.span())?))
                })
                .collect::<Result<serde_json::Map<_, _>, _>>()?
                .into(),
        })
    }

    fn table<'t, 'i>(
        &self,
        name: &str,
        value: &'t DeValue<'i>,
        span: &Range<usize>,
    ) -> Result<&'t DeTable<'i>, EnvironmentError> {
        value.as_table().ok_or_else(|| self.wrong_type(name, "a table", span))
    }

    fn string(
        &self,
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
    ) -> Result<String, EnvironmentError> {
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(self.wrong_type(key, "a string that is not empty", span)),
        }
    }

    fn wrong_type(&self, name: &str, expected: &'static str, span: &Range<usize>) -> EnvironmentError {
        EnvironmentError::WrongType { place: self.place(span), name: name.to_owned(), expected }
    }

    fn unknown(
        &self,
        what: &'static str,
        name: &str,
        span: &Range<usize>,
        known: &[&str],
    ) -> EnvironmentError {
        let hint = suggestion(name, known);
        EnvironmentError::Unknown { place: self.place(span), what, name: name.to_owned(), hint }
    }

    fn place(&self, span: &Range<usize>) -> String {
        format!("{}:{}", self.path.display(), self.line(span))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }
}

impl Environment {
    /// What the file says about a stack's settings.
    pub(crate) fn settings_of(&self, stack: &str) -> &[Given] {
        self.settings.iter().find(|(name, _)| name == stack).map_or(&[], |(_, given)| given)
    }

    /// Refuses another cluster than the pinned one.
    pub(crate) fn check(&self, reached: &ClusterIdentity) -> Result<(), Error> {
        match &self.cluster {
            Some((pinned, place)) if *pinned != reached.uid => Err(Error::refused(format_args!(
                "environment {} is pinned to another cluster",
                self.name
            ))
            .cause(format_args!("pinned:  {pinned} ({place})"))
            .cause(format_args!("reached: {} (context {}, {})", reached.uid, reached.context, reached.server))
            .hint("choose the context of the pinned cluster, or mend the line `cluster` if it has moved")),
            _ => Ok(()),
        }
    }

    /// How to pin an environment that isn't yet.
    pub(crate) fn how_to_pin(&self, reached: &ClusterIdentity) -> Option<String> {
        self.cluster.is_none().then(|| {
            format!(
                "to let environment {} touch no other cluster than this one, write into it ({}): cluster = \"{}\"",
                self.name, self.place, reached.uid
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"
[environments.live]
context = "ack-shanghai"
namespace = "live"
cluster = "0b7a"
protected = true

[environments.live.settings.quick-start]
image = "srs:4"
origin.replicas = 0x3
ports = [1935, 8_080]
ratio = 0.5

[environments.test]
"#;

    fn parsed(text: &str) -> Result<Vec<Environment>, EnvironmentError> {
        parse(Path::new("stackctl.toml"), text, &["quick-start", "edge"])
    }

    #[test]
    fn everything_is_read_with_its_place() {
        let all = parsed(TEXT).unwrap();
        let live = all.iter().find(|environment| environment.name == "live").unwrap();
        assert_eq!(
            (live.context.as_deref(), live.namespace.as_deref()),
            (Some("ack-shanghai"), Some("live"))
        );
        assert_eq!(live.cluster, Some(("0b7a".to_owned(), "stackctl.toml:5".to_owned())));
        assert!(live.protected);
        let mut given: Vec<_> = live
            .settings_of("quick-start")
            .iter()
            .map(|given| (given.key.as_str(), given.value.clone(), given.source.to_string()))
            .collect();
        given.sort_by_key(|(_, _, source)| source.clone());
        let typed = GivenValue::Typed;
        assert_eq!(
            given,
            [
                ("origin.replicas", typed(json!(3)), "stackctl.toml:10".to_owned()),
                ("ports", typed(json!([1935, 8080])), "stackctl.toml:11".to_owned()),
                ("ratio", typed(json!(0.5)), "stackctl.toml:12".to_owned()),
                ("image", typed(json!("srs:4")), "stackctl.toml:9".to_owned()),
            ]
        );
        assert!(live.settings_of("edge").is_empty());
        assert!(all.iter().any(|environment| environment.name == "test" && environment.cluster.is_none()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, message) in [
            ("[environment.live]", "stackctl.toml:1: there is no key environment here"),
            ("\n[environments.live]\ncontxt = 'a'", "stackctl.toml:3: there is no key contxt here"),
            ("[environments.live]\nprotected = 'yes'", "stackctl.toml:2: protected must be true or false"),
            (
                "[environments.live]\ncontext = 3",
                "stackctl.toml:2: context must be a string that is not empty",
            ),
            ("environments = 3", "stackctl.toml:1: environments must be a table"),
            ("[environments.a.settings.quickstart]\n", "stackctl.toml:1: there is no stack quickstart here"),
            ("[environments.a.settings.edge]\nx = nan", "stackctl.toml:2: x must be a finite number"),
        ] {
            assert_eq!(parsed(text).unwrap_err().to_string(), message);
        }
        let syntax = parsed("[environments.live]\ncontext = \n").unwrap_err();
        assert!(
            matches!(&syntax, EnvironmentError::Syntax { place, .. } if place == "stackctl.toml:2"),
            "{syntax}"
        );
    }

    #[test]
    fn the_file_is_found_above() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let none = load("live", None, &below, &["quick-start"]);
        assert!(matches!(none, Err(EnvironmentError::NoFile { .. })), "{none:?}");
        fs::write(folder.path().join(FILE_NAME), TEXT).unwrap();
        assert_eq!(load("live", None, &below, &["quick-start"]).unwrap().name, "live");
        let Err(EnvironmentError::NoSuchEnvironment { hint, .. }) =
            load("lvie", None, &below, &["quick-start"])
        else {
            panic!("there is no such environment");
        };
        assert_eq!(hint.as_deref(), Some("did you mean live?"));
    }

    #[test]
    fn a_pinned_environment_refuses_another_cluster() {
        let environment = parsed(TEXT).unwrap().swap_remove(0);
        let mut reached = ClusterIdentity {
            context: "kind-x".to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            uid: "0b7a".to_owned(),
            version: "v1.34.4".to_owned(),
        };
        assert!(environment.check(&reached).is_ok());
        reached.uid = "77ff".to_owned();
        let error = environment.check(&reached).unwrap_err();
        assert_eq!(error.exit, super::super::exit::Exit::Refused);
        insta::assert_snapshot!(anstream::adapter::strip_str(&error.render(80)), @"
        error: environment live is pinned to another cluster
          pinned:  0b7a (stackctl.toml:5)
          reached: 77ff (context kind-x, https://127.0.0.1:6443)

        hint: choose the context of the pinned cluster, or mend the line `cluster` if it
          has moved
        ");
    }
}
