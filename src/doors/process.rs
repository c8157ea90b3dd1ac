//! What the process asks of the system for itself: no core dumps, as many descriptors as it may have, no end where a
//! file may not grow, and no more rights and no more memory than it needs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, geteuid, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::rules::config::Config;
use crate::words::limits::Limits;

/// Descriptors for everything that is no connection of a sender: store, log, the operator's side, idle
/// connections to apps.
const RESERVED: u64 = 128;

/// With fewer nothing could be served at all, whatever the limit.
const CONNECTIONS_LEAST: usize = 16;

/// Below it a port is for root, or for who has the capability.
const UNPRIVILEGED_PORT: u16 = 1024;

/// What glibc is told by how many heaps it may keep, once, at a program's start.
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// What glibc is told everything else by, once, at a program's start; what it does not know it skips.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// So many freed pieces of each size up to 1 KiB a thread keeps for its next use: 2 MiB at the most. glibc's own 7 are
/// those of one request, and with dozens under way at one time the rest went through the shared heap, its lock and its
/// lists: 2,000 of 150,000 instructions a request.
const KEPT_PIECES: &str = "glibc.malloc.tcache_count=64";

/// Says that the program was begun anew already. glibc takes its own variable out of the environment of a file with
/// capabilities, and then that one alone would have it begun anew forever.
const BEGUN_ANEW: &str = "PASSGATE_BEGUN_ANEW";

/// Begins the program anew with one heap for all threads, of which each keeps more of what it freed, unless the
/// environment says how many heaps there are to be. What it says of the rest of the allocator is left as it is.
/// It returns only where nothing is to be done, or nothing can be: then only more memory is taken.
///
/// # Why
/// glibc gives each thread a heap of its own, and what is freed in the middle of one is of use to no other. The
/// store's pages are read by one thread, written by another and dropped by a third, so that every heap in turn grew
/// to the size of their cache. The number of heaps can be set from within by unsafe code only. The process keeps
/// its number, its descriptors and its arguments.
pub fn share_one_heap() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    // Elsewhere nobody reads the variable.
    if cfg!(not(target_env = "gnu")) || is_set(HEAPS) || is_set(BEGUN_ANEW) {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let tunables = std::env::var_os(TUNABLES).unwrap_or_else(|| KEPT_PIECES.into());
        let _ = anew(program, std::env::args_os(), tunables).exec();
    }
}

/// The same program with the same arguments, the first of which is its name.
fn anew(
    program: PathBuf,
    mut arguments: impl Iterator<Item = OsString>,
    tunables: OsString,
) -> Command {
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env(HEAPS, "1")
        .env(TUNABLES, tunables)
        .env(BEGUN_ANEW, "1");
    command
}

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

/// Has a write beyond the limit on a file's size (`ulimit -f`, `LimitFSIZE=`) fail as on a full disk, and not end the
/// process, which is what the system does unless somebody listens for its signal. Called within the runtime.
///
/// # Errors
/// What the system refuses.
pub fn outlive_file_limit() -> io::Result<()> {
    // Nobody has to hear it: once it was listened for, it ends nothing for as long as the process lives.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    Ok(())
}

/// How large a file it may write; `None` where there is no limit but the disk's.
pub fn file_bytes_max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
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
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_program_is_begun_anew_with_its_own_arguments_and_one_heap() {
        let arguments = ["gate", "run", "--config", "a b.toml"].map(OsString::from);
        let command = anew(
            PathBuf::from("/bin/passgate"),
            arguments.into_iter(),
            KEPT_PIECES.into(),
        );
        assert_eq!(command.get_program(), "/bin/passgate");
        let passed: Vec<_> = command.get_args().collect();
        assert_eq!(passed, ["run", "--config", "a b.toml"]);
        let said: Vec<_> = command.get_envs().collect();
        let one = Some(OsStr::new("1"));
        let kept = Some(OsStr::new(KEPT_PIECES));
        let expected = [(TUNABLES, kept), (HEAPS, one), (BEGUN_ANEW, one)];
        let expected = expected.map(|(name, to)| (OsStr::new(name), to));
        assert_eq!(said, expected);
    }

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
