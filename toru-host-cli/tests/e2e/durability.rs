//! `kill -9` of the host under writes: what was acknowledged is there.
//!
//! `TORU_CRASH_CYCLES` (kills) and `TORU_CRASH_WRITES` (acknowledged writes in all) make the run longer than the default.

use std::{env, net::SocketAddr};

use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use crate::{
    client::{Connection, within},
    host::Host,
    place::Place,
    processes,
};

const CYCLES: usize = 100;
const WRITES: usize = 10_000;
/// Clients that write at the same time, so that commits are shared.
const CLIENTS: usize = 8;
/// Whose namespace is written. It runs as well, and is to end with each host.
const PLUGIN: &str = "minimal";

fn setting(name: &str, default: usize) -> usize {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// Each key has a value of its own.
fn value_of(key: &str) -> String {
    format!("{key} ").repeat(10)
}

/// Writes one key after the other, and tells each that was acknowledged, until the host is gone.
async fn write(address: SocketAddr, prefix: String, acknowledged: UnboundedSender<String>) {
    let mut connection = Connection::open(address).await;
    // A host that is not killed after so many is none of this test's.
    for n in 0..1_000_000 {
        let key = format!("{prefix}-{n}");
        let Ok(answer) = connection.try_kv_set(PLUGIN, &key, &value_of(&key)).await else { return };
        assert_eq!(answer.status, 200, "{answer:?}");
        acknowledged.send(key).unwrap();
    }
}

/// Starts a host and kills it after so many acknowledged writes: the keys of all that were acknowledged.
async fn run_and_kill(place: &Place, cycle: usize, writes: usize) -> Vec<String> {
    let host = Host::start(place).await;
    let (sender, mut acknowledged) = unbounded_channel();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(write(host.address(), format!("{cycle}-{client}"), sender.clone()));
    }
    drop(sender);
    let mut keys = Vec::new();
    while keys.len() < writes {
        keys.push(within(acknowledged.recv()).await.expect("the clients write until the host is gone"));
    }
    host.kill().await;
    // What the host had answered by then was acknowledged, too. The channel ends with the last client.
    while let Some(key) = within(acknowledged.recv()).await {
        keys.push(key);
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    keys
}

/// The keys whose value is not what was written.
async fn lost(address: SocketAddr, keys: Vec<String>) -> Vec<String> {
    let mut connection = Connection::open(address).await;
    let mut lost = Vec::new();
    for key in keys {
        if connection.kv_get(PLUGIN, &key).await != Some(value_of(&key)) {
            lost.push(key);
        }
    }
    lost
}

fn assert_whole(place: &Place) {
    let database = rusqlite::Connection::open(place.data().join("toru.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_the_host_is_killed() {
    let place = Place::new();
    place.rust_plugin("minimal", PLUGIN);
    let (cycles, writes) = (setting("TORU_CRASH_CYCLES", CYCLES), setting("TORU_CRASH_WRITES", WRITES));
    let per_cycle = writes.div_ceil(cycles);
    let mut acknowledged = Vec::new();
    for cycle in 0..cycles {
        // Kills fall at different places of the work: after more or fewer writes than the mean.
        let spread = per_cycle / 2 + 1;
        acknowledged.extend(run_and_kill(&place, cycle, per_cycle + (cycle * 7) % spread).await);
    }
    assert!(acknowledged.len() >= writes, "{} writes", acknowledged.len());
    assert_whole(&place);
    processes::await_end(processes::of_programs_below(&place.plugins())).await;

    let host = Host::start(&place).await;
    let mut readers = JoinSet::new();
    for keys in acknowledged.chunks(acknowledged.len().div_ceil(CLIENTS)) {
        readers.spawn(lost(host.address(), keys.to_vec()));
    }
    while let Some(lost) = within(readers.join_next()).await {
        assert_eq!(lost.unwrap(), [""; 0], "acknowledged, and not there");
    }
    assert_eq!(host.stop().await.code(), Some(0));
    println!("{} acknowledged writes in {cycles} cycles, none lost", acknowledged.len());
}
