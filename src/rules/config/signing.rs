//! `sign_with`: the key of the Standard Webhooks signature that the app checks.
//!
//! Here alone a secret's form has a meaning: after `whsec_` stands the key in base64, as that standard
//! writes it. Anything else is the key itself.

use data_encoding::{BASE64, BASE64_NOPAD};
use zeroize::Zeroizing;

use crate::rules::reader::Section;
use crate::words::secret::Secret;

/// Reads `sign_with`.
pub fn sign_with(section: &mut Section<'_>) -> Option<Secret> {
    let secret = section.secret("sign_with")?;
    let Some(encoded) = secret.expose().strip_prefix(b"whsec_") else {
        return Some(secret);
    };
    let Some(mut key) = decoded(encoded) else {
        section.mistake(
            "sign_with",
            "has something after `whsec_` that is no base64",
        );
        return None;
    };
    if key.len() < KEY_SHORTEST {
        section.mistake(
            "sign_with",
            format!(
                "is a key of fewer than {KEY_SHORTEST} bytes, which can be guessed; use 24 to 64"
            ),
        );
        return None;
    }
    if !KEY_USUAL.contains(&key.len()) {
        section.warn(
            "sign_with",
            "is a key of another length than the 24 to 64 bytes of Standard Webhooks; libraries may refuse it",
        );
    }
    // The bytes are moved, not copied: a copy would not be wiped.
    let key = std::mem::take(&mut *key);
    Some(Secret::new(key, secret.reference().clone()))
}

fn decoded(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = BASE64
        .decode(encoded)
        .or_else(|_| BASE64_NOPAD.decode(encoded));
    key.map(Zeroizing::new).ok()
}

const KEY_SHORTEST: usize = 16;
const KEY_USUAL: std::ops::RangeInclusive<usize> = 24..=64;
