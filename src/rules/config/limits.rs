//! `[server.limits]`: how much, how many and how long, from the socket to the answer.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rules::reader::Section;
use crate::rules::reader::units::{duration_text, size_text};
use crate::words::limits::{HeadLimits, Limits};

/// Reads `[server.limits]`; what is not written is as the defaults have it.
pub fn limits(section: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let mut time = |key, bounds: &RangeInclusive<Duration>, default| {
        section.duration_within(key, bounds).unwrap_or(default)
    };
    let limits = Limits {
        silent_time: time("silent_time", &SILENT, default.silent_time),
        handshake_time: time("handshake_time", &SHORT, default.handshake_time),
        head_time: time("head_time", &SHORT, default.head_time),
        body_time: time("body_time", &BODY, default.body_time),
        write_time: time("write_time", &SHORT, default.write_time),
        idle_time: time("idle_time", &IDLE, default.idle_time),
        request_time: time("request_time", &REQUEST, default.request_time),
        ..default
    };
    let limits = Limits {
        connections: count(section, "connections", 16..=1_000_000, default.connections),
        client_connections: count(
            section,
            "client_connections",
            1..=1_000_000,
            default.client_connections,
        ),
        live: count(section, "live", 1..=65_536, default.live),
        body_rate: section
            .size_within("body_rate", &BODY_RATE)
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(default.body_rate),
        body_bytes: size(section, "body_memory", &BODY_MEMORY, default.body_bytes),
        head: head(section, default.head),
        http2_streams: section
            .whole("http2_streams", 1, 1000)
            .and_then(|streams| u32::try_from(streams).ok())
            .unwrap_or(default.http2_streams),
        copy_time: limits.request_time,
        ..limits
    };
    let spoiled = ["idle_time", "request_time"].map(|key| section.is_spoiled(key));
    if limits.idle_time <= limits.request_time && spoiled == [false, false] {
        section.mistake(
            "idle_time",
            format!(
                "must be longer than request_time, which is {}: it is counted from the last head",
                duration_text(limits.request_time)
            ),
        );
    }
    limits
}

fn head(section: &mut Section<'_>, default: HeadLimits) -> HeadLimits {
    let head = HeadLimits {
        bytes: size(section, "head_bytes", &HEAD_BYTES, default.bytes),
        target_bytes: size(section, "target_bytes", &TARGET_BYTES, default.target_bytes),
        fields: count(section, "headers", 16..=1000, default.fields),
    };
    if head.target_bytes >= head.bytes && !section.is_spoiled("target_bytes") {
        section.mistake(
            "target_bytes",
            format!(
                "leaves no room in a head of {}; write less, or a larger head_bytes",
                size_text(head.bytes as u64)
            ),
        );
    }
    head
}

fn count(
    section: &mut Section<'_>,
    key: &'static str,
    bounds: RangeInclusive<u64>,
    default: usize,
) -> usize {
    section
        .whole(key, *bounds.start(), *bounds.end())
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(default)
}

fn size(
    section: &mut Section<'_>,
    key: &'static str,
    bounds: &RangeInclusive<u64>,
    default: usize,
) -> usize {
    section
        .size_within(key, bounds)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(default)
}

/// Shorter than a handshake across the world it would send true senders away.
const SILENT: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(60);
const SHORT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
const BODY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(20);
/// A platform waits for 30 s at the most.
const REQUEST: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(29);
const IDLE: RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(3600);
const BODY_RATE: RangeInclusive<u64> = 1..=1 << 20;
const BODY_MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 36;
/// hyper needs a buffer of 8 KiB at least, and gets twice this.
const HEAD_BYTES: RangeInclusive<u64> = 4 << 10..=64 << 10;
const TARGET_BYTES: RangeInclusive<u64> = 256..=32 << 10;
