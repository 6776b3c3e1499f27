//! Two connections with their streams, credit and heads: all of the protocol, and no socket.

mod pair;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pair::{Pair, browsers_head};

/// A body that flows under credit.
fn bodies(c: &mut Criterion) {
    let mut group = c.benchmark_group("body");
    for size in [100, 4 << 10, 64 << 10] {
        let chunk = Bytes::from(vec![b'.'; size]);
        let mut pair = Pair::open(&["streams", "heads"]);
        let id = pair.upload();
        let mut once = || pair.pass(id, &chunk);
        tell_allocations(&format!("DATA of {size} bytes"), &mut once);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("chunks of {size} bytes"), |b| b.iter(&mut once));
    }
    group.finish();
}

/// A browser's request and an answer of 100 bytes.
fn exchanges(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    group.throughput(Throughput::Elements(1));
    let (head, answer) = (browsers_head(), Bytes::from(vec![b'.'; 100]));
    for (name, features) in [("binary heads", &["streams", "heads"][..]), ("JSON heads", &["streams"][..])] {
        let mut pair = Pair::open(features);
        let mut once = || pair.exchange(&head, &answer);
        tell_allocations(name, &mut once);
        group.bench_function(name, |b| b.iter(&mut once));
    }
    group.finish();
}

/// In the steady state: after a thousand.
fn tell_allocations(name: &str, once: &mut impl FnMut()) {
    (0..1_000).for_each(|_| once());
    let allocations = allocation_counter::measure(|| (0..1_000).for_each(|_| once())).count_total;
    eprintln!("{name}: {} allocations each", allocations as f64 / 1e3);
}

criterion_group!(benches, bodies, exchanges);
criterion_main!(benches);
