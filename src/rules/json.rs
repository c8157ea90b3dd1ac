//! Reads the few members of a JSON object that decide something, and nothing else.
//!
//! The body is never re-serialised. What is not asked for is skipped without being interpreted: odd
//! numbers, lone surrogates and any depth of nesting pass, as long as the grammar holds. A member that
//! stands there twice is reported as doubled, since two readers would take different ones of the two.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The body is not one JSON object and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObject;

/// The members that were asked for, in the order of the body, doubled ones included.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, [u8]>, &'a RawValue)>);

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// It is not there.
    Absent,
    /// It is there once.
    One(&'a RawValue),
    /// It is there more than once.
    Doubled,
}

// === impl Members ===

impl<'a> Members<'a> {
    /// Reads the members of the one object in `json` whose decoded name `wants` accepts.
    ///
    /// # Errors
    /// [`NoObject`] if `json` is anything but one object.
    pub fn read(json: &'a [u8], wants: impl Fn(&[u8]) -> bool) -> Result<Self, NoObject> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let members = reader
            .deserialize_map(ObjectVisitor { wants })
            .map_err(|_| NoObject)?;
        reader.end().map_err(|_| NoObject)?;
        Ok(Self(members))
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Member<'a> {
        let mut found = self
            .0
            .iter()
            .filter(|(other, _)| other.as_ref() == name.as_bytes());
        match (found.next(), found.next()) {
            (None, _) => Member::Absent,
            (Some((_, value)), None) => Member::One(value),
            (Some(_), Some(_)) => Member::Doubled,
        }
    }

    /// Every member, sorted by name; doubled ones stay in the order of the body.
    pub fn sorted(mut self) -> impl Iterator<Item = (Cow<'a, [u8]>, &'a RawValue)> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.into_iter()
    }
}

// === impl Member ===

impl<'a> Member<'a> {
    /// The value, if it is there once and is a string that can be decoded.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::One(value) => text(value),
            Self::Absent | Self::Doubled => None,
        }
    }
}

/// The decoded string, if the value is one.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    struct TextVisitor;

    impl<'de> Visitor<'de> for TextVisitor {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }

    serde_json::Deserializer::from_str(value.get())
        .deserialize_str(TextVisitor)
        .ok()
}

struct ObjectVisitor<F> {
    wants: F,
}

impl<'de, F: Fn(&[u8]) -> bool> Visitor<'de> for ObjectVisitor<F> {
    type Value = Vec<(Cow<'de, [u8]>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if (self.wants)(&name) {
                members.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

/// A member's name as bytes: names that are no Unicode (a lone surrogate) must not end the reading.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_vec())))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(json: &[u8]) -> Result<Option<String>, NoObject> {
        Members::read(json, |name| name == b"event")
            .map(|members| members.member("event").text().map(Cow::into_owned))
    }

    #[test]
    fn reads_the_wanted_member_and_skips_the_oddest_rest() {
        for json in [
            &br#"{"event":"a"}"#[..],
            br#" { "x" : 1e400 , "event" : "a" } "#,
            br#"{"x":-0,"y":123456789012345678901234567890,"z":"\ud800","event":"a"}"#,
            br#"{"\ud800":1,"event":"a"}"#,
            br#"{"\u0065vent":"\u0061"}"#,
            b"{\"x\":\"\xff\xfe\",\"event\":\"a\"}",
            br#"{"x":{"event":"b"},"event":"a"}"#,
        ] {
            assert_eq!(
                event(json),
                Ok(Some("a".to_owned())),
                "{}",
                String::from_utf8_lossy(json)
            );
        }
        let deep = format!(
            r#"{{"x":{}{},"event":"a"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(event(deep.as_bytes()), Ok(Some("a".to_owned())));
    }

    #[test]
    fn a_doubled_member_has_no_text_even_if_its_name_is_written_differently() {
        for json in [
            &br#"{"event":"a","event":"b"}"#[..],
            br#"{"event":"a","\u0065vent":"b"}"#,
        ] {
            assert_eq!(event(json), Ok(None));
        }
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        for json in [
            &b""[..],
            b"null",
            b"[]",
            b"\"x\"",
            b"  ",
            b"{}{}",
            b"{} x",
            b"\xef\xbb\xbf{}",
            b"{\"event\":}",
            b"{'event':1}",
            b"{\"event\":\"a\",}",
            b"\x00",
        ] {
            assert_eq!(event(json), Err(NoObject), "{json:?}");
        }
    }

    #[test]
    fn only_a_decodable_string_is_text() {
        for json in [
            &br#"{"event":1}"#[..],
            br#"{"event":null}"#,
            br#"{"event":{"a":1}}"#,
            br#"{"event":"\ud800"}"#,
        ] {
            assert_eq!(event(json), Ok(None));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = event(&json);
        }

        #[test]
        fn any_string_value_is_read_as_serde_json_wrote_it(text in ".{0,40}", other in ".{0,10}") {
            let json = serde_json::json!({ "event": text, other: 1 }).to_string();
            let expected = serde_json::from_str::<serde_json::Value>(&json).unwrap()["event"].as_str().map(str::to_owned);
            prop_assert_eq!(event(json.as_bytes()).unwrap(), expected);
        }
    }
}
