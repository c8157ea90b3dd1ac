//! passgate
pub mod keepers;
pub mod rules;
pub mod words;
