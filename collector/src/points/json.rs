//! Reading JSON objects whose values may be missing or null.

use serde_json::{Map, Value};

use super::{Unread, bounded};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A payload as an object. The parser stops at 128 levels.
pub(super) fn object(payload: &[u8]) -> Result<Object, Unread> {
    serde_json::from_slice(bounded(payload)?)
        .map_err(|error| Unread::Why(format!("not a JSON object: {error}")))
}

/// The object below a key; nothing when it is missing or null.
pub(super) fn below<'a>(object: &'a Object, key: &str) -> Result<Option<&'a Object>, Unread> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(other) => Err(wrong(key, other, "an object")),
    }
}

/// The number below a key; nothing when it is missing or null. Whole numbers become floats.
pub(super) fn number(object: &Object, key: &str) -> Result<Option<f64>, Unread> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(other) => Err(wrong(key, other, "a number")),
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> Unread {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Unread::Why(format!("`{key}` is {is}, not {expected}"))
}
