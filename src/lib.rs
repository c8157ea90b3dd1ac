//! passgate
pub mod doors;
pub mod keepers;
pub mod rules;
pub mod words;
pub mod work;
