//! Secrets by reference: `env:NAME` and `file:/path`.
//!
//! The reference may be shown, what it leads to never is; and what is no reference is taken for a secret
//! that somebody wrote into the file, so it is not shown either.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::words::secret::{Reference, Secret};
use crate::words::time::Timestamp;

/// Where the bytes behind references come from.
pub trait SecretSource {
    /// The present, where it is known: what has expired by then is warned of.
    fn now(&self) -> Option<Timestamp> {
        None
    }

    /// Whether a gateway runs already, with what was read the last time.
    fn is_running(&self) -> bool {
        false
    }

    /// The raw bytes of an environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>>;

    /// The raw bytes of a file, and who may read it.
    ///
    /// # Errors
    /// Why they cannot be had.
    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable>;
}

/// What a file holds.
pub struct SecretFile {
    /// Its bytes, as they are.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether every user of the machine may read it.
    pub is_world_readable: bool,
}

/// Why a file is no secret's file.
#[derive(Debug)]
pub enum Unreadable {
    /// Not a file but a directory, a pipe, a device.
    NotAFile,
    /// More than [`FILE_BYTES_MAX`].
    TooLarge,
    /// The operating system said no.
    Io(io::Error),
}

impl Unreadable {
    /// The reason as it is told of the file at `path`.
    pub fn of_file(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::NotAFile => format!("{path} is not a regular file"),
            Self::TooLarge => format!("{path} is larger than 64 KiB, the most that is read"),
            Self::Io(error) => format!("{path} cannot be read: {error}"),
        }
    }
}

/// How references are read.
#[derive(Clone, Copy)]
pub enum Secrets<'a> {
    /// They are resolved; a relative file is one beside the configuration, in this folder.
    From(&'a dyn SecretSource, &'a Path),
    /// They are not resolved, and placeholders stand in for them.
    Placeholders,
}

/// A secret that was found.
pub struct Resolved {
    /// The secret.
    pub secret: Secret,
    /// What the operator should know about it.
    pub cautions: Vec<String>,
}

impl Secrets<'_> {
    /// Whether placeholders stand in.
    pub fn are_placeholders(self) -> bool {
        matches!(self, Self::Placeholders)
    }

    /// The present, where it is known.
    pub fn now(self) -> Option<Timestamp> {
        match self {
            Self::From(source, _) => source.now(),
            Self::Placeholders => None,
        }
    }

    /// Whether a gateway runs already, with what was read the last time.
    pub fn is_running(self) -> bool {
        match self {
            Self::From(source, _) => source.is_running(),
            Self::Placeholders => false,
        }
    }

    /// What a file holds; `None` with placeholders, when files need not be there.
    pub fn file(self, path: &Path) -> Option<Result<SecretFile, String>> {
        match self {
            Self::From(source, folder) => {
                let path = folder.join(path);
                let file = source.file(&path);
                Some(file.map_err(|reason| reason.of_file(&path)))
            }
            Self::Placeholders => None,
        }
    }

    /// The secret that `text` refers to.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn resolve(self, text: &str) -> Result<Resolved, String> {
        let target = Target::parse(text)?;
        let reference = Reference::new(text);
        let (bytes, is_world_readable) = match self {
            Self::Placeholders => (Zeroizing::new(PLACEHOLDER.to_vec()), false),
            Self::From(source, folder) => fetched(source, folder, &target)?,
        };
        if bytes.len() < Secret::SHORTEST {
            return Err(format!(
                "{text} holds fewer than {} bytes, which can be guessed; use a longer secret",
                Secret::SHORTEST
            ));
        }
        let mut cautions = Vec::new();
        if is_world_readable {
            cautions.push(format!("{text} can be read by every user of this machine"));
        }
        if bytes.ends_with(b"\n") {
            cautions.push(format!(
                "{text} ends in a newline that is taken for part of the secret"
            ));
        }
        // The bytes are moved, not copied: a copy would not be wiped.
        let mut bytes = bytes;
        Ok(Resolved {
            secret: Secret::new(std::mem::take(&mut *bytes), reference),
            cautions,
        })
    }
}

enum Target<'t> {
    Variable(&'t str),
    File(&'t Path),
}

impl<'t> Target<'t> {
    fn parse(text: &'t str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            // A name of other letters is more likely a secret behind the wrong prefix.
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
            if name.starts_with(is_first) && name.chars().all(is_name) {
                return Ok(Self::Variable(name));
            }
            return Err("does not name an environment variable after `env:`; \
                        a name has letters, digits and `_`"
                .to_owned());
        }
        match text.strip_prefix("file:") {
            Some("") => Err("does not name a file after `file:`".to_owned()),
            Some(path) => Ok(Self::File(Path::new(path))),
            None => Err(format!(
                "is not a reference (and is not shown, since it may be the secret itself); \
                 write {EXPECTED}"
            )),
        }
    }
}

fn fetched(
    source: &dyn SecretSource,
    folder: &Path,
    target: &Target<'_>,
) -> Result<(Zeroizing<Vec<u8>>, bool), String> {
    match target {
        Target::Variable(name) => source
            .variable(name)
            .map(|bytes| (bytes, false))
            .ok_or_else(|| format!("the environment variable {name} is not set")),
        Target::File(path) => {
            let path: PathBuf = folder.join(path);
            let file = source.file(&path).map_err(|reason| reason.of_file(&path))?;
            let mut bytes = file.bytes;
            let kept = without_newline(&bytes).len();
            bytes.truncate(kept);
            Ok((bytes, file.is_world_readable))
        }
    }
}

/// Editors and `echo` end a file with one newline; it is no part of the secret, a second one is.
fn without_newline(bytes: &[u8]) -> &[u8] {
    match bytes.strip_suffix(b"\n") {
        Some(rest) => rest.strip_suffix(b"\r").unwrap_or(rest),
        None => bytes,
    }
}

/// Completes "… is expected".
pub const EXPECTED: &str = "a reference such as \"env:NAME\" or \"file:/path\"";
/// The most that a secret's file may hold.
pub const FILE_BYTES_MAX: u64 = 64 << 10;
/// Passes every check of length and alphabet, and could not be mistaken for a real secret.
const PLACEHOLDER: &[u8] = b"placeholder-not-a-secret-placeholder";

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variable but `UNSET` and every file holds these bytes.
    struct Holds(&'static [u8]);

    impl SecretSource for Holds {
        fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
            (name != "UNSET").then(|| Zeroizing::new(self.0.to_vec()))
        }

        fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
            match path.to_str() {
                Some("/config/folder") => Err(Unreadable::NotAFile),
                Some("/large") => Err(Unreadable::TooLarge),
                Some("/denied") => Err(Unreadable::Io(io::ErrorKind::PermissionDenied.into())),
                _ => Ok(SecretFile {
                    bytes: Zeroizing::new(self.0.to_vec()),
                    is_world_readable: path == Path::new("/open"),
                }),
            }
        }
    }

    fn resolve(bytes: &'static [u8], text: &str) -> Result<Resolved, String> {
        Secrets::From(&Holds(bytes), Path::new("/config")).resolve(text)
    }

    #[test]
    fn exactly_one_newline_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let cases: &[(&[u8], &[u8], usize)] = &[
            (b"12345678", b"12345678", 0),
            (b"12345678\n", b"12345678", 0),
            (b"12345678\r\n", b"12345678", 0),
            (b"12345678\n\n", b"12345678\n", 1),
            (b"12345678\r", b"12345678\r", 0),
            (b"\xff\x00\xfe 1234\n", b"\xff\x00\xfe 1234", 0),
        ];
        for (bytes, expected, cautions) in cases {
            let resolved = resolve(bytes, "file:x").ok().unwrap();
            assert_eq!(resolved.secret.expose(), *expected);
            assert_eq!(
                resolved.cautions.len(),
                *cautions,
                "{:?}",
                resolved.cautions
            );
        }
    }

    #[test]
    fn a_newline_in_a_variable_stays_and_is_warned_of() {
        let resolved = resolve(b"12345678\n", "env:X").ok().unwrap();
        assert_eq!(resolved.secret.expose(), b"12345678\n");
        assert_eq!(resolved.cautions.len(), 1);
    }

    #[test]
    fn what_cannot_be_had_is_said_with_the_reason_and_never_the_value() {
        let cases = [
            ("env:UNSET", "UNSET is not set"),
            ("env:X", "env:X holds fewer than 8 bytes"),
            ("file:x", "file:x holds fewer than 8 bytes"),
            ("file:folder", "/config/folder is not a regular file"),
            ("file:/large", "larger than 64 KiB"),
            ("file:/denied", "/denied cannot be read: permission denied"),
            ("file:", "does not name a file"),
            ("env:", "does not name an environment variable"),
            ("env:1A", "does not name an environment variable"),
            ("env:hunter2=", "does not name an environment variable"),
            ("hunter2", "is not a reference"),
            ("ENV:X", "is not a reference"),
            ("", "is not a reference"),
        ];
        for (text, part) in cases {
            let message = resolve(b"hunter2\n", text).err();
            // The variable has its newline, so it must be cut here to be short.
            let message = message.or_else(|| resolve(b"hunter2", text).err()).unwrap();
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{text}: {message}");
        }
    }

    #[test]
    fn placeholders_keep_the_reference_and_need_nothing_to_be_there() {
        for text in ["env:UNSET", "file:/denied"] {
            let resolved = Secrets::Placeholders.resolve(text).ok().unwrap();
            assert_eq!(resolved.secret.reference().as_str(), text);
        }
        assert!(Secrets::Placeholders.resolve("hunter2hunter2").is_err());
        assert!(resolve(b"12345678", "file:/open").is_ok_and(|found| found.cautions.len() == 1));
    }
}
