//! The work: what happens to a request.
//!
//! [`ingest`] tells the life of an event in order; [`live`] brings it as far as it goes while its sender waits,
//! [`delivery`] further; [`routes`] is the snapshot they go by, and [`forward`] takes clean events to the
//! app, over the connections of [`pool`]. [`resources`] is what an attempt takes before it is made, [`alarms`] what an
//! end may raise, and [`timers`] bound what is waited for on the way.

pub mod alarms;
pub mod answer;
pub mod body;
pub mod busy;
mod deadline;
pub mod delivery;
pub mod forward;
pub mod head;
pub mod ingest;
pub mod listing;
pub mod live;
pub mod outliving;
pub mod pool;
pub mod replay;
pub mod resources;
pub mod routes;
pub mod running;
pub mod snapshot;
pub mod timers;
pub mod trace;
