//! A host on several threads.

use std::fs;

use crate::{
    client::{Connection, within},
    host::Host,
    place::Place,
    processes,
};

const THREADS: usize = 3;
/// So many that each thread has some of them, whatever the kernel does.
const CONNECTIONS: usize = 64;

fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entries = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    entries.filter_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned())).next()
}

#[tokio::test]
async fn every_thread_has_a_link_to_each_plugin_and_plugins_come_back_with_all_of_them() {
    let place = Place::new();
    place.rust_plugin("gauge", "gauge");
    place.install("hello-plugin-python", "hello-python");
    let mut host = Host::on_threads(&place, THREADS).await;
    host.event("gauge", "ready").await;
    host.event("hello-python", "ready").await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(within(Connection::open(host.address())).await);
    }
    for _ in 0..2 {
        let pid = host.client().pid("gauge").await;
        assert_eq!(variable(pid, "TORU_PLUGIN_FD").as_deref(), Some("3"));
        assert_eq!(variable(pid, "TORU_PLUGIN_EXTRA_FDS").as_deref(), Some("4,5,6"));
        for connection in &mut connections {
            // One plugin serves all links, the other its first alone.
            for path in ["/api/plugins/route/gauge/wait", "/api/plugins/route/hello-python/json"] {
                assert_eq!(within(connection.try_get(path)).await.unwrap().status, 200);
            }
        }
        processes::kill(pid);
        host.event("gauge", "crashed (signal 9)").await;
        host.event("gauge", "ready").await;
    }
    drop(connections);
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn one_thread_that_serves_has_one_link_beside_the_first() {
    let place = Place::new();
    place.rust_plugin("gauge", "gauge");
    let mut host = Host::on_threads(&place, 1).await;
    host.event("gauge", "ready").await;
    let client = host.client();
    assert_eq!(variable(client.pid("gauge").await, "TORU_PLUGIN_EXTRA_FDS").as_deref(), Some("4"));
    assert_eq!(client.ask("/gauge/wait").await, "done");
    assert_eq!(host.stop().await.code(), Some(0));
}
