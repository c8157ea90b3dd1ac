//! The ration, and who waits.

use proptest::prelude::*;

use super::*;

const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: u8 = 6;

fn frame(kind: u8, payload: usize) -> Vec<u8> {
    let [.., a, b, c] = payload.to_be_bytes();
    let mut bytes = vec![a, b, c, kind, 0, 0, 0, 0, 1];
    bytes.resize(HEAD_BYTES + payload, 0xff);
    bytes
}

impl Ration {
    fn lasts(&mut self, bytes: &[u8]) -> bool {
        self.pass(bytes, || true).is_ok()
    }
}

fn begun() -> Ration {
    let mut ration = Ration::full();
    assert!(ration.lasts(PREFACE));
    ration
}

#[test]
fn what_asks_nothing_comes_to_an_end() {
    for (kind, payload) in [
        (PING, 8),
        (4, 0),
        (2, 5),
        (8, 4),
        (0x99, 0),
        (0x99, 16_000),
        (DATA, 0),
        (3, 4),
    ] {
        let mut ration = begun();
        let most = RATION_BYTES / (HEAD_BYTES + payload);
        for _ in 0..most {
            assert!(ration.lasts(&frame(kind, payload)), "{kind}");
        }
        assert!(!ration.lasts(&frame(kind, payload)), "{kind}");
    }
}

#[test]
fn requests_may_go_on_for_ever_with_what_clients_send_beside_them() {
    let mut ration = begun();
    let beside = [frame(PING, 8), frame(4, 0), frame(8, 4), frame(8, 4)].concat();
    let request = [
        frame(HEADERS, 60),
        frame(CONTINUATION, 10),
        frame(DATA, 300),
        frame(DATA, 0),
        beside,
    ]
    .concat();
    for _ in 0..10_000 {
        assert!(ration.lasts(&request));
    }
    assert!(ration.left > RATION_BYTES - EARNED_BYTES);
    // But they save nothing up.
    let pings = frame(PING, 8).repeat(RATION_BYTES / 17 + 1);
    assert!(!ration.lasts(&pings));
}

#[test]
fn a_stream_waits_before_its_head_is_complete_and_keeps_its_room_until_it_is() {
    let with_id = |kind, flags, stream: u32, payload: &[u8]| {
        let mut bytes = frame(kind, payload.len());
        bytes[4] = flags;
        bytes[5..9].copy_from_slice(&stream.to_be_bytes());
        bytes
    };
    let ping = with_id(PING, 0, 0, &[0; 8]);
    let head = with_id(HEADERS, 0, 1, &[1; 30]);
    let rest = with_id(CONTINUATION, END_HEADERS, 1, &[1; 30]);
    let trailers = with_id(HEADERS, END_HEADERS, 1, &[1; 30]);
    let mut ration = begun();
    let bytes = [&ping[..], &head].concat();
    let passed = ration.pass(&bytes, || false).unwrap();
    assert_eq!(passed, ping.len() + HEAD_BYTES - 1);
    assert_eq!(ration.pass(&bytes[passed..], || false), Ok(0));
    assert!(!ration.is_in_head());
    let rest_of_head = &bytes[passed..];
    for cut in 1..rest_of_head.len() {
        let mut ration = begun();
        ration.pass(&bytes, || false).unwrap();
        assert_eq!(ration.pass(&rest_of_head[..cut], || true), Ok(cut));
        assert!(ration.is_in_head());
    }
    ration.pass(rest_of_head, || true).unwrap();
    assert!(ration.is_in_head(), "its second part is still to come");
    ration.pass(&rest[..20], || true).unwrap();
    assert!(ration.is_in_head());
    ration.pass(&rest[20..], || true).unwrap();
    assert!(!ration.is_in_head());
    // What comes behind the body opens nothing.
    let passed = ration.pass(&trailers, || false).unwrap();
    assert_eq!(passed, trailers.len());
}

proptest! {
    #[test]
    fn waiting_changes_nothing_and_opens_no_stream_without_room(
        frames in proptest::collection::vec((0u8..11, 0usize..200, 0u32..40), 0..30),
        turns in proptest::collection::vec((1usize..300, any::<bool>()), 0..200),
    ) {
        let mut bytes = Vec::new();
        let (mut last, mut opened) = (0, 0);
        for (kind, payload, stream) in frames {
            let mut frame = frame(kind, payload);
            frame[5..9].copy_from_slice(&stream.to_be_bytes());
            bytes.extend(frame);
            if kind == HEADERS && stream > last {
                (last, opened) = (stream, opened + 1);
            }
        }
        let mut whole = begun();
        prop_assume!(whole.lasts(&bytes));
        let (mut parts, mut at, mut taken) = (begun(), 0, 0);
        for (cut, has_room) in turns.into_iter().chain(std::iter::repeat_n((300, true), 100)) {
            let next = &bytes[at..(at + cut).min(bytes.len())];
            let before = taken;
            at += parts.pass(next, || { taken += usize::from(has_room); has_room }).unwrap();
            prop_assert!(has_room || taken == before);
        }
        prop_assert_eq!(at, bytes.len());
        prop_assert_eq!(taken, opened);
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn cuts_change_nothing(
        frames in proptest::collection::vec((0u8..11, 0usize..20_000), 0..20),
        cuts in proptest::collection::vec(1usize..30_000, 0..20),
    ) {
        let frames: Vec<u8> = frames.into_iter().flat_map(|(kind, payload)| frame(kind, payload)).collect();
        let mut whole = begun();
        let lasts = whole.lasts(&frames);
        let (mut parts, mut rest, mut all_last) = (begun(), &frames[..], true);
        for cut in cuts {
            let (part, behind) = rest.split_at(cut.min(rest.len()));
            all_last = all_last && parts.lasts(part);
            rest = behind;
        }
        all_last = all_last && parts.lasts(rest);
        prop_assert_eq!(all_last, lasts);
        if lasts {
            prop_assert_eq!(parts, whole);
        }
    }
}
