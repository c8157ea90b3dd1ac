//! Explains a body that is not one JSON object, or in which a deciding member cannot be read.

use serde::de::IgnoredAny;

use crate::rules::diagnosis::Finding;
use crate::rules::json::{Member, Members};
use crate::words::time::Timestamp;

/// Why `body` is not one JSON object; `None` where it is.
pub fn explain(body: &[u8]) -> Option<Finding> {
    if Members::read(body, |_| false).is_ok() {
        return None;
    }
    let problem = if body.is_empty() {
        "There is no body.".to_owned()
    } else if body.starts_with(b"\xef\xbb\xbf") {
        "The body begins with a byte order mark, which JSON does not allow.".to_owned()
    } else if body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") {
        "The body is UTF-16; JSON is UTF-8.".to_owned()
    } else {
        match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => "The body is JSON, but not an object.".to_owned(),
            Err(error) if error.is_eof() => {
                "The body ends in the middle of the JSON: it was cut off.".to_owned()
            }
            Err(error) => format!(
                "The body is not JSON: something is wrong at line {}, column {}.",
                error.line(),
                error.column()
            ),
        }
    };
    Some(Finding::cause(problem))
}

/// Why the member is not one readable string; `None` where it is.
pub fn explain_text(members: &Members<'_>, name: &str) -> Option<Finding> {
    let problem = match members.member(name) {
        Member::Absent => "is not there",
        Member::Doubled => "is there twice, and two readers would take different ones",
        Member::One(value) if !value.as_written().starts_with('"') => "is not a string",
        Member::One(value) if value.text().is_none() => "holds an escape that is no character",
        Member::One(_) => return None,
    };
    Some(Finding::cause(format!(
        "The body's `{name}` {problem}, so which event it is would be a guess."
    )))
}

/// Why the member is not one readable moment; `None` where it is.
pub fn explain_time(members: &Members<'_>, name: &str) -> Option<Finding> {
    if let Some(finding) = explain_text(members, name) {
        return Some(finding);
    }
    let written = members.member(name).text()?;
    if Timestamp::parse_rfc3339(&written).is_some() {
        return None;
    }
    let is_only_without_offset = Timestamp::parse_rfc3339(&format!("{written}Z")).is_some();
    let problem = match is_only_without_offset {
        true => "has no offset (`Z` or `+01:00`), so which moment it means would be a guess",
        false => "is not an RFC 3339 time like 2025-12-09T10:30:00Z",
    };
    Some(Finding::cause(format!("The body's `{name}` {problem}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_a_body_is_no_object() {
        for (body, problem) in [
            (&b""[..], "no body"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
            (b"[]", "not an object"),
            (b"{\"a\":", "cut off"),
            (b"{\n  'a': 1}", "line 2, column 3"),
        ] {
            let finding = explain(body).unwrap();
            assert!(finding.text.contains(problem), "{}", finding.text);
        }
        assert_eq!(explain(b" {} "), None);
    }

    #[test]
    fn says_why_a_member_is_no_moment() {
        for (body, problem) in [
            (&br#"{}"#[..], "not there"),
            (br#"{"t":"a","t":"b"}"#, "twice"),
            (br#"{"t":1}"#, "not a string"),
            (br#"{"t":"\ud800"}"#, "escape"),
            (br#"{"t":"2025-12-09T10:30:00"}"#, "no offset"),
            (br#"{"t":"yesterday"}"#, "not an RFC 3339 time"),
        ] {
            let members = Members::read(body, |_| true).unwrap();
            let finding = explain_time(&members, "t").unwrap();
            assert!(finding.text.contains(problem), "{}", finding.text);
        }
        let members = Members::read(br#"{"t":"2025-12-09T10:30:00Z"}"#, |_| true).unwrap();
        assert_eq!(explain_time(&members, "t"), None);
    }
}
