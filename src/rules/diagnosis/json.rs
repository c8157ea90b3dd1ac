//! A JSON value whose order, numbers and doubled keys are kept, to be written again in other styles.
//!
//! Only for diagnosis: what is forwarded is never re-serialised.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One value.
#[derive(Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// An object's members in the order of the text.
    Object(Vec<(String, Node<'a>)>),
    /// An array's items.
    Array(Vec<Node<'a>>),
    /// A string, decoded.
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Other(&'a str),
}

/// Reads one value; `None` where the bytes are not exactly one, or one that is nested too deeply.
pub fn read(json: &[u8]) -> Option<Node<'_>> {
    let raw: &RawValue = serde_json::from_slice(json).ok()?;
    node(raw, 0)
}

fn node(raw: &RawValue, depth: usize) -> Option<Node<'_>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let Entries(entries) = serde_json::from_str(text).ok()?;
            let members = entries
                .into_iter()
                .map(|(name, value)| Some((name, node(value, depth + 1)?)));
            members.collect::<Option<_>>().map(Node::Object)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items = items.into_iter().map(|item| node(item, depth + 1));
            items.collect::<Option<_>>().map(Node::Array)
        }
        b'"' => serde_json::from_str(text).ok().map(Node::Text),
        _ => Some(Node::Other(text)),
    }
}

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Real bodies are a few levels deep; each level is read once more for those around it.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_doubled_keys_and_the_spelling_of_numbers() {
        assert_eq!(
            read(br#" {"b":1.50,"a":["\u0061",null],"b":-0} "#),
            Some(Node::Object(vec![
                ("b".to_owned(), Node::Other("1.50")),
                (
                    "a".to_owned(),
                    Node::Array(vec![Node::Text("a".to_owned()), Node::Other("null")])
                ),
                ("b".to_owned(), Node::Other("-0")),
            ]))
        );
    }

    #[test]
    fn gives_up_on_what_is_no_json_or_too_deep() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for json in [&b"{"[..], b"{}{}", b"", b"\xff", deep.as_bytes()] {
            assert_eq!(read(json), None);
        }
    }
}
