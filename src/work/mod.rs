//! The work: what happens to a request.
//!
//! [`ingest`] tells the life of an event in order; [`routes`] is the snapshot it goes by; [`forward`] takes
//! clean events to the app.

pub mod answer;
pub mod body;
pub mod forward;
pub mod head;
pub mod ingest;
pub mod routes;
pub mod running;
