//! Upgraded streams: their ends, from either side and of either kind, and their bounds.

use std::io::ErrorKind;

use http::{HeaderValue, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toru_plugin_api::{driver::Tunnel, frame::ResetCode};

use super::*;

/// A hang is a failure; nothing here takes long.
const GUARD: Duration = Duration::from_secs(60);

fn offer() -> RequestHead {
    let mut head = request_head("/ws");
    head.headers.insert(header::UPGRADE, HeaderValue::from_static("echo"));
    head
}

fn spawn_offer(host: &End) -> JoinHandle<Result<Response, RequestError>> {
    let handle = host.handle.clone();
    tokio::spawn(async move { handle.request(offer(), RequestBody::<Empty<Bytes>>::Upgrade).await })
}

/// The host's and the plugin's end of a tunnel.
pub(super) async fn tunnel(host: &End, plugin: &mut End) -> (Tunnel, Tunnel) {
    let offered = spawn_offer(host);
    let request = plugin.accept().await;
    assert!(request.responder.offers_upgrade());
    assert_eq!(request.head.headers["upgrade"], "echo");
    let ours = request.responder.upgrade(offer().headers).await.unwrap();
    let answer = offered.await.unwrap().unwrap();
    assert_eq!(answer.head.status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.head.headers["upgrade"], "echo");
    (answer.tunnel.unwrap(), ours)
}

/// Both ways round: the end that acts, and the end that sees it.
async fn each_way<F>(test: impl Fn(Tunnel, Tunnel) -> F)
where
    F: Future<Output = ()>,
{
    for host_acts in [true, false] {
        let (host, mut plugin) = pair().await;
        let (hosts, plugins) = tunnel(&host, &mut plugin).await;
        let (acts, sees) = if host_acts { (hosts, plugins) } else { (plugins, hosts) };
        tokio::time::timeout(GUARD, test(acts, sees)).await.expect("it does not hang");
        tokio::time::timeout(GUARD, host.handle.idle()).await.expect("the stream ends at the host");
        tokio::time::timeout(GUARD, plugin.handle.idle()).await.expect("the stream ends at the plugin");
    }
}

async fn rest(tunnel: &mut Tunnel) -> Vec<u8> {
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn a_half_close_ends_one_direction_and_the_other_goes_on() {
    each_way(async |mut acts: Tunnel, mut sees: Tunnel| {
        acts.write_all(b"question").await.unwrap();
        acts.shutdown().await.unwrap();
        assert_eq!(rest(&mut sees).await, b"question");
        assert_eq!(acts.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        sees.write_all(b"answer").await.unwrap();
        sees.shutdown().await.unwrap();
        assert_eq!(rest(&mut acts).await, b"answer");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_tunnel_cuts_both_directions() {
    each_way(async |acts: Tunnel, mut sees: Tunnel| {
        drop(acts);
        assert_eq!(sees.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(sees.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset, "it stays so");
        assert_eq!(sees.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    })
    .await;
}

#[tokio::test]
async fn a_cut_is_seen_by_who_waits_to_write() {
    each_way(async |acts: Tunnel, mut sees: Tunnel| {
        let writer = tokio::spawn(async move { while sees.write(&[0; 4 << 10]).await.is_ok() {} });
        tokio::task::yield_now().await;
        acts.reset(ResetCode::INTERNAL);
        writer.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_cut_is_seen_by_who_neither_reads_nor_writes() {
    each_way(async |acts: Tunnel, mut sees: Tunnel| {
        let mut cut = tokio::spawn(async move { std::future::poll_fn(|cx| sees.poll_cut(cx)).await });
        tokio::task::yield_now().await;
        assert!(!cut.is_finished());
        drop(acts);
        (&mut cut).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_cut_is_seen_by_who_sends_no_more_and_does_not_read() {
    each_way(async |acts: Tunnel, mut sees: Tunnel| {
        sees.finish();
        let cut = tokio::spawn(async move { std::future::poll_fn(|cx| sees.poll_cut(cx)).await });
        tokio::task::yield_now().await;
        assert!(!cut.is_finished());
        drop(acts);
        cut.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closed_tunnel_delivers_what_was_written_and_wants_no_more() {
    each_way(async |mut acts: Tunnel, mut sees: Tunnel| {
        let sent = vec![7; 200 << 10];
        let whole = sent.clone();
        let writer = tokio::spawn(async move {
            acts.write_all(&sent).await.unwrap();
            acts.close();
        });
        assert_eq!(rest(&mut sees).await, whole);
        writer.await.unwrap();
        // The end came before the reset: what was read is whole, and stays so.
        let refused = std::future::poll_fn(|cx| match sees.poll_ready(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error.kind()),
            _ => Poll::Pending,
        });
        assert_eq!(refused.await, ErrorKind::BrokenPipe);
        assert_eq!(sees.read(&mut [0]).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_was_shut_down_may_be_dropped() {
    each_way(async |mut acts: Tunnel, mut sees: Tunnel| {
        acts.write_all(b"last words").await.unwrap();
        acts.shutdown().await.unwrap();
        drop(acts);
        assert_eq!(rest(&mut sees).await, b"last words");
    })
    .await;
}

#[tokio::test]
async fn a_lost_link_cuts_its_tunnels() {
    let (host, mut plugin) = pair().await;
    let (mut hosts, mut plugins) = tunnel(&host, &mut plugin).await;
    plugin.handle.close();
    assert_eq!(hosts.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(hosts.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    std::future::poll_fn(|cx| hosts.poll_cut(cx)).await;
    assert_eq!(plugins.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_ended_before_the_link_did_is_whole() {
    let (host, mut plugin) = pair().await;
    let (mut hosts, mut plugins) = tunnel(&host, &mut plugin).await;
    plugins.write_all(b"all of it").await.unwrap();
    plugins.shutdown().await.unwrap();
    plugin.handle.close();
    host.handle.closed().await;
    assert!(std::future::poll_fn(|cx| Poll::Ready(hosts.poll_cut(cx).is_pending())).await);
    assert_eq!(rest(&mut hosts).await, b"all of it");
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_not_read() {
    each_way(async |mut acts: Tunnel, mut sees: Tunnel| {
        const CHUNK: usize = 1 << 10;
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let writer = tokio::spawn(async move {
            while acts.write_all(&[1; CHUNK]).await.is_ok() {
                count.fetch_add(CHUNK, Ordering::Relaxed);
            }
        });
        settle().await;
        let window = Limits::DEFAULT.window as usize;
        // Beyond the window one chunk waits at its source.
        assert_eq!(written.load(Ordering::Relaxed), window + CHUNK);
        sees.read_exact(&mut vec![0; window]).await.unwrap();
        settle().await;
        assert!(written.load(Ordering::Relaxed) >= 2 * window, "reading gives it room");
        drop(sees);
        writer.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn sixteen_mebibytes_pass_each_way_at_once_and_whole() {
    let (host, mut plugin) = pair().await;
    let (hosts, plugins) = tunnel(&host, &mut plugin).await;
    let pass = |tunnel: Tunnel, byte: u8| async move {
        let (mut read, mut write) = tokio::io::split(tunnel);
        let send = async {
            for n in 0..256_u32 {
                write.write_all(&vec![byte ^ n as u8; 64 << 10]).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let receive = async {
            let mut whole = Vec::new();
            read.read_to_end(&mut whole).await.unwrap();
            whole
        };
        tokio::join!(send, receive).1
    };
    let (at_host, at_plugin) = tokio::join!(pass(hosts, 0x55), pass(plugins, 0xaa));
    for (received, byte) in [(at_host, 0xaa), (at_plugin, 0x55)] {
        assert_eq!(received.len(), 16 << 20);
        assert!(
            received
                .chunks(64 << 10)
                .zip(0_u32..)
                .all(|(chunk, n)| chunk.iter().all(|b| *b == byte ^ n as u8))
        );
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let (host, mut plugin) = pair().await;
    let offered = spawn_offer(&host);
    let request = plugin.accept().await;
    assert!(http_body::Body::is_end_stream(&request.body), "an offer has no body");
    request.responder.respond(ok(), full("no")).await;
    let answer = offered.await.unwrap().unwrap();
    assert!(answer.tunnel.is_none());
    assert_eq!(collect(answer.body).await, "no");
    host.handle.idle().await;
    plugin.handle.idle().await;
}

#[tokio::test]
async fn a_plugin_cannot_take_an_upgrade_that_was_not_offered() {
    let (host, mut plugin) = pair().await;
    let asked = host.spawn_get("/");
    let request = plugin.accept().await;
    assert!(!request.responder.offers_upgrade());
    assert!(request.responder.upgrade(HeaderMap::new()).await.is_none());
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error:?}");
}

#[tokio::test]
async fn a_client_that_goes_before_the_101_takes_the_offer_with_it() {
    let (host, mut plugin) = pair().await;
    let offered = spawn_offer(&host);
    let request = plugin.accept().await;
    offered.abort();
    request.responder.cancelled().await;
    assert!(request.responder.upgrade(HeaderMap::new()).await.is_none());
    host.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn no_timer_ends_an_idle_tunnel() {
    let (host, mut plugin) = pair().await;
    let (mut hosts, mut plugins) = tunnel(&host, &mut plugin).await;
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    hosts.write_all(b"still").await.unwrap();
    plugins.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_offer_without_an_answer_ends_by_the_response_timer() {
    let (host, mut plugin) = pair().await;
    let offered = spawn_offer(&host);
    let request = plugin.accept().await;
    assert!(matches!(offered.await.unwrap(), Err(RequestError::TimedOut)));
    request.responder.cancelled().await;
}
