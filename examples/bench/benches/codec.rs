//! Frames to bytes and back.

use std::hint::black_box;

use bytes::{Buf, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use toru_plugin_api::frame::{Decoder, StreamId, TransmitBuf, encode_credit, encode_data, encode_message};

/// The limits of a link by default.
const MAX_MESSAGE: u32 = 1 << 20;
const MAX_DATA: u32 = 256 << 10;

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    let message = br#"{"type":"http","request_id":"1","payload":{"action":"request","method":"GET","path":"/json","headers":[]}}"#;
    round_trip(&mut group, "message of 104 bytes", |out| encode_message(out, message));
    round_trip(&mut group, "CREDIT", |out| encode_credit(out, StreamId(1), 32_768));
    for size in [100, 16 << 10] {
        let bytes = Bytes::from(vec![b'.'; size]);
        round_trip(&mut group, &format!("DATA of {size} bytes"), |out| {
            encode_data(out, StreamId(1), bytes.clone(), false);
        });
    }
    group.finish();
}

fn bytes(c: &mut Criterion) {
    let mut group = c.benchmark_group("bytes");
    for size in [4 << 10, 64 << 10, 256 << 10] {
        let bytes = Bytes::from(vec![b'.'; size]);
        group.throughput(Throughput::Bytes(size as u64));
        round_trip(&mut group, &format!("DATA of {} KiB", size >> 10), |out| {
            encode_data(out, StreamId(1), bytes.clone(), false);
        });
    }
    group.finish();
}

/// Encodes a frame, hands its bytes over as a socket would, and decodes it.
fn round_trip<M: criterion::measurement::Measurement>(
    group: &mut criterion::BenchmarkGroup<'_, M>,
    name: &str,
    encode: impl Fn(&mut TransmitBuf),
) {
    let (mut out, mut input) = (TransmitBuf::new(), BytesMut::new());
    let mut decoder = Decoder::new(MAX_MESSAGE, MAX_DATA);
    let mut once = || {
        encode(&mut out);
        while out.has_remaining() {
            let chunk = out.chunk();
            let length = chunk.len();
            input.extend_from_slice(chunk);
            out.advance(length);
        }
        black_box(decoder.decode(&mut input).expect("what was encoded is a frame").expect("it is whole"));
    };
    once();
    let allocations = allocation_counter::measure(|| (0..1_000).for_each(|_| once())).count_total;
    eprintln!("{name}: {} allocations per frame", allocations as f64 / 1e3);
    group.bench_function(name, |b| b.iter(&mut once));
}

criterion_group!(benches, frames, bytes);
criterion_main!(benches);
