//! The host's sudden end.

use crate::{
    host::Host,
    place::{Place, version_1_plugin, write_manifest},
    processes,
};

/// Plugins of version 2 that have a child in their group, and the program of each: one by the Rust SDK, one by the Python
/// package.
const WITH_CHILDREN: [(&str, &str); 2] = [("rust-group", "./minimal"), ("python-group", "python3 main.py")];

#[tokio::test]
async fn a_killed_host_leaves_no_process_of_its_plugins() {
    let place = Place::new();
    place.rust_plugin("minimal", "rust-group");
    place.install("hello-plugin-python", "python-group");
    for (id, program) in WITH_CHILDREN {
        let script = format!("tail -f /dev/null & exec {program}");
        let lines = format!("route = \"/{id}\"\nexec = [\"sh\", \"-c\", \"{script}\"]\n");
        write_manifest(&place.plugins().join(id), &lines);
    }
    place.install("simple-plugin-python", "simple-python");
    place.binary("hello-v1", &version_1_plugin());

    let mut host = Host::start(&place).await;
    let client = host.client();
    let mut left_behind = Vec::new();
    for (id, _) in WITH_CHILDREN {
        host.event(id, "ready").await;
        let group = processes::of_group(client.pid(id).await);
        assert!(group.len() >= 2, "{id} has a child: {group:?}");
        left_behind.extend(group);
    }
    for id in ["simple-python", "hello-v1"] {
        host.event(id, "ready").await;
        left_behind.push(client.pid(id).await);
    }
    host.kill().await;
    processes::await_end(left_behind).await;
}
