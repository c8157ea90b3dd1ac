//! The parameters of a callback: read once, bounded, and of the shapes that the platform documents.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hyper::header::CONTENT_TYPE;

use crate::rules::provider::wallit::TOKEN;
use crate::words::identity::PartsHasher;
use crate::words::message::Message;
use crate::words::verdict::Unverified;

/// Callbacks have two or three parameters.
const PARAMETERS_MAX: usize = 32;

/// Ids are GUIDs, or a GUID, a pipe and digits, or end in stray braces; longer ones do not occur.
pub const VALUE_BYTES_MAX: usize = 128;

/// The parameters by name, decoded once; each name is there once, whatever its case.
pub struct Parameters(pub(super) BTreeMap<String, String>);

// === impl Parameters ===

impl Parameters {
    /// The parameters of the query and, for a POST, of a form body.
    pub fn read(message: &Message) -> Result<Self, Unverified> {
        let is_form = message
            .head
            .text(&CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| {
                kind.trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        let form: &[u8] = if is_form { &message.body } else { b"" };
        Self::of([message.head.query().as_bytes(), form])
    }

    fn of(texts: [&[u8]; 2]) -> Result<Self, Unverified> {
        let mut parameters = BTreeMap::new();
        let mut names = Vec::new();
        for (name, value) in texts.into_iter().flat_map(form_urlencoded::parse) {
            let folded = name.to_ascii_lowercase();
            // Apps differ in whether names have a case, so one that differs only by it is a repetition.
            if names.contains(&folded) || names.len() == PARAMETERS_MAX {
                return Err(Unverified::Ambiguous);
            }
            names.push(folded);
            parameters.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter that must be there and hold only bytes that are `allowed`.
    pub fn shaped(&self, name: &str, allowed: fn(u8) -> bool) -> Result<&str, Unverified> {
        match self.0.get(name) {
            Some(value) if !value.is_empty() && is_shaped(value, allowed) => Ok(value),
            Some(_) | None => Err(Unverified::BadShape),
        }
    }

    /// The values of all parameters that are ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(name, _)| is_id_name(name))
            .map(|(_, value)| value.as_str())
    }

    /// Over all parameters, sorted by name; tokens and ids are the same in either case.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = PartsHasher::new("wallit parameters");
        for (name, value) in &self.0 {
            let value = match name == TOKEN || is_id_name(name) {
                true => Cow::Owned(value.to_ascii_lowercase()),
                false => Cow::Borrowed(value),
            };
            hasher.part(name.as_bytes()).part(value.as_bytes());
        }
        hasher.digest()
    }
}

/// Whether a parameter of this name is an id.
pub fn is_id_name(name: &str) -> bool {
    name.ends_with("ID")
}

/// Whether a value is short enough and holds only bytes that are `allowed`.
pub fn is_shaped(value: &str, allowed: fn(u8) -> bool) -> bool {
    value.len() <= VALUE_BYTES_MAX && value.bytes().all(allowed)
}

/// What tokens and ids are made of.
pub fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"|{}-".contains(&byte)
}

/// What names of types are made of.
pub fn is_type_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}
