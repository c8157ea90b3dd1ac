//! A mistake or a warning, and how the terminal shows it.

use std::fmt::{self, Write};
use std::path::Path;

/// What is to be said about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether the configuration can be used all the same.
    pub grade: Grade,
    /// Where in the text; `None` if the file could not be read at all.
    pub place: Option<Place>,
    /// The path of the key; empty for what concerns no key, such as a syntax error.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// How grave a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The configuration cannot be used.
    Mistake,
    /// It can be used, but the operator should know.
    Warning,
}

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Remark {
    /// A mistake of the file as a whole.
    pub fn of_file(place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            grade: Grade::Mistake,
            place,
            key: String::new(),
            message: message.into(),
        }
    }

    /// Whether the configuration cannot be used.
    pub fn is_mistake(&self) -> bool {
        self.grade == Grade::Mistake
    }
}

impl fmt::Display for Remark {
    /// Everything but the file's name: `12:7: route "walletwerk".timeout: is …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{}:{}: ", place.line, place.column)?;
        }
        match self.grade {
            Grade::Mistake => {}
            Grade::Warning => f.write_str("warning: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The remarks for the terminal, a line each, and a last line that sums up; nothing if there are none.
pub fn listing(file: &Path, remarks: &[Remark]) -> String {
    let name = file.display();
    let mut lines = String::new();
    for remark in remarks {
        let separator = if remark.place.is_some() { ":" } else { ": " };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{name}{separator}{remark}");
    }
    let mistakes = remarks.iter().filter(|remark| remark.is_mistake()).count();
    let warnings = remarks.len() - mistakes;
    let _ = match (mistakes, warnings) {
        (0, 0) => Ok(()),
        (0, _) => writeln!(lines, "{name}: {}", counted(warnings, "warning")),
        (_, 0) => writeln!(lines, "{name}: {}", counted(mistakes, "mistake")),
        (_, _) => writeln!(
            lines,
            "{name}: {} and {}",
            counted(mistakes, "mistake"),
            counted(warnings, "warning")
        ),
    };
    lines
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
