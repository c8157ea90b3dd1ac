//! Chunked bodies (RFC 9112, 7.1): of a sender's, what is demanded before any HTTP parser sees them; of an app's answer,
//! what is in them.
//!
//! Parsers differ about blanks around a size, about sizes that are too long for a word, and about line ends; hyper
//! takes some of it. So a size is up to 16 hexadecimal digits and nothing else (in an answer, blanks behind it), each
//! line ends in CRLF, and an extension is short and printable. A sender's body is decoded by hyper, and what passes here
//! it reads in the same way. Trailer fields are hyper's to judge, or nobody's, and are dropped; only their line ends
//! are looked at.

/// Digits of a size: as many as a word of 64 bits has.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of one chunk's extensions. No platform sends any.
const EXTENSION_BYTES_MAX: u16 = 256;

/// How far a chunked body has been looked at.
#[derive(Debug)]
pub struct Chunks {
    next: Next,
    /// The size of the chunk whose line or data is being read.
    size: u64,
    /// Blanks may stand behind a size.
    takes_blanks: bool,
}

/// What came must not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A size, of which there are so many digits.
    Size(u8),
    /// What ends a size's line or begins its extensions, after so many blanks.
    Blanks(u16),
    /// An extension, of which there are so many bytes.
    Extension(u16),
    /// The LF of a size's line.
    SizeLf,
    /// So much data.
    Data(u64),
    DataCr,
    DataLf,
    /// A trailer field, or the CR of the empty line at the end.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    /// What belongs to the body no more.
    Nothing,
}

// === impl Chunks ===

impl Chunks {
    /// A body that begins.
    pub const fn begin() -> Self {
        Self {
            next: Next::Size(0),
            size: 0,
            takes_blanks: false,
        }
    }

    /// That of an app's answer. Some servers write their sizes into a field of fixed width, and blanks behind a size can
    /// be read in one way only; a sender, of whose body others have read before, may not write any.
    pub const fn of_answer() -> Self {
        Self {
            takes_blanks: true,
            ..Self::begin()
        }
    }

    /// Looks at the bytes that come next. How many of them, from the first on, are as they should be: if not all,
    /// the one behind them is not. What comes after the body is not looked at.
    pub fn check(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        loop {
            match self.data(&mut left) {
                Ok(Some(_)) => {}
                Ok(None) => return bytes.len(),
                Err(Broken) => return bytes.len() - left.len(),
            }
        }
    }

    /// Takes the next piece of data off the front, with what stands before it. `None` if there is no more of it: then
    /// all was taken that belongs to the body.
    ///
    /// # Errors
    /// If what stands first then must not be there.
    pub fn data<'a>(&mut self, left: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Broken> {
        while let Some((&byte, rest)) = left.split_first() {
            match self.next {
                Next::Nothing => return Ok(None),
                Next::Data(size) => {
                    let here = usize::try_from(size).unwrap_or(usize::MAX);
                    let (data, rest) = left.split_at_checked(here).unwrap_or((left, &[]));
                    self.next = match size - data.len() as u64 {
                        0 => Next::DataCr,
                        size => Next::Data(size),
                    };
                    *left = rest;
                    return Ok(Some(data));
                }
                next => {
                    self.next = self.after(next, byte).ok_or(Broken)?;
                    *left = rest;
                }
            }
        }
        Ok(None)
    }

    /// Whether the body has come to its end.
    pub const fn is_over(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// What comes after `byte` where `next` was to come; `None` if it must not be there.
    fn after(&mut self, next: Next, byte: u8) -> Option<Next> {
        match (next, byte) {
            (Next::Size(1..), b'\r') => Some(Next::SizeLf),
            (Next::Size(1..) | Next::Blanks(_), b';') => Some(Next::Extension(0)),
            (Next::Size(1..), b' ' | b'\t') if self.takes_blanks => Some(Next::Blanks(1)),
            (Next::Blanks(blanks @ 0..EXTENSION_BYTES_MAX), b' ' | b'\t') => {
                Some(Next::Blanks(blanks + 1))
            }
            (Next::Blanks(_), b'\r') => Some(Next::SizeLf),
            (Next::Size(digits @ 0..SIZE_DIGITS_MAX), digit) => {
                let digit = char::from(digit).to_digit(16)?;
                self.size = self.size << 4 | u64::from(digit);
                Some(Next::Size(digits + 1))
            }
            (Next::Extension(_), b'\r') => Some(Next::SizeLf),
            (Next::Extension(bytes @ 0..EXTENSION_BYTES_MAX), b'\t' | b' '..=b'~') => {
                Some(Next::Extension(bytes + 1))
            }
            (Next::SizeLf, b'\n') => Some(match std::mem::take(&mut self.size) {
                0 => Next::TrailerStart,
                size => Next::Data(size),
            }),
            (Next::DataCr, b'\r') => Some(Next::DataLf),
            (Next::DataLf, b'\n') => Some(Next::Size(0)),
            (Next::TrailerStart, b'\r') => Some(Next::EndLf),
            (Next::Trailer, b'\r') => Some(Next::TrailerLf),
            (Next::TrailerLf, b'\n') => Some(Next::TrailerStart),
            (Next::TrailerStart | Next::Trailer, byte) if byte != b'\n' => Some(Next::Trailer),
            (Next::EndLf, b'\n') => Some(Next::Nothing),
            (
                Next::Size(_)
                | Next::Blanks(_)
                | Next::Extension(_)
                | Next::SizeLf
                | Next::Data(_)
                | Next::DataCr
                | Next::DataLf
                | Next::TrailerStart
                | Next::Trailer
                | Next::TrailerLf
                | Next::EndLf
                | Next::Nothing,
                _,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(text: &str) -> (usize, Next) {
        let mut chunks = Chunks::begin();
        (chunks.check(text.as_bytes()), chunks.next)
    }

    #[test]
    fn plain_chunks_pass_to_their_end_and_what_follows_is_not_looked_at() {
        let extension = ";".to_owned() + &"x".repeat(EXTENSION_BYTES_MAX.into());
        for text in [
            "5\r\nhello\r\n0\r\n\r\n",
            "05\r\nhello\r\n0A\r\n\r\n\r\n\r\n\r\n\r\n\r\n000\r\n\r\n",
            "5;a=\"b;c\"\r\nhello\r\n0;x\r\n\r\n",
            &format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"),
            "0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
            "0\r\nX: y\r\nZ:\r\n\r\n",
            "0\r\n\r\n \n\r;",
        ] {
            assert_eq!(checked(text), (text.len(), Next::Nothing), "{text:?}");
        }
    }

    #[test]
    fn whatever_parsers_differ_about_is_where_it_stops() {
        for (passed, rest) in [
            ("", " 5\r\n"),
            ("", "\t5\r\n"),
            ("", "\r\n"),
            ("", "\n5\r\n"),
            ("", ";x\r\n"),
            ("", "+5\r\n"),
            ("", "-5\r\n"),
            ("0", "x5\r\n"),
            ("5", " \r\n"),
            ("5", "\t\r\n"),
            ("5", " ;x\r\n"),
            ("5", "_\r\n"),
            ("5", "\nhello"),
            ("5\r", "\rhello"),
            ("5;x", "\nhello"),
            ("5;x", "\0\r\n"),
            ("5;x", "\u{7f}\r\n"),
            ("5;x\r", "y\n"),
            ("0000000000000000", "5\r\n"),
            ("ffffffffffffffff", "0\r\n"),
            ("5\r\nhello", "\n0\r\n"),
            ("5\r\nhello", "0\r\n"),
            ("5\r\nhello\r", "0\r\n"),
            ("5\r\nhello\r\n", "\r\n"),
            ("0\r\n", "\n"),
            ("0\r\nX: y", "\n\r\n"),
            ("0\r\nX: y\r", "Z: y\r\n"),
            ("0\r\n\r", "x\n"),
        ] {
            let (count, next) = checked(&format!("{passed}{rest}"));
            assert_eq!(count, passed.len(), "{passed:?} before {rest:?}");
            assert_ne!(next, Next::Nothing);
        }
        let long = format!("5;{}", "x".repeat(usize::from(EXTENSION_BYTES_MAX) + 1));
        assert_eq!(checked(&long).0, long.len() - 1);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            text in "([0-9a-f]{1,2}(;[ -~]{0,3})?[\r ]{0,2}\n[ -~]{0,9}\r\n){0,4}(0\r\n\r\n)?",
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = checked(&text);
            let (first, second) = text.as_bytes().split_at(cut.index(text.len() + 1));
            let mut chunks = Chunks::begin();
            let mut count = chunks.check(first);
            if count == first.len() {
                count += chunks.check(second);
            }
            prop_assert_eq!((count, chunks.next), whole);
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Chunks::begin().check(&bytes) <= bytes.len());
        }
    }
}
