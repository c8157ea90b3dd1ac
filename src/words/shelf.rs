//! Under which name the events of a route lie in the store: the route's, and its provider's.
//!
//! # Why
//! A route that is given another provider keeps the events of the one before, and they can go to no app until
//! that provider is back. On a shelf of their own they are simply a route that is not configured, and nobody
//! who takes events from a shelf needs to ask whose they are.

use std::fmt;

/// The name of a shelf.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShelfName<'a> {
    /// The route's name.
    pub route: &'a str,
    /// The provider's name.
    pub provider: &'a str,
}

// === impl ShelfName ===

impl<'a> ShelfName<'a> {
    /// Reads the stored form. What is no such form is taken for a route's name alone.
    pub fn read(stored: &'a str) -> Self {
        let (provider, route) = stored.split_once('/').unwrap_or(("", stored));
        Self { route, provider }
    }
}

/// The stored form. Neither name can hold a slash.
impl fmt::Display for ShelfName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_reads_back() {
        let name = ShelfName {
            route: "cards",
            provider: "walletwerk",
        };
        assert_eq!(ShelfName::read(&name.to_string()), name);
    }

    #[test]
    fn a_name_without_a_provider_is_a_route() {
        let name = ShelfName::read("cards");
        assert_eq!((name.route, name.provider), ("cards", ""));
    }
}
