//! How the usual libraries write one and the same JSON value.
//!
//! What parses a body and writes it anew changes bytes: white space, the order of keys, escapes, the
//! spelling of numbers. Writing the captured value in each usual style finds the one that was signed.

use std::fmt::Write;

use crate::rules::diagnosis::json::Node;
use crate::rules::diagnosis::styles::{Escapes, Numbers, STYLES, Style};

/// A body as some library would have written it.
#[derive(Debug)]
pub struct Rendering {
    /// Follows "the body", as in "the body as Python's json.dumps writes it".
    pub change: &'static str,
    /// Whether the keys were sorted besides.
    pub order: Order,
    /// The bytes.
    pub text: String,
}

/// The order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the captured body.
    AsIs,
    /// Sorted by name.
    ByName,
    /// Sorted by length, then by name, as PostgreSQL's `jsonb` keeps them.
    ByLength,
}

/// The body's value in every usual style, the most usual first.
pub fn renderings(value: &Node<'_>) -> impl Iterator<Item = Rendering> {
    [Order::AsIs, Order::ByName, Order::ByLength]
        .into_iter()
        .flat_map(move |order| {
            STYLES.iter().map(move |style| {
                let mut text = String::new();
                write_node(&mut text, value, style, order, 0);
                Rendering {
                    change: style.name,
                    order,
                    text,
                }
            })
        })
}

fn write_node(out: &mut String, node: &Node<'_>, style: &Style, order: Order, depth: usize) {
    match node {
        Node::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            match order {
                Order::AsIs => {}
                Order::ByName => members.sort_by(|(a, _), (b, _)| a.cmp(b)),
                Order::ByLength => members.sort_by_key(|(name, _)| (name.len(), name.as_str())),
            }
            write_items(
                out,
                ('{', '}'),
                &members,
                style,
                depth,
                |out, (name, value)| {
                    write_text(out, name, style.escapes);
                    out.push(':');
                    out.push_str(style.after_colon);
                    write_node(out, value, style, order, depth + 1);
                },
            );
        }
        Node::Array(items) => {
            write_items(out, ('[', ']'), items, style, depth, |out, item| {
                write_node(out, item, style, order, depth + 1);
            });
        }
        Node::Text(text) => write_text(out, text, style.escapes),
        Node::Other(raw) => match style.numbers {
            Numbers::AsIs => out.push_str(raw),
            Numbers::JavaScript => write_javascript_number(out, raw),
            Numbers::Python => write_python_number(out, raw),
        },
    }
}

fn write_items<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    style: &Style,
    depth: usize,
    mut write_item: impl FnMut(&mut String, &T),
) {
    out.push(open);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
            out.push_str(style.after_comma);
        }
        write_break(out, style, depth + 1);
        write_item(out, item);
    }
    // Every library writes an empty object or list on one line.
    if !items.is_empty() {
        write_break(out, style, depth);
    }
    out.push(close);
}

fn write_break(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write_text(out: &mut String, text: &str, escapes: Escapes) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' if matches!(escapes, Escapes::DotNet) => out.push_str("\\u0022"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if matches!(escapes, Escapes::Slash | Escapes::NonAsciiAndSlash) => {
                out.push_str("\\/");
            }
            _ if is_escaped(character, escapes) => write_escape(out, character, escapes),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn is_escaped(character: char, escapes: Escapes) -> bool {
    character < ' '
        || match escapes {
            Escapes::Few | Escapes::Slash => false,
            Escapes::NonAscii => character > '~',
            Escapes::NonAsciiAndSlash => !character.is_ascii(),
            Escapes::Html => "<>&\u{2028}\u{2029}".contains(character),
            Escapes::DotNet => character > '~' || "<>&'+`".contains(character),
        }
}

fn write_escape(out: &mut String, character: char, escapes: Escapes) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a String cannot fail.
        let _ = match escapes {
            Escapes::DotNet => write!(out, "\\u{unit:04X}"),
            Escapes::Few
            | Escapes::NonAscii
            | Escapes::NonAsciiAndSlash
            | Escapes::Slash
            | Escapes::Html => write!(out, "\\u{unit:04x}"),
        };
    }
}

fn write_javascript_number(out: &mut String, raw: &str) {
    // Outside of this range JavaScript writes an exponent, which no platform's numbers need.
    let is_plain = |number: &f64| *number == 0.0 || (1e-6..1e21).contains(&number.abs());
    match raw.parse::<f64>() {
        Ok(number) if is_plain(&number) => {
            // Adding zero turns -0 into 0, as JavaScript prints it.
            let _ = write!(out, "{}", number + 0.0);
        }
        Ok(_) | Err(_) => out.push_str(raw),
    }
}

fn write_python_number(out: &mut String, raw: &str) {
    let is_plain = |number: &f64| *number == 0.0 || (1e-4..1e16).contains(&number.abs());
    let is_float = raw.contains(['.', 'e', 'E']);
    match raw.parse::<f64>() {
        Ok(number) if is_float && is_plain(&number) => {
            let _ = write!(out, "{number:?}");
        }
        Ok(_) | Err(_) if raw == "-0" => out.push('0'),
        Ok(_) | Err(_) => out.push_str(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::diagnosis::json;

    const VALUE: &str = r#"{"b":{"url":"a/b","name":"Zoë 😀 <x>"},"a":[1,2.50,-0,12345678901234567890],"e":{},"f":[]}"#;

    /// What Node 20 and Python 3.11 wrote for [`VALUE`], and what the others are documented to write.
    #[test]
    fn writes_what_the_libraries_write() {
        let value = json::read(VALUE.as_bytes()).unwrap();
        for (change, order, text) in [
            (
                "as JavaScript's JSON.stringify writes it",
                Order::AsIs,
                r#"{"b":{"url":"a/b","name":"Zoë 😀 <x>"},"a":[1,2.5,0,12345678901234567000],"e":{},"f":[]}"#,
            ),
            (
                "as Python's json.dumps writes it with ensure_ascii=False",
                Order::ByName,
                r#"{"a": [1, 2.5, 0, 12345678901234567890], "b": {"name": "Zoë 😀 <x>", "url": "a/b"}, "e": {}, "f": []}"#,
            ),
            (
                "as PHP's json_encode writes it",
                Order::AsIs,
                r#"{"b":{"url":"a\/b","name":"Zo\u00eb \ud83d\ude00 <x>"},"a":[1,2.50,-0,12345678901234567890],"e":{},"f":[]}"#,
            ),
            (
                "as .NET's System.Text.Json writes it",
                Order::AsIs,
                r#"{"b":{"url":"a/b","name":"Zo\u00EB \uD83D\uDE00 \u003Cx\u003E"},"a":[1,2.50,-0,12345678901234567890],"e":{},"f":[]}"#,
            ),
            (
                "as JSON indented by two spaces",
                Order::AsIs,
                "{\n  \"b\": {\n    \"url\": \"a/b\",\n    \"name\": \"Zoë 😀 <x>\"\n  },\n  \"a\": [\n    1,\n    2.50,\n    -0,\n    12345678901234567890\n  ],\n  \"e\": {},\n  \"f\": []\n}",
            ),
        ] {
            let found = renderings(&value)
                .find(|rendering| rendering.change == change && rendering.order == order);
            assert_eq!(found.unwrap().text, text, "{change}");
        }
    }

    #[test]
    fn jsonb_puts_short_keys_first() {
        let value = json::read(br#"{"bbb":1,"c":2,"aa":3}"#).unwrap();
        assert!(renderings(&value).any(|r| r.text == r#"{"c": 2, "aa": 3, "bbb": 1}"#));
    }
}
