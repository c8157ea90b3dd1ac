//! passgate
pub mod rules;
pub mod words;
