//! The values of a [`Section`]: texts, words, numbers, durations, sizes, rates, lists and secrets.
//!
//! Each method gives `None` for a key that is absent, and for one that is wrong once the mistake is
//! written down; so `unwrap_or` a default is right in both cases.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::rules::reader::Section;
use crate::rules::reader::gathering::Found;
use crate::rules::reader::secrets::{self, SecretFile};
use crate::rules::reader::units::{self, Rate};
use crate::words::secret::Secret;
use crate::words::time::Timestamp;

impl Section<'_> {
    /// A text as it is.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.parse(key, "a text in quotes", |text| Ok(text.to_owned()))
    }

    /// A text that `read` turns into a value, or into what is wrong with it and what would be right.
    /// `expected` completes "… is expected", for values that are no text at all.
    pub fn parse<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let result = text_of(value, expected).and_then(read);
        self.kept(key, value, result)
    }

    /// A list of texts, each turned into a value by `read`; what is wrong is said at its own item.
    /// The good ones are given; none for an absent key.
    pub fn parse_each<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.items(key, expected, false, read)
    }

    /// Like [`Section::parse_each`], but a single text may stand for a list of one.
    pub fn parse_one_or_each<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.items(key, expected, true, read)
    }

    /// A list of texts; a single text may stand for a list of one.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.parse_one_or_each(key, "a text in quotes", |text| Ok(text.to_owned()))
    }

    /// One of these words, each with its meaning.
    pub fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let expected = listed(&choices.iter().map(|(word, _)| *word).collect::<Vec<_>>());
        self.parse(key, &expected, |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            match chosen {
                Some((_, meaning)) => Ok(*meaning),
                None => Err(format!("is not a known word; write {expected}")),
            }
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let result = match value.get_ref().as_bool() {
            Some(flag) => Ok(flag),
            None => Err(mismatch(value, "true or false (without quotes)")),
        };
        self.kept(key, value, result)
    }

    /// A whole number from `lowest` to `highest`.
    pub fn whole(&mut self, key: &'static str, lowest: u64, highest: u64) -> Option<u64> {
        let value = self.value(key)?;
        let result = whole_of(value, lowest, highest);
        self.kept(key, value, result)
    }

    /// A duration above zero.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.parse(key, units::DURATION, units::duration)
    }

    /// A duration; `"0s"` makes sense here.
    pub fn duration_or_zero(&mut self, key: &'static str) -> Option<Duration> {
        self.parse(key, units::DURATION, units::duration_or_zero)
    }

    /// A duration within these bounds.
    pub fn duration_within(
        &mut self,
        key: &'static str,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.parse(key, units::DURATION, |text| {
            let duration = units::duration_or_zero(text)?;
            within(duration, bounds, "a duration", units::duration_text)
        })
    }

    /// A size in bytes.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        self.parse(key, units::SIZE, units::size)
    }

    /// A size in bytes, within these bounds.
    pub fn size_within(&mut self, key: &'static str, bounds: &RangeInclusive<u64>) -> Option<u64> {
        self.parse(key, units::SIZE, |text| {
            within(units::size(text)?, bounds, "a size", units::size_text)
        })
    }

    /// So many in so long a time.
    pub fn rate(&mut self, key: &'static str) -> Option<Rate> {
        self.parse(key, units::RATE, units::rate)
    }

    /// A secret, given by reference. With placeholders its content must not be judged.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let value = self.value(key)?;
        self.resolve(key, value)
    }

    /// A list of secrets, each given by reference: those that could be had.
    pub fn secrets(&mut self, key: &'static str) -> Vec<Secret> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let expected = "a list of references such as [\"env:NAME\", \"file:/path\"]";
            self.say(key, start(value), &mismatch(value, expected));
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.resolve(key, item))
            .collect()
    }

    /// The path of a file, as it is written.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.parse(key, "a path in quotes", |text| {
            match text.is_empty() || text.ends_with('/') || text.contains('\0') {
                true => Err("does not name a file".to_owned()),
                false => Ok(PathBuf::from(text)),
            }
        })
    }

    /// What the file at `path` holds, which `key` names; a relative path starts from the configuration's
    /// folder. `None` if it cannot be had, which is then said, or if files need not be there.
    pub fn file(&mut self, key: &'static str, path: &Path) -> Option<SecretFile> {
        match self.gathering.surroundings().file(path)? {
            Ok(file) => Some(file),
            Err(message) => {
                self.unusable(key, message);
                None
            }
        }
    }

    /// A file that cannot be used: a mistake, but for a gateway that runs and serves what it had a warning.
    pub fn unusable(&mut self, key: &'static str, message: String) {
        match self.gathering.surroundings().is_running() {
            true => self.warn(key, message),
            false => self.mistake(key, message),
        }
    }

    /// The present, where it is known.
    pub fn now(&self) -> Option<Timestamp> {
        self.gathering.surroundings().now()
    }

    /// Whether secrets stand in for the real ones (`--no-secrets`), so that checks of their content are
    /// to be skipped.
    pub fn has_placeholders(&self) -> bool {
        self.gathering.has_placeholders()
    }

    fn items<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        may_be_single: bool,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            DeValue::String(_) if may_be_single => vec![value],
            _ => {
                let expected = format!("a list in brackets, each item {expected},");
                self.say(key, start(value), &mismatch(value, &expected));
                Vec::new()
            }
        };
        let mut good = Vec::new();
        for item in items {
            let result = text_of(item, expected).and_then(&mut read);
            good.extend(self.kept(key, item, result));
        }
        good
    }

    fn kept<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        result: Result<T, String>,
    ) -> Option<T> {
        result
            .map_err(|message| self.say(key, start(value), &message))
            .ok()
    }

    fn resolve(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Secret> {
        let result =
            text_of(value, secrets::EXPECTED).and_then(|text| self.gathering.resolve(text));
        let resolved = self.kept(key, value, result)?;
        for caution in &resolved.cautions {
            let found = Found::new(start(value), &self.path.key(key), caution);
            self.gathering.warning(found);
        }
        Some(resolved.secret)
    }
}

/// Where a value begins.
pub(super) fn start(value: &Spanned<DeValue<'_>>) -> usize {
    value.span().start
}

/// What a value is, against what it ought to be. The value itself is not shown: it may be a secret.
pub(super) fn mismatch(value: &Spanned<DeValue<'_>>, expected: &str) -> String {
    let is = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("is {is}, but {expected} is expected")
}

fn text_of<'v>(value: &'v Spanned<DeValue<'_>>, expected: &str) -> Result<&'v str, String> {
    value
        .get_ref()
        .as_str()
        .ok_or_else(|| mismatch(value, expected))
}

fn whole_of(value: &Spanned<DeValue<'_>>, lowest: u64, highest: u64) -> Result<u64, String> {
    let Some(integer) = value.get_ref().as_integer() else {
        let expected = format!("a whole number from {lowest} to {highest} (without quotes)");
        return Err(mismatch(value, &expected));
    };
    // What does not fit into 64 bits is out of bounds like any other number.
    u64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|number| (lowest..=highest).contains(number))
        .ok_or_else(|| format!("is out of bounds; write a whole number from {lowest} to {highest}"))
}

fn within<T: Copy + PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    what: &str,
    written: fn(T) -> String,
) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "is out of bounds; write {what} from {:?} to {:?}",
        written(*bounds.start()),
        written(*bounds.end())
    ))
}

/// `"a", "b" or "c"`.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}
