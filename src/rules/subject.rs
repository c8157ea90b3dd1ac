//! What an event is about, as far as order goes: the value that `order_by` points at.

use serde_json::Value;

use crate::words::identity::PartsHasher;

/// A hash of the value at `pointer` (RFC 6901), equal for equal values; `None` where there is none, so that
/// the event has no order. Objects, arrays and null are no subjects.
pub fn of(body: &[u8], pointer: &str) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = match body.pointer(pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let key = PartsHasher::new("subject").part(text.as_bytes()).key();
    Some(key.leading())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"data":{"card_id":"c1","n":7,"list":["x"],"none":null,"a/b":"s"}}"#;

    #[test]
    fn equal_values_are_one_subject_and_others_are_not() {
        let of_body = |pointer| of(BODY, pointer);
        assert!(of_body("/data/card_id").is_some());
        assert_eq!(
            of_body("/data/card_id"),
            of(br#"{"data":{"card_id":"\u0063\u0031"}}"#, "/data/card_id")
        );
        assert_ne!(of_body("/data/card_id"), of_body("/data/n"));
        assert!(of_body("/data/list/0").is_some());
        assert!(of_body("/data/a~1b").is_some());
    }

    #[test]
    fn what_is_no_single_value_is_no_subject() {
        for pointer in [
            "/data",
            "/data/list",
            "/data/none",
            "/nothing",
            "/data/list/9",
        ] {
            assert_eq!(of(BODY, pointer), None, "{pointer}");
        }
        assert_eq!(of(b"no json", "/data"), None);
    }
}
