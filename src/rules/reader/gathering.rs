//! Gathers what the sections of one text find: remarks, and the keys that are known.
//!
//! Sections share it, so that any of them can be read in any order. Places are kept as offsets and
//! become lines and columns at the end, in one pass over the text.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use crate::rules::reader::path::Path;
use crate::rules::reader::remark::{Grade, Place, Remark};
use crate::rules::reader::secrets::{Resolved, Secrets};

/// What was found so far.
pub struct Gathering<'a> {
    secrets: Secrets<'a>,
    found: RefCell<Vec<(Sort, Found)>>,
    /// Shown paths that have a mistake.
    spoiled: RefCell<HashSet<String>>,
    /// Plain paths of keys that were asked for.
    known: RefCell<BTreeSet<String>>,
}

/// A remark in the making.
#[derive(Debug)]
pub struct Found {
    offset: usize,
    key: String,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Syntax,
    Wrong,
    Missing,
    Warning,
}

// === impl Found ===

impl Found {
    /// Something about the key or table at `path`, at `offset` in the text.
    pub fn new(offset: usize, path: &Path, message: &str) -> Self {
        Self {
            offset,
            key: path.shown().to_owned(),
            message: message.to_owned(),
        }
    }
}

// === impl Gathering ===

impl<'a> Gathering<'a> {
    /// Nothing found yet.
    pub fn new(secrets: Secrets<'a>) -> Self {
        Self {
            secrets,
            found: RefCell::default(),
            spoiled: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// A mistake of TOML itself.
    pub fn syntax_mistake(&self, offset: usize, message: &str) {
        self.add(Sort::Syntax, Found::new(offset, &Path::root(), message));
    }

    /// A mistake of meaning.
    pub fn mistake(&self, found: Found) {
        self.add(Sort::Wrong, found);
    }

    /// A mistake that another table sees in a key, unless the key's own has one already. It spoils
    /// nothing, so that there may be several.
    pub fn mistake_from_elsewhere(&self, found: Found) {
        if !self.spoiled.borrow().contains(&found.key) {
            self.found.borrow_mut().push((Sort::Wrong, found));
        }
    }

    /// Something that is needed is not there.
    pub fn missing(&self, found: Found) {
        self.add(Sort::Missing, found);
    }

    /// A warning.
    pub fn warning(&self, found: Found) {
        self.add(Sort::Warning, found);
    }

    /// Whether that key has a mistake already.
    pub fn is_spoiled(&self, path: &Path) -> bool {
        self.spoiled.borrow().contains(path.shown())
    }

    /// Remembers that a key was asked for.
    pub fn learn(&self, path: &Path) {
        self.known.borrow_mut().insert(path.plain().to_owned());
    }

    /// Whether secrets are placeholders.
    pub fn has_placeholders(&self) -> bool {
        self.secrets.are_placeholders()
    }

    /// What can be had of the surroundings besides secrets.
    pub fn surroundings(&self) -> Secrets<'a> {
        self.secrets
    }

    /// The secret that a reference names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn resolve(&self, reference: &str) -> Result<Resolved, String> {
        self.secrets.resolve(reference)
    }

    /// The remarks in the order of the text, and the known keys.
    pub fn into_parts(self, text: &str) -> (Vec<Remark>, BTreeSet<String>) {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(_, found)| found.offset);
        let has_syntax = found.iter().any(|(sort, _)| *sort == Sort::Syntax);
        let mut cursor = Cursor::new(text);
        let mut placed: Vec<(Sort, Remark)> = Vec::new();
        for (sort, found) in found {
            // A broken line hides keys, so what is missing may be there after all.
            if sort == Sort::Missing && has_syntax {
                continue;
            }
            let place = cursor.place_of(found.offset);
            placed.push((sort, remark(sort, place, found)));
        }
        let broken: HashSet<usize> = placed
            .iter()
            .filter(|(sort, _)| *sort == Sort::Syntax)
            .filter_map(|(_, remark)| remark.place.map(|place| place.line))
            .collect();
        // What a broken line seems to mean is not worth a second remark.
        let is_worth = |sort: Sort, remark: &Remark| {
            sort == Sort::Syntax
                || remark
                    .place
                    .is_none_or(|place| !broken.contains(&place.line))
        };
        let remarks = placed
            .into_iter()
            .filter(|(sort, remark)| is_worth(*sort, remark))
            .map(|(_, remark)| remark)
            .collect();
        (remarks, self.known.into_inner())
    }

    fn add(&self, sort: Sort, found: Found) {
        if sort != Sort::Warning {
            self.spoiled.borrow_mut().insert(found.key.clone());
        }
        self.found.borrow_mut().push((sort, found));
    }
}

fn remark(sort: Sort, place: Place, found: Found) -> Remark {
    Remark {
        grade: match sort {
            Sort::Syntax | Sort::Wrong | Sort::Missing => Grade::Mistake,
            Sort::Warning => Grade::Warning,
        },
        place: Some(place),
        key: found.key,
        message: found.message,
    }
}

/// The place of an offset in a text.
pub fn place_of(text: &str, offset: usize) -> Place {
    Cursor::new(text).place_of(offset)
}

/// Walks over a text once, for offsets that grow.
struct Cursor<'t> {
    rest: std::str::CharIndices<'t>,
    place: Place,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            rest: text.char_indices(),
            place: Place { line: 1, column: 1 },
        }
    }

    fn place_of(&mut self, offset: usize) -> Place {
        while self.rest.offset() < offset {
            match self.rest.next() {
                Some((_, '\n')) => {
                    self.place.line += 1;
                    self.place.column = 1;
                }
                Some(_) => self.place.column += 1,
                None => break,
            }
        }
        self.place
    }
}
