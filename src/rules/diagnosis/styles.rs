//! The usual ways of writing JSON, as a table.

/// One way of writing JSON.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Follows "the body", as in "the body as PHP's json_encode writes it".
    pub name: &'static str,
    /// What stands between a comma and the next item on the same line.
    pub after_comma: &'static str,
    /// What stands between a colon and the value.
    pub after_colon: &'static str,
    /// Where each item has a line of its own: what one level of depth is.
    pub indent: Option<&'static str>,
    /// Which characters are escaped.
    pub escapes: Escapes,
    /// How numbers are written.
    pub numbers: Numbers,
}

/// Which characters are escaped though they need not be.
#[derive(Clone, Copy, Debug)]
pub enum Escapes {
    /// None.
    Few,
    /// Everything but visible ASCII.
    NonAscii,
    /// Everything but ASCII, and slashes.
    NonAsciiAndSlash,
    /// Slashes.
    Slash,
    /// What means something in HTML.
    Html,
    /// What means something in HTML, and everything but ASCII, in upper-case hex.
    DotNet,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug)]
pub enum Numbers {
    /// As in the captured body.
    AsIs,
    /// Through a double, as JavaScript prints one.
    JavaScript,
    /// Whole numbers of any size, others through a double, as Python prints them.
    Python,
}

const COMPACT: Style = Style {
    name: "as compact JSON, numbers as they are",
    after_comma: "",
    after_colon: "",
    indent: None,
    escapes: Escapes::Few,
    numbers: Numbers::AsIs,
};

const SPACED: Style = Style {
    name: "as Python's json.dumps writes it with ensure_ascii=False",
    after_comma: " ",
    after_colon: " ",
    numbers: Numbers::Python,
    ..COMPACT
};

const PRETTY: Style = Style {
    name: "as JSON indented by two spaces",
    after_colon: " ",
    indent: Some("  "),
    ..COMPACT
};

/// The usual ones, the most usual first.
pub const STYLES: [Style; 14] = [
    Style {
        name: "as JavaScript's JSON.stringify writes it",
        numbers: Numbers::JavaScript,
        ..COMPACT
    },
    COMPACT,
    Style {
        name: "as Python's json.dumps writes it",
        escapes: Escapes::NonAscii,
        ..SPACED
    },
    SPACED,
    Style {
        name: "as compact JSON with everything but ASCII escaped",
        escapes: Escapes::NonAscii,
        ..COMPACT
    },
    Style {
        name: "as PHP's json_encode writes it",
        escapes: Escapes::NonAsciiAndSlash,
        ..COMPACT
    },
    Style {
        name: "as PHP's json_encode writes it with JSON_UNESCAPED_UNICODE",
        escapes: Escapes::Slash,
        ..COMPACT
    },
    Style {
        name: "as compact JSON with <, > and & escaped (Go, Rails)",
        escapes: Escapes::Html,
        ..COMPACT
    },
    Style {
        name: "as .NET's System.Text.Json writes it",
        escapes: Escapes::DotNet,
        ..COMPACT
    },
    PRETTY,
    Style {
        name: "as JSON indented by four spaces",
        indent: Some("    "),
        ..PRETTY
    },
    Style {
        name: "as JSON indented by tabs",
        indent: Some("\t"),
        ..PRETTY
    },
    Style {
        name: "as Python's json.dumps writes it with indent=2",
        escapes: Escapes::NonAscii,
        numbers: Numbers::Python,
        ..PRETTY
    },
    Style {
        name: "as PHP's json_encode writes it with JSON_PRETTY_PRINT",
        indent: Some("    "),
        escapes: Escapes::NonAsciiAndSlash,
        ..PRETTY
    },
];
