//! What the protocol allocates in the steady state, counted by the allocator.

#[path = "../benches/pair.rs"]
mod pair;

use bytes::Bytes;
use pair::{Pair, browsers_head};
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ToruPlugin, async_trait,
    testing::TestHost,
};

/// Until all buffers have their size and the window its largest.
const WARM_UP: usize = 1_000;
const MESSAGES: usize = 1_000;

fn allocations_of_a_body_in_chunks_of(size: usize) -> u64 {
    let chunk = Bytes::from(vec![b'.'; size]);
    let mut pair = Pair::open(&["streams", "heads"]);
    let id = pair.upload();
    (0..WARM_UP).for_each(|_| pair.pass(id, &chunk));
    allocation_counter::measure(|| (0..MESSAGES).for_each(|_| pair.pass(id, &chunk))).count_total
}

#[test]
fn small_data_that_is_copied_allocates_nothing() {
    assert_eq!(allocations_of_a_body_in_chunks_of(100), 0);
    assert_eq!(allocations_of_a_body_in_chunks_of(2 << 10), 0);
}

#[test]
fn large_data_that_is_referenced_allocates_nothing() {
    assert_eq!(allocations_of_a_body_in_chunks_of(16 << 10), 0);
    assert_eq!(allocations_of_a_body_in_chunks_of(64 << 10), 0);
}

#[test]
fn a_browsers_request_and_its_answer_allocate_four_times_each_at_most() {
    let (head, answer) = (browsers_head(), Bytes::from(vec![b'.'; 100]));
    for features in [&["streams", "heads"][..], &["streams"]] {
        let mut pair = Pair::open(features);
        (0..WARM_UP).for_each(|_| pair.exchange(&head, &answer));
        let exchange = || (0..MESSAGES).for_each(|_| pair.exchange(&head, &answer));
        let allocations = allocation_counter::measure(exchange).count_total;
        assert!(allocations <= 4 * MESSAGES as u64, "{allocations} with {features:?}");
    }
}

/// Answers without a look at the request.
struct Hello;

#[async_trait]
impl ToruPlugin for Hello {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("hello", "Hello", "1.0.0", "/hello").expect("these keep the rules")
    }

    async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        Ok(HttpResponse::bytes("hello"))
    }
}

#[test]
fn a_request_to_a_plugin_and_its_answer_allocate_18_times_at_most_in_host_and_sdk() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = runtime.block_on(TestHost::start(Hello)).unwrap();
    let ask = |times: usize| {
        runtime.block_on(async {
            for _ in 0..times {
                host.get("/").await.unwrap();
            }
        });
    };
    ask(WARM_UP);
    let allocations = allocation_counter::measure(|| ask(MESSAGES)).count_total;
    assert!(allocations <= 18 * MESSAGES as u64, "{allocations}");
}
