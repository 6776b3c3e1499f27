//! Many clients at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::{
    process::Command,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use toru_core::{Config, PluginSupervisor, api::message::kv::KvOp, config};
use toru_host_axum::{AdminToken, Limits, Server};

use crate::{
    client::{Answer, Client, Connection, TOKEN, within},
    host::Host,
    place::Place,
    processes,
};

/// What is asked of the system: so many clients at once get an answer each.
const CLIENTS: usize = 1_000;

/// Room for both ends of all connections.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

fn place_with_gauge() -> Place {
    raise_descriptor_limit();
    let place = Place::new();
    place.rust_plugin("gauge", "gauge");
    place
}

async fn connect(address: SocketAddr, clients: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(within(Connection::open(address)).await);
    }
    connections
}

async fn seen(client: Client, query: &str) -> Value {
    serde_json::from_str(&client.ask(&format!("/gauge/seen{query}")).await).unwrap()
}

/// All clients are connected before the first asks.
async fn ask_all_at_once(address: SocketAddr) -> Vec<Answer> {
    let mut answers = JoinSet::new();
    for mut connection in connect(address, CLIENTS).await {
        answers.spawn(async move { connection.try_get("/api/plugins/route/gauge/wait").await.unwrap() });
    }
    within(answers.join_all()).await
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_answered_and_the_plugin_sees_at_most_128_on_each_link() {
    let place = place_with_gauge();
    let mut host = Host::on_threads(&place, 1).await;
    host.event("gauge", "ready").await;
    let answers = ask_all_at_once(host.address()).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert_eq!((answers.len(), refused.len()), (CLIENTS, 0), "{:?}", refused.first());
    let seen = seen(host.client(), "").await;
    assert!(seen["most"].as_u64().unwrap() <= 128, "{seen}");
    assert_eq!((&seen["running"], &seen["left"]), (&0.into(), &0.into()));
    println!("{seen}");
    assert_eq!(host.stop().await.code(), Some(0));
}

/// The connections that a host accepts by default.
const ALL_CONNECTIONS: usize = 1_024;

#[tokio::test]
async fn a_host_full_of_connections_starts_plugins_under_the_usual_limit_of_descriptors() {
    let place = place_with_gauge();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_toru")]);
    let mut host = Host::start_by(command, &place, &[]).await;
    host.event("gauge", "ready").await;
    let pid = host.client().pid("gauge").await;
    let mut connections = connect(host.address(), ALL_CONNECTIONS).await;
    // The last is one of those that are kept for administration; its answer says that all are accepted.
    let admin = connections.last_mut().unwrap();
    assert_eq!(within(admin.try_get("/api/plugins")).await.unwrap().status, 200);
    assert!(processes::descriptors_of(host.pid()) > ALL_CONNECTIONS, "none was closed for another");
    processes::kill(pid);
    host.event("gauge", "crashed (signal 9)").await;
    host.event("gauge", "ready").await;
    drop(connections);
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_handler() {
    let place = place_with_gauge();
    let mut host = Host::start(&place).await;
    host.event("gauge", "ready").await;
    let client = host.client();
    let mut connection = Connection::open(host.address()).await;
    let asked = tokio::spawn(async move { connection.try_get("/api/plugins/route/gauge/hold").await });
    seen(client, "?running=1").await;
    asked.abort();
    let after = seen(client, "?left=1").await;
    assert_eq!((&after["running"], &after["left"]), (&0.into(), &1.into()), "{after}");
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn duplicate_headers_stay() {
    let place = place_with_gauge();
    let mut host = Host::start(&place).await;
    host.event("gauge", "ready").await;
    let mut connection = Connection::open(host.address()).await;
    let mut request = connection.request(Method::GET, "/api/plugins/route/gauge/twice");
    for value in ["one", "two", "one"] {
        request.headers_mut().append("x-twice", value.parse().unwrap());
    }
    let answer = within(connection.try_send(request)).await.unwrap();
    assert_eq!(answer.text(), "one|two|one");
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(host.stop().await.code(), Some(0));
}

/// More than run and wait: each is refused at once.
const TOO_MANY: usize = 50;

/// The reference server in this process, because the default bound of connections is below that of the queue, and because
/// the time in the queue must not end during the test.
async fn serve(place: &Place) -> (Arc<PluginSupervisor>, SocketAddr, oneshot::Sender<()>) {
    let mut config = Config::new(place.plugins(), place.data());
    config.queue_wait = Duration::from_secs(600);
    config.response_timeout = Duration::from_secs(600);
    let supervisor = Arc::new(PluginSupervisor::builder(config).build().unwrap());
    let mut limits = Limits::default();
    limits.connections = 2 * (config::MAX_IN_FLIGHT + config::QUEUE_LEN);
    let token = AdminToken::new(TOKEN).unwrap();
    let server = Server::builder(supervisor.clone(), token).limits(limits).bind("127.0.0.1:0").await.unwrap();
    supervisor.initialize().await.unwrap();
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    within(supervisor.wait_until("gauge", |status| status.running)).await.unwrap();
    (supervisor, address, stop)
}

#[tokio::test]
async fn of_handlers_that_never_answer_128_run_1024_wait_and_the_rest_is_refused() {
    let place = place_with_gauge();
    let (supervisor, address, stop) = serve(&place).await;
    let taken = config::MAX_IN_FLIGHT + config::QUEUE_LEN;
    assert_eq!(taken, 128 + 1_024);

    let (sender, mut answers) = mpsc::unbounded_channel();
    for mut connection in connect(address, taken + TOO_MANY).await {
        let sender = sender.clone();
        tokio::spawn(async move {
            let answer = connection.try_get("/api/plugins/route/gauge/hold").await.unwrap();
            let _ = sender.send(answer);
        });
    }
    for _ in 0..TOO_MANY {
        let refused = within(answers.recv()).await.unwrap();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    }
    let all_run = KvOp::Get { key: config::MAX_IN_FLIGHT.to_string() };
    within(supervisor.plugin_kv("gauge", all_run)).await.unwrap();
    assert!(answers.is_empty(), "the others run or wait");

    let release = KvOp::Set { key: "release".into(), value: "".into() };
    within(supervisor.plugin_kv("gauge", release)).await.unwrap();
    for _ in 0..taken {
        let answer = within(answers.recv()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let seen = seen(Client(address), "").await;
    assert_eq!((&seen["most"], &seen["left"]), (&128.into(), &0.into()), "{seen}");
    drop(stop);
    within(supervisor.shutdown()).await;
}
