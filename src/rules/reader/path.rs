//! The path of a key, twice: as messages show it, and as the reference knows it.

/// Where a key or a table stands.
#[derive(Clone, Debug)]
pub struct Path {
    /// `route "walletwerk".quota.rate`.
    shown: String,
    /// `route.quota.rate`.
    plain: String,
}

impl Path {
    /// The outermost table.
    pub fn root() -> Self {
        Self {
            shown: String::new(),
            plain: String::new(),
        }
    }

    /// A key in this table.
    pub fn key(&self, key: &str) -> Self {
        Self {
            shown: joined(&self.shown, &written(key)),
            plain: joined(&self.plain, key),
        }
    }

    /// One of several tables of that name in this table: the `number`th.
    pub fn item(&self, key: &str, number: usize) -> Self {
        Self {
            shown: joined(&self.shown, &format!("{key} #{number}")),
            plain: joined(&self.plain, key),
        }
    }

    /// The same table under its name instead of its number.
    pub fn called(&self, name: &str) -> Self {
        let unnumbered = self.shown.rfind(" #").and_then(|at| self.shown.get(..at));
        Self {
            shown: format!("{} {name:?}", unnumbered.unwrap_or(&self.shown)),
            plain: self.plain.clone(),
        }
    }

    /// As messages show it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// As the reference knows it, the same for all tables of a list.
    pub fn plain(&self) -> &str {
        &self.plain
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A key as TOML would write it; a long one is cut, since it may be anything.
fn written(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if key.chars().count() > LONGEST_SHOWN {
        let cut: String = key.chars().take(LONGEST_SHOWN).collect();
        format!("{cut:?}…")
    } else if key.is_empty() || !key.chars().all(is_bare) {
        format!("{key:?}")
    } else {
        key.to_owned()
    }
}

const LONGEST_SHOWN: usize = 64;
