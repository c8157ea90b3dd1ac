//! The configuration's file: bytes become a text of bounded size, which is then read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::rules::config::Config;
use crate::rules::reader::gathering::place_of;
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::SecretSource;

/// Reads the configuration in `file`; otherwise as [`Config::read`].
///
/// # Errors
/// Every mistake, and the warnings; a file that cannot be read at all is one mistake.
pub fn load(
    file: &Path,
    source: Option<&dyn SecretSource>,
) -> Result<(Config, Vec<Remark>), Vec<Remark>> {
    let bytes = contents(file)
        .map_err(|error| vec![Remark::of_file(None, format!("cannot be read: {error}"))])?;
    let text = checked_text(&bytes).map_err(|mistake| vec![mistake])?;
    Config::read(text, file, source)
}

/// The bytes as text: not too many, and UTF-8.
fn checked_text(bytes: &[u8]) -> Result<&str, Remark> {
    if let Some(within) = bytes
        .get(..FILE_BYTES_MAX)
        .filter(|_| bytes.len() > FILE_BYTES_MAX)
    {
        let (text, _) = valid_part(within);
        let place = place_of(text, text.len());
        return Err(Remark::of_file(
            Some(place),
            "the file is larger than 1MiB, the most there is",
        ));
    }
    match valid_part(bytes) {
        (text, true) => Ok(text),
        (text, false) => {
            let place = place_of(text, text.len());
            Err(Remark::of_file(
                Some(place),
                "the file is not UTF-8 from here on; save it as UTF-8",
            ))
        }
    }
}

/// The text up to the first byte that is none, and whether that is all of it.
fn valid_part(bytes: &[u8]) -> (&str, bool) {
    let chunk = bytes.utf8_chunks().next();
    let text = chunk.as_ref().map_or("", |chunk| chunk.valid());
    (text, text.len() == bytes.len())
}

fn contents(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::other("it is no file"));
    }
    File::open(file)?
        .take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The largest configuration: thousands of routes.
const FILE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Option<String> {
        checked_text(bytes).err().map(|mistake| mistake.to_string())
    }

    #[test]
    fn bytes_that_are_no_text_are_a_mistake_at_their_place() {
        assert_eq!(shown(b"a = 1\n"), None);
        assert_eq!(shown(b""), None);
        let cases: [(&[u8], &str); 3] = [
            (b"\xff", "1:1: "),
            (b"a = 1\n\xc3\xa4 = \xe4\n", "2:5: "),
            (b"a = '\xc3", "1:6: "),
        ];
        for (bytes, place) in cases {
            assert!(shown(bytes).unwrap().starts_with(place), "{bytes:?}");
        }
    }

    #[test]
    fn a_file_of_more_than_a_mebibyte_is_a_mistake_where_it_is_passed() {
        let mut bytes = vec![b'\n'; FILE_BYTES_MAX];
        assert_eq!(shown(&bytes), None);
        bytes.push(b'\n');
        assert_eq!(
            shown(&bytes).unwrap(),
            "1048577:1: the file is larger than 1MiB, the most there is"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_mistake_without_a_place() {
        let folder = tempfile::tempdir().unwrap();
        for file in [folder.path().join("absent.toml"), folder.path().to_owned()] {
            let remarks = load(&file, None).unwrap_err();
            assert!(
                matches!(&remarks[..], [one] if one.place.is_none()),
                "{remarks:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_text_is_one_mistake_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, b"a = 1\n\xff").unwrap();
        let remarks = load(&file, None).unwrap_err();
        assert!(matches!(&remarks[..], [one] if one.to_string().starts_with("2:1: ")));
    }

    #[test]
    fn a_file_is_read_like_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, include_str!("../../../config.toml.example")).unwrap();
        let (config, _) = load(&file, None).unwrap();
        assert_eq!(config.store.path, folder.path().join("passgate.redb"));
    }
}
