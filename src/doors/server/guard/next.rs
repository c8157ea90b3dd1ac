//! Where a connection is: what the next byte of its socket belongs to.

use crate::rules::chunks::Chunks;

/// What comes next on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A head.
    Head,
    /// So many bytes of body.
    Body(u64),
    /// A chunked body; where it ends is for hyper to know.
    Chunked,
    /// Something that no chunked body holds.
    Broken,
    /// Nothing that is let through.
    Nothing,
}

// === impl Next ===

impl Next {
    /// How many of these bytes of a body may be passed on; and then something else comes next.
    pub(super) fn passes(&mut self, bytes: &[u8], chunks: &mut Chunks) -> usize {
        match *self {
            Self::Body(left) => {
                *self = match left.saturating_sub(bytes.len() as u64) {
                    0 => Self::Head,
                    left => Self::Body(left),
                };
                bytes.len()
            }
            Self::Chunked => {
                let passed = chunks.check(bytes);
                if passed < bytes.len() {
                    *self = Self::Broken;
                }
                passed
            }
            Self::Head | Self::Broken | Self::Nothing => bytes.len(),
        }
    }
}
