//! Secrets go to the server as `data`: of `stringData` it keeps no trace that a plan could compare with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{GraphError, Location, late, shape};

/// Moves every string of `stringData` into `data`, where it wins over the same key, as on the server.
pub(super) fn move_string_data(body: &mut Value, location: &Location) -> Result<(), GraphError> {
    let Some(fields) = body.as_object_mut() else { return Ok(()) };
    let text = match fields.remove("stringData") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(text)) => text,
        Some(_) => return Err(not_texts("stringData", location)),
    };
    let Some(data) = shape::object_at(body, &["data"]) else { return Err(not_texts("data", location)) };
    for (key, value) in text {
        let Some(value) = value.as_str() else {
            return Err(not_texts(&format!("stringData.{key}"), location));
        };
        data.insert(key, json!(STANDARD.encode(value)));
    }
    Ok(())
}

fn not_texts(field: &str, location: &Location) -> GraphError {
    GraphError {
        location: location.clone(),
        message: format!("this Secret can't be right: its {field} has another type than the API knows"),
        hint: Some(
            "data and stringData are objects whose values are strings; put numbers in quotes".to_owned(),
        ),
    }
}

/// The first key whose encoded content holds a late value, which nothing could fill in.
pub(super) fn late_key(body: &Value) -> Option<&str> {
    let data = body.get("data")?.as_object()?;
    data.iter().find(|(_, value)| has_late(value)).map(|(key, _)| key.as_str())
}

fn has_late(value: &Value) -> bool {
    let Some(bytes) = value.as_str().and_then(|text| STANDARD.decode(text).ok()) else { return false };
    !late::unresolved(&Value::String(String::from_utf8_lossy(&bytes).into_owned())).is_empty()
}
