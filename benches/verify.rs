//! What does verification cost, for each provider, for small bodies, large ones, and large ones of many members?

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use passgate::rules::provider::{KINDS, Kind, Provider, Sample, SampleOrder};
use passgate::rules::reader;
use passgate::rules::reader::secrets::Secrets;
use passgate::words::message::{Head, Message, RequestId};
use passgate::words::secret::{Reference, Secret};
use passgate::words::time::Timestamp;
use passgate::words::verdict::{Unverified, Verdict};
use sha2::Sha256;

const SECRET: &[u8] = b"a-secret-for-the-bench";
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

fn provider(kind: &Kind) -> Arc<dyn Provider> {
    let secret = Secret::new(SECRET.to_vec(), Reference::new("env:BENCH"));
    let build = kind.build;
    reader::read("", Secrets::Placeholders, |section| {
        build(vec![secret], section)
    })
    .value
    .expect("a provider")
}

/// What a body is grown with, which decides what it costs to pass.
#[derive(Clone, Copy, Debug)]
enum Growth {
    /// One long string.
    Text,
    /// An array of small objects, as bodies really are.
    Structure,
}

impl Growth {
    /// A member's value of so many bytes, or a few less.
    fn value(self, bytes: usize) -> String {
        match self {
            Self::Text => format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))),
            Self::Structure => {
                let item = r#"{"id":"txn_5feceb66ffc86f38d952","amount":4247,"merchant":"786c6d4679c6a4d9e8f1b2c3"}"#;
                let items = vec![item; bytes.saturating_sub(2) / (item.len() + 1)];
                format!("[{}]", items.join(","))
            }
        }
    }
}

/// The provider's own sample, its JSON grown to about `bytes` and signed anew where it was signed.
fn message(kind: &Kind, bytes: usize, growth: Growth) -> Message {
    let mut sample: Sample = (kind.sample)(&SampleOrder {
        event: kind.events[0],
        secret: Some(SECRET),
        now: NOW,
        nonce: 1,
    });
    if sample.body.len() < bytes && sample.body.last() == Some(&b'}') {
        let padding = growth.value(bytes - sample.body.len());
        sample.body.pop();
        sample
            .body
            .extend(format!(r#","padding":{padding}}}"#).bytes());
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &sample.headers {
        let value = match name.as_str().ends_with("-signature") {
            true => {
                let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any key");
                mac.update(&sample.body);
                data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
            }
            false => value.clone(),
        };
        headers.insert(
            HeaderName::clone(name),
            HeaderValue::from_str(&value).expect("a value"),
        );
    }
    let uri = format!("/webhooks{}?{}", sample.path_suffix, sample.query);
    Message {
        head: Arc::new(Head {
            method: sample.method,
            uri: uri.parse().expect("a target"),
            headers,
            client: [127, 0, 0, 1].into(),
            version: hyper::Version::HTTP_11,
            is_secure: false,
            received_at: NOW,
            request_id: RequestId::new(0),
        }),
        body: sample.body.into(),
    }
}

/// As the gateway judges: the head first.
fn judge(provider: &dyn Provider, message: &Message) -> Result<Verdict, Unverified> {
    let screened = provider.screen(&message.head)?;
    provider.verify(message, screened, NOW)
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    for kind in KINDS {
        let provider = provider(kind);
        let bodies: &[(&str, usize, Growth)] = match kind.needs_body {
            true => &[
                ("600", 600, Growth::Text),
                ("16384", 16 * 1024, Growth::Text),
                ("16384 of structure", 16 * 1024, Growth::Structure),
            ],
            false => &[("0", 0, Growth::Text)],
        };
        for &(name, size, growth) in bodies {
            let message = message(kind, size, growth);
            assert!(judge(&*provider, &message).is_ok(), "{kind:?} {name}");
            group.throughput(Throughput::Elements(1));
            group.bench_with_input(
                BenchmarkId::new(kind.name, name),
                &message,
                |bencher, message| {
                    bencher.iter(|| judge(&*provider, black_box(message)));
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
