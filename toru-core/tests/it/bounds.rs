//! What plugins and clients cannot make the host hold. The memory that is measured is that of a process of the test's own.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use toru_core::{MAX_LANES, PluginService};
use tower_service::Service;

use crate::scene::{Memory, Scene, alone, get, running, status_when, times, within};

const MIB: u64 = 1 << 10;
const UPLOAD: usize = 64 << 20;
const CLIENTS: usize = 200;
const CANCELS: u32 = 10_000;
const REQUESTS: u32 = 1_000;

/// 64 MiB of a client that has them at hand.
struct Upload {
    chunk: Bytes,
    left: usize,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= self.chunk.len();
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

#[test]
fn uploads_of_200_clients_that_nobody_reads_hold_at_most_48_mib() {
    alone("bounds::uploads_of_200_clients_that_nobody_reads_hold_at_most_48_mib", async {
        let mut scene = Scene::new();
        scene.config.response_timeout = Duration::from_secs(2);
        scene.config.queue_wait = Duration::from_secs(1);
        scene.config.shutdown_grace = Duration::ZERO;
        scene.plugin("deaf", "stop-reading");
        let supervisor = scene.start().await;
        running(&supervisor, "deaf").await;
        let memory = Memory::now();
        let chunk = Bytes::from(vec![b'x'; 64 << 10]);
        let clients = (0..CLIENTS).map(|_| {
            let mut service = supervisor.service();
            let body = Upload { chunk: chunk.clone(), left: UPLOAD };
            tokio::spawn(async move {
                let request = Request::post("/deaf/").body(body).unwrap();
                within(service.call(request)).await.unwrap().status()
            })
        });
        for client in clients.collect::<Vec<_>>() {
            let status = client.await.unwrap();
            assert!(
                matches!(status, StatusCode::GATEWAY_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE),
                "{status}"
            );
        }
        let growth = memory.growth_kib();
        eprintln!("{CLIENTS} uploads that nobody reads: the resident memory grew by {growth} KiB");
        assert!(growth <= 48 * MIB, "{growth} KiB");
        within(supervisor.shutdown()).await;
    });
}

/// What one link would hold without giving it back is a few hundred KiB; all of them together, some ten MiB.
const IDLE_LINKS_KIB: u64 = 4 * MIB;

#[test]
fn links_that_are_idle_give_their_buffers_back() {
    alone("bounds::links_that_are_idle_give_their_buffers_back", async {
        let scene = Scene::new();
        scene.sdk_plugin("sdk");
        let supervisor = scene.builder().build().unwrap();
        let mut lanes: Vec<_> = (0..MAX_LANES).map(|_| supervisor.lane()).collect();
        supervisor.initialize().await.unwrap();
        status_when(&supervisor, "sdk", |status| status.links == 1 + MAX_LANES).await;
        let body = Bytes::from(vec![b'x'; 4 << 20]);
        echo(&mut lanes[0], &body).await;
        let memory = Memory::now();
        for lane in &mut lanes {
            echo(lane, &body).await;
        }
        let growth = memory.growth_kib();
        eprintln!("{MAX_LANES} links after 4 MiB on each: the resident memory grew by {growth} KiB");
        assert!(growth <= IDLE_LINKS_KIB, "{growth} KiB");
        within(supervisor.shutdown()).await;
    });
}

async fn echo(service: &mut PluginService, body: &Bytes) {
    let request = Request::post("/sdk/echo").body(Full::new(body.clone())).unwrap();
    let answer = within(service.call(request)).await.unwrap();
    let mut echoed = 0;
    let mut answer = answer.into_body();
    while let Some(frame) = within(answer.frame()).await {
        echoed += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    assert_eq!(echoed, body.len());
}

#[test]
fn requests_that_are_given_up_at_once_hold_at_most_16_mib() {
    alone("bounds::requests_that_are_given_up_at_once_hold_at_most_16_mib", async {
        let scene = Scene::new();
        scene.plugin("ok", "ok");
        let supervisor = scene.start().await;
        running(&supervisor, "ok").await;
        let mut service = supervisor.service();
        assert_eq!(get(&mut service, "/ok/").await.0, StatusCode::OK);
        let memory = Memory::now();
        for number in 0..times("TORU_CANCELS", CANCELS) {
            let request = Request::get("/ok/").body(Empty::<Bytes>::new()).unwrap();
            let mut answer = service.call(request);
            // Almost never: the answer is there before the first step has ended.
            if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
                assert_eq!(answer.unwrap().status(), StatusCode::OK);
            }
            if number % 100 == 0 {
                assert_eq!(get(&mut service, "/ok/").await.0, StatusCode::OK, "after {number}");
            }
        }
        let growth = memory.growth_kib();
        eprintln!("requests given up at once: the resident memory grew by {growth} KiB");
        assert!(growth <= 16 * MIB, "{growth} KiB");
        assert_eq!(supervisor.status("ok").unwrap().restarts, 0);
        within(supervisor.shutdown()).await;
    });
}

#[test]
fn a_plugin_that_floods_its_link_disturbs_nobody_and_holds_at_most_16_mib() {
    alone("bounds::a_plugin_that_floods_its_link_disturbs_nobody_and_holds_at_most_16_mib", async {
        let mut scene = Scene::new();
        scene.config.shutdown_grace = Duration::ZERO;
        scene.plugin("floods", "flood-link").plugin("good", "ok");
        let supervisor = scene.start().await;
        running(&supervisor, "floods").await;
        running(&supervisor, "good").await;
        let memory = Memory::now();
        let mut service = supervisor.service();
        for _ in 0..REQUESTS {
            assert_eq!(get(&mut service, "/good/").await.0, StatusCode::OK);
        }
        let growth = memory.growth_kib();
        eprintln!("a link that is flooded: the resident memory grew by {growth} KiB");
        assert!(growth <= 16 * MIB, "{growth} KiB");
        assert_eq!(supervisor.status("good").unwrap().restarts, 0);
        within(supervisor.shutdown()).await;
    });
}
