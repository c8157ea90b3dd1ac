//! The pieces of a small message in one.
//!
//! # Why
//! Nearly every message is a head and a few bytes, and copying these costs less than the kernel's way of gathering.

use std::io::IoSlice;

/// Room for pieces, so many bytes of them.
pub struct Joined<const BYTES: usize>([u8; BYTES]);

// === impl Joined ===

impl<const BYTES: usize> Joined<BYTES> {
    /// The pieces in one; `None` where there is no room for all of them.
    pub fn join(&mut self, pieces: &[IoSlice<'_>]) -> Option<&[u8]> {
        // Before anything is copied, since what is large would be copied in vain.
        let lengths = pieces.iter().map(|piece| piece.len());
        if lengths.fold(0, usize::saturating_add) > BYTES {
            return None;
        }
        let mut length = 0;
        for piece in pieces {
            let end = length + piece.len();
            self.0.get_mut(length..end)?.copy_from_slice(piece);
            length = end;
        }
        self.0.get(..length)
    }
}

impl<const BYTES: usize> Default for Joined<BYTES> {
    fn default() -> Self {
        Self([0; BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_fit_are_joined_and_no_others() {
        let (full, empty) = ([7; 64], []);
        let mut joined = Joined::<64>::default();
        for (pieces, expected) in [
            (vec![], Some(vec![])),
            (
                vec![&b"head"[..], &empty, b"body"],
                Some(b"headbody".to_vec()),
            ),
            (vec![&full[..], &empty], Some(full.to_vec())),
            (vec![&full[..], b"1"], None),
        ] {
            let pieces: Vec<_> = pieces.into_iter().map(IoSlice::new).collect();
            assert_eq!(joined.join(&pieces).map(<[u8]>::to_vec), expected);
        }
    }
}
