//! How much, how many and how long: the bounds of a request's way from the socket to its answer.
//!
//! One value holds them all. It is made at the start and handed down, so that a test can be at a bound
//! without waiting for it, and so that nothing on the way has a bound of its own that nobody knows.

use std::time::Duration;

/// The bounds of the senders' side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all senders at one time. For a further one another leaves that has no request at work; until
    /// there is one, it waits, and others behind it in the system's queue.
    pub connections: usize,
    /// Connections of one client at one time that have not brought an event yet. For a further one somebody of the
    /// client leaves in the same way, and it waits, unread, for as long as `handshake_time`. Three times as many may
    /// wait so; beyond them a silent one leaves at once, and if there is none, the newcomer is closed. Trusted
    /// proxies are exempt.
    pub client_connections: usize,
    /// So long a connection may be silent, or idle, before it may have to leave for another.
    pub silent_time: Duration,
    /// A TLS handshake has this long, from the accepted connection to its last byte.
    pub handshake_time: Duration,
    /// The files of certificates are looked at this often.
    pub certificate_poll: Duration,
    /// After an order for a certificate failed it is tried again this much later, and then after pauses that double.
    pub acme_pause: Duration,
    /// How large a head may be.
    pub head: HeadLimits,
    /// Requests of one HTTP/2 connection at one time; fewer, if so many would take all memory that one client may.
    pub http2_streams: u32,
    /// A whole head, first byte included, has this long to arrive.
    pub head_time: Duration,
    /// A connection may idle this long between requests. It is counted from the last head, so it must be longer
    /// than `request_time`.
    pub idle_time: Duration,
    /// A connection of HTTP/2 takes new requests for this long; then its peer is told to make another. So none
    /// is held open for ever by one request a minute, and a certificate that was changed is shown to all.
    pub http2_age: Duration,
    /// A peer must take some of its answer within this time.
    pub write_time: Duration,
    /// After an early answer what still arrives is read for this long at the most.
    pub linger_time: Duration,
    /// After an early answer at most so many bytes are read.
    pub linger_bytes: usize,
    /// A body has this long to arrive.
    pub body_time: Duration,
    /// So long a body may come as slowly as it likes,
    pub body_grace: Duration,
    /// and then no slower than so many bytes a second, on the whole.
    pub body_rate: u32,
    /// In the narrow lane a body has less time.
    pub lane_body_time: Duration,
    /// Bytes of all bodies in memory at one time, and of the heads of HTTP/2, each of which counts 64 KiB. They have
    /// half of it at most.
    pub body_bytes: usize,
    /// A whole request: the shortest time that a platform waits (30 s) less what the way takes.
    pub request_time: Duration,
    /// A copy of an event that is being processed waits so long for its end, and never longer than its request.
    pub copy_time: Duration,
    /// Settling is waited for this long; the app has the event, so the answer is 2xx all the same.
    pub store_time: Duration,
    /// Attempts at the app at one time, per route; beyond it `inline` answers `overloaded`.
    pub live: usize,
}

/// The bounds of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of it, request line and final empty line included.
    pub bytes: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
    /// Header fields.
    pub fields: usize,
}

// === impl HeadLimits ===

impl HeadLimits {
    /// Much more than any platform sends.
    pub const DEFAULT: Self = Self {
        bytes: 16 * 1024,
        target_bytes: 8 * 1024,
        fields: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            client_connections: 256,
            silent_time: Duration::from_secs(2),
            handshake_time: Duration::from_secs(10),
            certificate_poll: Duration::from_secs(5),
            acme_pause: Duration::from_secs(5 * 60),
            head: HeadLimits::DEFAULT,
            // No platform needs more.
            http2_streams: 16,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            http2_age: Duration::from_secs(60 * 60),
            write_time: Duration::from_secs(10),
            linger_time: Duration::from_secs(2),
            linger_bytes: 32 * 1024 * 1024,
            body_time: Duration::from_secs(10),
            body_grace: Duration::from_secs(5),
            body_rate: 1024,
            lane_body_time: Duration::from_secs(2),
            body_bytes: 256 * 1024 * 1024,
            request_time: Duration::from_secs(25),
            copy_time: Duration::from_secs(25),
            store_time: Duration::from_secs(3),
            live: 256,
        }
    }
}
