//! A stack's settings: its defaults, with what the user says on top. Pure.
//!
//! The defaults are a JSON object; its keys are the only ones there are and its values give the types. Keys of objects
//! inside are joined by dots: `origin.replicas`. An empty object takes any keys; a `null` takes any value.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::Error;
use super::exit::Exit;
use super::nearest::suggestion;

/// What variables that set a setting begin with.
pub(crate) const VARIABLE_PREFIX: &str = "STACKCTL_SET_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--set`.
    Flag,
    /// An environment variable.
    Variable(String),
    /// The environment file.
    File {
        /// As it was found.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--set"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One setting as the user gave it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    /// Such as `origin.replicas`.
    pub(crate) key: String,
    pub(crate) value: GivenValue,
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GivenValue {
    /// Text that is read by the type of the default.
    Text(String),
    /// A value that has a type already.
    Typed(Value),
}

/// What is wrong with one given setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingError {
    #[error("{origin}: there is no setting {key}")]
    Unknown { key: String, origin: Source, hint: Option<String> },
    #[error("{origin}: {key} is a group of settings")]
    Group { key: String, origin: Source, members: Vec<String> },
    #[error("{origin}: {key} must be {expected}, not {given}")]
    WrongType { key: String, origin: Source, expected: String, given: String },
}

impl SettingError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => hint.clone(),
            Self::Group { members, .. } => Some(format!("set one of them: {}", members.join(", "))),
            Self::WrongType { .. } => None,
        }
    }
}

/// Splits `KEY=VALUE` of `--set`.
pub(crate) fn from_flag(argument: &str) -> Result<Given, Error> {
    match argument.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Given {
            key: key.trim().to_owned(),
            value: GivenValue::Text(value.to_owned()),
            source: Source::Flag,
        }),
        _ => Err(Error::usage(format_args!("--set {argument}: must be KEY=VALUE"))),
    }
}

/// Settings that environment variables give. A variable that fits no setting is an error when the settings are merged.
pub(crate) fn from_variables(
    defaults: &Value,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Vec<Given> {
    let keys = keys(defaults);
    let mut given: Vec<Given> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let suffix = name.strip_prefix(VARIABLE_PREFIX)?;
            let key = keys.iter().find(|key| variable_part(key) == suffix).cloned();
            Some(Given {
                key: key.unwrap_or_else(|| suffix.to_lowercase()),
                value: GivenValue::Text(value),
                source: Source::Variable(name),
            })
        })
        .collect();
    // The operating system's order is no order.
    given.sort_by(|one, other| one.key.cmp(&other.key));
    given
}

fn variable_part(key: &str) -> String {
    key.to_uppercase().replace(['-', '.'], "_")
}

/// Every setting's key, in the order of the defaults.
pub(crate) fn keys(defaults: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(defaults, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, &path, found);
            }
        }
        _ if path.is_empty() => {}
        _ => found.push(path.to_owned()),
    }
}

/// Puts what was given onto the defaults, later ones over earlier ones. All that is wrong is told at once.
pub(crate) fn merge(stack: &str, defaults: &Value, given: &[Given]) -> Result<Value, Error> {
    let mut settings = if defaults.is_object() { defaults.clone() } else { Value::Object(Map::new()) };
    let errors: Vec<SettingError> =
        given.iter().filter_map(|given| put(&mut settings, defaults, given).err()).collect();
    if errors.is_empty() {
        return Ok(settings);
    }
    let head = match errors.as_slice() {
        [_] => format!("a setting of stack {stack} is wrong"),
        several => format!("{} settings of stack {stack} are wrong", several.len()),
    };
    // What stands in a file is no wrong usage of the program.
    let on_the_command_line = given.iter().any(|given| given.source == Source::Flag);
    let exit = if on_the_command_line { Exit::Usage } else { Exit::Error };
    Err(errors.iter().fold(Error::new(exit, head), |error, one| error.cause_with_hint(one, one.hint())))
}

fn put(settings: &mut Value, defaults: &Value, given: &Given) -> Result<(), SettingError> {
    let unknown = || {
        let keys = keys(defaults);
        let hint = match &given.source {
            Source::Variable(_) => {
                let names: Vec<String> =
                    keys.iter().map(|key| format!("{VARIABLE_PREFIX}{}", variable_part(key))).collect();
                let word = format!("{VARIABLE_PREFIX}{}", variable_part(&given.key));
                suggestion(&word, &names.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Source::Flag | Source::File { .. } => {
                suggestion(&given.key, &keys.iter().map(String::as_str).collect::<Vec<_>>())
            }
        };
        SettingError::Unknown { key: given.key.clone(), origin: given.source.clone(), hint }
    };
    let (mut default, mut place) = (Some(defaults), settings);
    for part in given.key.split('.') {
        let is_free = default.is_some_and(|default| default.as_object().is_some_and(Map::is_empty));
        let fields = place.as_object_mut().ok_or_else(unknown)?;
        default = default.and_then(|default| default.get(part));
        if default.is_none() && !is_free {
            return Err(unknown());
        }
        place = fields.entry(part).or_insert(Value::Null);
    }
    let default = default.unwrap_or(&Value::Null);
    if default.as_object().is_some_and(|fields| !fields.is_empty()) {
        let members = keys(default).iter().map(|member| format!("{}.{member}", given.key)).collect();
        return Err(SettingError::Group { key: given.key.clone(), origin: given.source.clone(), members });
    }
    *place = read(default, &given.value).ok_or_else(|| SettingError::WrongType {
        key: given.key.clone(),
        origin: given.source.clone(),
        expected: expected(default),
        given: match &given.value {
            GivenValue::Text(text) => format!("{text:?}"),
            GivenValue::Typed(value) => format!("{} {value}", a_type(value)),
        },
    })?;
    Ok(())
}

/// Reads a value by the type of its default; `None` if it isn't of that type.
fn read(default: &Value, given: &GivenValue) -> Option<Value> {
    match given {
        GivenValue::Typed(value) => has_type_of(default, value).then(|| value.clone()),
        GivenValue::Text(text) => match default {
            Value::Null | Value::String(_) => Some(text.clone().into()),
            Value::Bool(_) => text.parse::<bool>().ok().map(Value::from),
            Value::Number(_) => serde_json::from_str(text).ok().filter(|value| has_type_of(default, value)),
            Value::Array(items) if text.trim_start().starts_with('[') => {
                serde_json::from_str(text).ok().filter(|value| has_type_of(&items.clone().into(), value))
            }
            Value::Array(_) if text.is_empty() => Some(Value::Array(Vec::new())),
            Value::Array(items) => {
                let item = items.first().unwrap_or(&Value::Null);
                text.split(',').map(|part| read(item, &GivenValue::Text(part.trim().to_owned()))).collect()
            }
            Value::Object(_) => {
                serde_json::from_str(text).ok().filter(|value: &Value| has_type_of(default, value))
            }
        },
    }
}

fn has_type_of(default: &Value, value: &Value) -> bool {
    match (default, value) {
        (Value::Null, _)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::String(_), Value::String(_))
        | (Value::Object(_), Value::Object(_)) => true,
        (Value::Number(default), Value::Number(value)) => default.is_f64() || !value.is_f64(),
        (Value::Array(defaults), Value::Array(values)) => {
            defaults.first().is_none_or(|default| values.iter().all(|value| has_type_of(default, value)))
        }
        _ => false,
    }
}

fn expected(default: &Value) -> String {
    match default {
        Value::Array(items) => match items.first() {
            Some(item) => format!("a list of which each is {} (such as {default})", a_type(item)),
            None => "a list".to_owned(),
        },
        Value::Bool(_) => "true or false".to_owned(),
        other => format!("{} (such as {other})", a_type(other)),
    }
}

fn a_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "the boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaults() -> Value {
        json!({
            "image": "ossrs/srs:4", "origin": {"replicas": 1, "ratio": 0.5}, "hls": true,
            "ports": [1935, 8080], "hosts": [], "labels": {}, "class": null,
        })
    }

    fn flag(argument: &str) -> Given {
        from_flag(argument).unwrap()
    }

    #[test]
    fn text_is_read_by_the_type_of_the_default() {
        for (argument, pointer, expected) in [
            ("image=4", "/image", json!("4")),
            ("image=a=b", "/image", json!("a=b")),
            ("image=", "/image", json!("")),
            ("origin.replicas=3", "/origin/replicas", json!(3)),
            ("origin.ratio=2", "/origin/ratio", json!(2)),
            ("hls=false", "/hls", json!(false)),
            ("ports=1,2", "/ports", json!([1, 2])),
            ("ports=[3]", "/ports", json!([3])),
            ("ports=", "/ports", json!([])),
            ("hosts=a, b", "/hosts", json!(["a", "b"])),
            ("labels.team=live", "/labels/team", json!("live")),
            ("class=nas", "/class", json!("nas")),
        ] {
            let settings = merge("s", &defaults(), &[flag(argument)]).expect(argument);
            assert_eq!(settings.pointer(pointer), Some(&expected), "{argument}");
        }
    }

    #[test]
    fn later_ones_win_and_the_rest_stays() {
        let settings =
            merge("s", &defaults(), &[flag("hls=false"), flag("image=a"), flag("image=b")]).unwrap();
        assert_eq!((&settings["image"], &settings["origin"]["replicas"]), (&json!("b"), &json!(1)));
    }

    #[test]
    fn every_wrong_one_is_named_with_its_source() {
        let file = |key: &str, value: Value| Given {
            key: key.to_owned(),
            value: GivenValue::Typed(value),
            source: Source::File { path: "stackctl.toml".into(), line: 7 },
        };
        let variable = |name: &str| (format!("{VARIABLE_PREFIX}{name}"), "x".to_owned());
        let mut given = vec![
            flag("imagee=x"),
            flag("replicas=3"),
            flag("origin.replicas=three"),
            flag("origin.replicas=1.5"),
            flag("origin=3"),
            flag("image.tag=3"),
            flag("ports=1,x"),
            flag("hls=yes"),
            file("image", json!(4)),
            file("hosts", json!("a")),
        ];
        given.extend(from_variables(&defaults(), [variable("ORIGIN_REPLICA"), variable("IMAGE")]));
        let error = merge("quick-start", &defaults(), &given).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        insta::assert_snapshot!(anstream::adapter::strip_str(&error.render(100)), @r#"
        error: 11 settings of stack quick-start are wrong
          --set: there is no setting imagee
            hint: did you mean image?
          --set: there is no setting replicas
            hint: did you mean origin.replicas?
          --set: origin.replicas must be an integer (such as 1), not "three"
          --set: origin.replicas must be an integer (such as 1), not "1.5"
          --set: origin is a group of settings
            hint: set one of them: origin.ratio, origin.replicas
          --set: there is no setting image.tag
            hint: did you mean image?
          --set: ports must be a list of which each is an integer (such as [1935,8080]), not "1,x"
          --set: hls must be true or false, not "yes"
          stackctl.toml:7: image must be a string (such as "ossrs/srs:4"), not an integer 4
          stackctl.toml:7: hosts must be a list, not a string "a"
          variable STACKCTL_SET_ORIGIN_REPLICA: there is no setting origin_replica
            hint: did you mean STACKCTL_SET_ORIGIN_REPLICAS?
        "#);
    }

    #[test]
    fn variables_are_the_keys_in_capitals() {
        let variables = [("STACKCTL_SET_ORIGIN_REPLICAS", "2"), ("STACKCTL_SETTING", "x"), ("HOME", "/")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = from_variables(&defaults(), variables);
        assert_eq!(given.len(), 1);
        assert_eq!(merge("s", &defaults(), &given).unwrap()["origin"]["replicas"], json!(2));
    }
}
