//! Reads TOML and collects every mistake in it.
//!
//! A [`Section`] is one table being read. Its methods give the value of a key, or `None`: the key is
//! absent, or it is wrong and the mistake is already written down with its place. So a reader asks for
//! everything it knows, puts defaults where nothing came, and never stops at the first mistake. Last
//! comes [`Section::finish`], to which every key that nobody asked for is a mistake.
//!
//! No message shows a value that may be a secret. What the keys mean is not known here; that is the
//! business of the configuration and of the providers, which call this.
//!
//! # Why
//! A serde derive stops at the first mistake, and an operator who repairs a file wants to see all of them.

pub mod gathering;
pub mod nearest;
pub mod path;
pub mod remark;
pub mod secrets;
pub mod units;
mod values;

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::rules::reader::gathering::{Found, Gathering};
use crate::rules::reader::nearest::nearest;
use crate::rules::reader::path::Path;
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::Secrets;
use crate::rules::reader::values::{mismatch, start};

/// One table being read. A table that is absent reads as an empty one.
///
/// Ask for every key before giving up over a mistake: a key that was not asked for is an unknown one.
pub struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    /// Where in the text the table begins, or where it would belong.
    offset: usize,
    path: Path,
    /// The table around this one.
    parent: Option<(Option<&'a DeTable<'a>>, usize, Path)>,
    known: BTreeSet<&'static str>,
    gathering: &'a Gathering<'a>,
}

/// What became of a text.
#[derive(Debug)]
pub struct Read<T> {
    /// What the reading function gave.
    pub value: T,
    /// Mistakes and warnings, in the order of the text.
    pub remarks: Vec<Remark>,
    /// Every key that was asked for: `server.listen`, `route.quota.rate`.
    pub known: BTreeSet<String>,
}

/// Reads a whole text: `read_root` gets the outermost table, whose unknown keys are found here.
pub fn read<T>(
    text: &str,
    secrets: Secrets<'_>,
    read_root: impl FnOnce(&mut Section<'_>) -> T,
) -> Read<T> {
    // Some editors begin a file with a mark that is no character of its text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let gathering = Gathering::new(secrets);
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        gathering.syntax_mistake(offset, error.message());
    }
    let mut root = Section {
        table: Some(table.get_ref()),
        offset: 0,
        path: Path::root(),
        parent: None,
        known: BTreeSet::new(),
        gathering: &gathering,
    };
    let value = read_root(&mut root);
    root.finish();
    let (remarks, known) = gathering.into_parts(text);
    Read {
        value,
        remarks,
        known,
    }
}

impl<'a> Section<'a> {
    /// Whether the key is there, right or wrong.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the table itself is there, be it empty.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The table of that name within this one.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let value = self.value(key);
        if let Some(value) = value
            && !value.get_ref().is_table()
        {
            self.say(key, start(value), &mismatch(value, "a table"));
        }
        let table = value.and_then(|value| value.get_ref().as_table());
        let offset = value.map_or(self.offset, start);
        self.inner(table, offset, self.path.key(key))
    }

    /// The tables of that name within this one, written as `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let items: Vec<&'a Spanned<DeValue<'a>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            DeValue::Table(_) => {
                let message =
                    format!("is one table; write it as [[{key}]], since there can be several");
                self.say(key, start(value), &message);
                vec![value]
            }
            _ => {
                let expected = format!("a list of tables, each begun with [[{key}]],");
                self.say(key, start(value), &mismatch(value, &expected));
                Vec::new()
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = self.path.item(key, index + 1);
            let table = item.get_ref().as_table();
            if table.is_none() {
                self.say(key, start(item), &mismatch(item, "a table"));
            }
            sections.push(self.inner(table, start(item), path));
        }
        sections
    }

    /// What messages call this table.
    pub fn shown(&self) -> String {
        self.path.shown().to_owned()
    }

    /// Names this table in messages: `route "walletwerk"` instead of `route #1`.
    pub fn call(&mut self, name: &str) {
        self.path = self.path.called(name);
    }

    /// Writes a mistake down at the key's value; at the table's beginning if the key is absent.
    pub fn mistake(&self, key: &str, message: impl AsRef<str>) {
        let found = self.found(key, message.as_ref());
        self.gathering.mistake(found);
    }

    /// Writes a mistake of the whole table down, at its beginning.
    pub fn mistake_here(&self, message: impl AsRef<str>) {
        let found = Found::new(self.offset, &self.path, message.as_ref());
        self.gathering.mistake(found);
    }

    /// Says that a key is needed. Left out when the text has syntax errors, which may have hidden it.
    pub fn missing(&self, key: &str, message: impl AsRef<str>) {
        let found = self.found(key, message.as_ref());
        self.gathering.missing(found);
    }

    /// Writes a mistake down at a key of the table around this one: a provider's word on the route's
    /// `secrets`. Left out when that key has a mistake already, which is likely the cause.
    pub fn mistake_at_parent(&self, key: &str, message: impl AsRef<str>) {
        let found = match &self.parent {
            Some((table, offset, path)) => {
                let offset = table
                    .and_then(|table| table.get(key))
                    .map_or(*offset, start);
                Found::new(offset, &path.key(key), message.as_ref())
            }
            None => self.found(key, message.as_ref()),
        };
        self.gathering.mistake_from_elsewhere(found);
    }

    /// Whether something at that key is wrong already, so that a default would only mislead further checks.
    pub fn is_spoiled(&self, key: &str) -> bool {
        self.gathering.is_spoiled(&self.path.key(key))
    }

    /// Writes a warning down at the key's value; at the table's beginning if the key is absent.
    pub fn warn(&self, key: &str, message: impl AsRef<str>) {
        self.gathering.warning(self.found(key, message.as_ref()));
    }

    /// Ends the reading of this table: every key that was not asked for is a mistake.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            let path = self.path.key(name);
            if self.known.contains(name) {
                continue;
            }
            let advice = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("is not a known key; did you mean `{known}`?"),
                None if self.known.is_empty() => "is not a known key; there are none here".into(),
                None => format!(
                    "is not a known key; known here: {}",
                    self.known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            self.gathering
                .mistake(Found::new(key.span().start, &path, &advice));
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if self.known.insert(key) {
            self.gathering.learn(&self.path.key(key));
        }
        self.table?.get(key)
    }

    fn inner(&self, table: Option<&'a DeTable<'a>>, offset: usize, path: Path) -> Section<'a> {
        Section {
            table,
            offset,
            path,
            parent: Some((self.table, self.offset, self.path.clone())),
            known: BTreeSet::new(),
            gathering: self.gathering,
        }
    }

    fn say(&self, key: &str, offset: usize, message: &str) {
        self.gathering
            .mistake(Found::new(offset, &self.path.key(key), message));
    }

    fn found(&self, key: &str, message: &str) -> Found {
        let offset = self
            .table
            .and_then(|table| table.get(key))
            .map_or(self.offset, start);
        Found::new(offset, &self.path.key(key), message)
    }
}

#[cfg(test)]
mod tests;
