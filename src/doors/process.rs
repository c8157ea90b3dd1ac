//! What the process asks of the system for itself: no core dumps, as many descriptors as it may have, and
//! no more rights than it needs.

use std::io;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::rules::config::Config;
use crate::words::limits::Limits;

/// Descriptors for everything that is no connection of a sender: store, log, the operator's side, idle
/// connections to apps.
const RESERVED: u64 = 128;

/// With fewer nothing could be served at all, whatever the limit.
const CONNECTIONS_LEAST: usize = 16;

/// Below it a port is for root, or for who has the capability.
const UNPRIVILEGED_PORT: u16 = 1024;

/// Keeps what is in memory, secrets among it, out of core dumps, and out of reach of other processes of the
/// same user.
///
/// # Errors
/// What the system refuses.
pub fn forbid_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    close_to_others()
}

/// A pipe in the kernel's core_pattern gets a dump whatever the limit says, but not of such a process.
#[cfg(target_os = "linux")]
fn close_to_others() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Elsewhere the limit is all there is.
#[cfg(not(target_os = "linux"))]
fn close_to_others() -> io::Result<()> {
    Ok(())
}

/// Raises the limit on open descriptors as far as that needs no rights; gives what it is now, and `None`
/// where there is none.
pub fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // Then the old one holds, which was enough for whoever set it.
        Err(_) => limit.current,
    }
}

/// The bounds that so many descriptors leave room for.
pub fn limits_within(limits: Limits, descriptors: Option<u64>) -> Limits {
    let Some(descriptors) = descriptors else {
        return limits;
    };
    // A sender's connection may need another one to the app.
    let pairs = descriptors.saturating_sub(RESERVED) / 2;
    let room = usize::try_from(pairs).unwrap_or(usize::MAX);
    Limits {
        connections: limits.connections.min(room.max(CONNECTIONS_LEAST)),
        ..limits
    }
}

/// Whether it runs as root though nothing in its configuration asks for that.
pub fn is_root_without_need(config: &Config) -> bool {
    let places = config.server.listen.iter().chain(&config.admin.listen);
    let mut ports = places.filter_map(|place| place.tcp()).map(|at| at.port());
    let needs_root = ports.any(|port| (1..UNPRIVILEGED_PORT).contains(&port));
    geteuid().is_root() && !needs_root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (descriptors, expected) in [
            (None, 4096),
            (Some(1_048_576), 4096),
            (Some(4096), 1984),
            (Some(1024), 448),
            (Some(64), 16),
        ] {
            let limits = limits_within(Limits::default(), descriptors);
            assert_eq!(limits.connections, expected, "{descriptors:?}");
        }
    }
}
