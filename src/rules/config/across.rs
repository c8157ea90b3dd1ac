//! What no route can see alone: names, paths and secrets that two of them share.

use std::collections::{HashMap, HashSet};

use crate::rules::config::route::Draft;
use crate::words::secret::Secret;

/// Says every clash at the later route.
pub fn check(drafts: &[Draft<'_>]) {
    let mut earlier: Vec<&Draft<'_>> = Vec::new();
    for draft in drafts {
        check_name(draft, &earlier);
        check_path(draft, &earlier);
        earlier.push(draft);
    }
    check_secrets(drafts);
}

fn check_name(draft: &Draft<'_>, earlier: &[&Draft<'_>]) {
    let Some(name) = &draft.name else { return };
    if earlier
        .iter()
        .any(|other| other.name.as_ref() == Some(name))
    {
        draft.section().mistake(
            "name",
            format!(
                "{name:?} is the name of an earlier route too; give this one a name of its own"
            ),
        );
    }
}

fn check_path(draft: &Draft<'_>, earlier: &[&Draft<'_>]) {
    let clash = earlier.iter().find(|other| {
        // Of two routes of one name the path by default clashes as well; that is said already.
        let is_new = draft.name.is_none() || draft.name != other.name;
        is_new && draft.host == other.host && paths_clash(draft, other)
    });
    let Some(other) = clash else { return };
    let message = if draft.path == other.path {
        format!(
            "is the path of {} too; give one of them another path or host",
            other.shown()
        )
    } else {
        format!(
            "clashes with {}: where the last segment is a secret, a path covers one segment more",
            other.shown()
        )
    };
    draft.section().mistake("path", message);
}

fn paths_clash(one: &Draft<'_>, other: &Draft<'_>) -> bool {
    let (Some(path), Some(other_path)) = (&one.path, &other.path) else {
        return false;
    };
    path == other_path
        || (one.has_path_secret() && is_one_below(other_path, path))
        || (other.has_path_secret() && is_one_below(path, other_path))
}

fn is_one_below(path: &str, above: &str) -> bool {
    let segment = path
        .strip_prefix(above)
        .and_then(|rest| rest.strip_prefix('/'));
    segment.is_some_and(|segment| !segment.is_empty() && !segment.contains('/'))
}

/// Who has one route's message could send it to the other, where it verifies too.
fn check_secrets(drafts: &[Draft<'_>]) {
    let mut owners: HashMap<&[u8], usize> = HashMap::new();
    let mut references: HashMap<&str, usize> = HashMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        let mut own: HashSet<&str> = HashSet::new();
        for secret in &draft.secrets {
            let reference = secret.reference().as_str();
            if !own.insert(reference) {
                let message = format!("names {reference} twice; once is enough");
                draft.section().warn("secrets", message);
                continue;
            }
            let by_reference = *references.entry(reference).or_insert(index);
            let by_value = match content(draft, secret) {
                Some(bytes) => *owners.entry(bytes).or_insert(index),
                None => index,
            };
            let other = drafts.get(by_reference.min(by_value));
            if let Some(other) = other.filter(|_| by_reference.min(by_value) != index) {
                let message = format!(
                    "{reference} is a secret of {} too: what one of them is sent verifies at the other",
                    other.shown()
                );
                draft.section().warn("secrets", message);
            }
        }
    }
}

/// Placeholders are all the same, which says nothing.
fn content<'s>(draft: &Draft<'_>, secret: &'s Secret) -> Option<&'s [u8]> {
    (!draft.section().has_placeholders()).then(|| secret.expose())
}
