//! What does verification cost, for each provider and for small and large bodies?

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use passgate::rules::provider::{KINDS, Kind, Provider, Sample, SampleOrder};
use passgate::rules::reader;
use passgate::rules::reader::secrets::Secrets;
use passgate::words::message::{Head, Message};
use passgate::words::secret::{Reference, Secret};
use passgate::words::time::Timestamp;
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

/// The provider's own sample, its JSON grown to about `bytes` and signed anew where it was signed.
fn message(kind: &Kind, bytes: usize) -> Message {
    let mut sample: Sample = (kind.sample)(&SampleOrder {
        event: kind.events[0],
        secret: Some(SECRET),
        now: NOW,
        nonce: 1,
    });
    if sample.body.len() < bytes && sample.body.last() == Some(&b'}') {
        let padding = "x".repeat(bytes - sample.body.len());
        sample.body.pop();
        sample
            .body
            .extend(format!(r#","padding":"{padding}"}}"#).bytes());
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
            request_id: "bench".into(),
        }),
        body: sample.body.into(),
    }
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    for kind in KINDS {
        let provider = provider(kind);
        let sizes: &[usize] = if kind.needs_body {
            &[600, 16 * 1024]
        } else {
            &[0]
        };
        for &size in sizes {
            let message = message(kind, size);
            assert!(provider.verify(&message, NOW).is_ok(), "{kind:?} {size}");
            group.throughput(Throughput::Elements(1));
            group.bench_with_input(
                BenchmarkId::new(kind.name, size),
                &message,
                |bencher, message| {
                    bencher.iter(|| provider.verify(black_box(message), NOW));
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
