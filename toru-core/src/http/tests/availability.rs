//! Plugins that are not there, not yet there, or full. All in simulated time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use super::*;
use crate::lanes::Lanes;

/// Counts how many run at once.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answers to so many requests at once, as status, type of problem, and when they came.
async fn crowd(rig: &Arc<Rig>, size: usize) -> Vec<(u16, String, Duration)> {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..size {
        let rig = rig.clone();
        asking.spawn(async move {
            let answer = rig.get("/r").await;
            let problem = if answer.status == 200 { String::new() } else { answer.problem() };
            assert_eq!(answer.headers.contains_key("retry-after"), answer.status == 503);
            (answer.status, problem, began.elapsed())
        });
    }
    asking.join_all().await
}

fn count(answers: &[(u16, String, Duration)], status: u16, problem: &str) -> usize {
    answers.iter().filter(|answer| answer.0 == status && answer.1 == problem).count()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_waiting_handler_all_get_200_and_at_most_128_run_at_once() {
    let gauge = Arc::new(Gauge::default());
    let seen = gauge.clone();
    let rig = rig(move |request| {
        let gauge = gauge.clone();
        async move {
            gauge.enter();
            tokio::time::sleep(Duration::from_millis(100)).await;
            gauge.leave();
            say(request, "ok").await;
        }
    })
    .await;
    let answers = crowd(&Arc::new(rig), 1_000).await;
    assert_eq!(count(&answers, 200, ""), 1_000);
    assert_eq!(seen.most.load(Ordering::Relaxed), 128);
}

#[tokio::test(start_paused = true)]
async fn of_a_handler_that_never_answers_128_run_the_queue_holds_its_bound_and_the_rest_is_503() {
    let gauge = Arc::new(Gauge::default());
    let seen = gauge.clone();
    let rig = rig(move |request| {
        gauge.enter();
        async move { request.responder.cancelled().await }
    })
    .await;
    let answers = crowd(&Arc::new(rig), 2_000).await;
    assert_eq!(seen.now.load(Ordering::Relaxed), 128, "exactly so many ever ran");
    assert_eq!(count(&answers, 504, "answer-timeout"), 128);
    assert_eq!(count(&answers, 503, "plugin-unavailable"), 1_024);
    assert_eq!(count(&answers, 503, "plugin-busy"), 2_000 - 128 - 1_024);
    for (_, problem, after) in answers {
        match &*problem {
            "plugin-busy" => assert_eq!(after, Duration::ZERO),
            "plugin-unavailable" => assert_eq!(after.as_secs(), 5),
            _ => assert_eq!(after.as_secs(), 30),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_once_the_head_is_there() {
    let rig = Rig::over(TestHost::new(), |settings| settings.max_in_flight = 1);
    rig.start(Settings::default(), |request| async move {
        // The body never ends.
        let (_sender, body) = http_body_util::Channel::<Bytes, std::convert::Infallible>::new(1);
        request.responder.respond(head(200, &[]), body).await;
    })
    .await;
    let get = || Request::get("/r").body(Empty::<Bytes>::new()).unwrap();
    let first = rig.service.forward(get()).await;
    let second = rig.service.forward(get()).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn unknown_and_disabled_are_404_and_failed_is_503() {
    let rig = Rig::new();
    let unknown = rig.get("/other").await;
    assert_eq!((unknown.status, unknown.problem()), (404, "no-such-plugin".to_owned()));
    rig.endpoint.set(Availability::Disabled);
    let disabled = rig.get("/r").await;
    assert_eq!((disabled.status, disabled.problem()), (404, "plugin-disabled".to_owned()));
    rig.endpoint.set(Availability::Failed);
    let failed = rig.get("/r").await;
    assert_eq!((failed.status, failed.problem()), (503, "plugin-failed".to_owned()));
    assert!(!failed.headers.contains_key("retry-after"), "it does not come back by itself");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_plugin_that_starts_and_then_is_503() {
    let rig = Arc::new(Rig::new());
    let answers = crowd(&rig, 1_025).await;
    assert_eq!(count(&answers, 503, "plugin-unavailable"), 1_024);
    assert_eq!(count(&answers, 503, "plugin-busy"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_answered_as_soon_as_the_plugin_is_ready() {
    let rig = Arc::new(Rig::new());
    let waiting = tokio::spawn({
        let rig = rig.clone();
        async move { crowd(&rig, 1_000).await }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    rig.start(Settings::default(), |request| say(request, "ok")).await;
    assert_eq!(count(&waiting.await.unwrap(), 200, ""), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_learns_that_the_plugin_was_disabled() {
    let rig = Arc::new(Rig::new());
    let waiting = tokio::spawn({
        let rig = rig.clone();
        async move { rig.get("/r").await }
    });
    tokio::task::yield_now().await;
    rig.endpoint.set(Availability::Disabled);
    assert_eq!(waiting.await.unwrap().status, 404);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_on_a_link_that_goes_is_served_by_its_successor() {
    let rig = Arc::new(Rig::over(TestHost::new(), |settings| settings.max_in_flight = 1));
    let (_, link) =
        rig.start(Settings::default(), |request| async move { request.responder.cancelled().await }).await;
    let ask = || {
        let rig = rig.clone();
        tokio::spawn(async move { rig.get("/r").await })
    };
    let (first, second) = (ask(), ask());
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.endpoint.set(Availability::Waiting);
    link.close();
    assert_eq!(first.await.unwrap().status, 502);
    rig.start(Settings::default(), |request| say(request, "successor")).await;
    assert_eq!(second.await.unwrap().body, "successor");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_takes_one_stream_gets_one_request_at_a_time() {
    let gauge = Arc::new(Gauge::default());
    let seen = gauge.clone();
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.limits.max_streams = 1;
    settings.features = toru_plugin_api::message::lifecycle::Features::default();
    rig.start(settings, move |request| {
        let gauge = gauge.clone();
        async move {
            gauge.enter();
            tokio::time::sleep(Duration::from_millis(100)).await;
            gauge.leave();
            say(request, "ok").await;
        }
    })
    .await;
    let answers = crowd(&Arc::new(rig), 20).await;
    assert_eq!(count(&answers, 200, ""), 20);
    assert_eq!(seen.most.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lane_uses_its_own_link_and_without_one_the_first() {
    let rig = Rig::new();
    let (_, first) = rig.start(Settings::default(), |request| say(request, "first")).await;
    let (_, second) = rig.start(Settings::default(), |request| say(request, "second")).await;
    let lanes = Lanes::new(Handle::current());
    let [of_second, without, ended] = [(); 3].map(|()| lanes.add(Handle::current()).unwrap());
    let id = |lane: &Lease| lane.id().unwrap();
    rig.ready_with(&first, vec![(id(&of_second), second.clone()), (id(&ended), second)]);
    drop(ended);
    let in_its_place = lanes.add(Handle::current()).unwrap();
    let own = Lease::own();
    for (lane, link) in [(own, "first"), (of_second, "second"), (without, "first"), (in_its_place, "first")] {
        let mut service = rig.service.clone();
        service.lane = lane.clone();
        let response = service.forward(Request::get("/r").body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(whole(response).await.body, link, "{lane:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_lane_waits_for_the_successor_whichever_link_of_a_dying_plugin_goes_first() {
    let rig = Arc::new(Rig::new());
    let lanes = Lanes::new(Handle::current());
    let lane = lanes.add(Handle::current()).unwrap();
    for is_told_one_by_one in [false, true] {
        let (_, first) = rig.start(Settings::default(), |request| say(request, "dead")).await;
        let (_, second) = rig.start(Settings::default(), |request| say(request, "dead")).await;
        rig.ready_with(&first, vec![(lane.id().unwrap(), second.clone())]);
        second.close();
        first.close();
        let mut service = rig.service.clone();
        service.lane = lane.clone();
        let asked = tokio::spawn(async move {
            whole(service.forward(Request::get("/r").body(Empty::<Bytes>::new()).unwrap()).await).await
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        if is_told_one_by_one {
            rig.ready(&first);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!asked.is_finished(), "nothing was sent, and the successor is to come");
        rig.endpoint.set(Availability::Waiting);
        rig.start(Settings::default(), |request| say(request, "successor")).await;
        assert_eq!(asked.await.unwrap().body, "successor");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_link_that_is_lost_alone_goes_by_the_first() {
    let rig = Rig::new();
    let lanes = Lanes::new(Handle::current());
    let lane = lanes.add(Handle::current()).unwrap();
    let (_, first) = rig.start(Settings::default(), |request| say(request, "first")).await;
    let (_, second) = rig.start(Settings::default(), |request| say(request, "second")).await;
    rig.ready_with(&first, vec![(lane.id().unwrap(), second.clone())]);
    second.close();
    let mut service = rig.service.clone();
    service.lane = lane;
    let asked = service.forward(Request::get("/r").body(Empty::<Bytes>::new()).unwrap());
    let told = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        rig.ready(&first);
    };
    let (answer, ()) = tokio::join!(asked, told);
    assert_eq!(whole(answer).await.body, "first");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_stays_keeps_its_requests_places() {
    let rig = Rig::over(TestHost::new(), |settings| settings.max_in_flight = 1);
    let (_, link) =
        rig.start(Settings::default(), |request| async move { request.responder.cancelled().await }).await;
    let rig = Arc::new(rig);
    let running = tokio::spawn({
        let rig = rig.clone();
        async move { rig.get("/r").await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.ready(&link);
    let answer = rig.get("/r").await;
    assert_eq!(answer.problem(), "plugin-unavailable", "its one place is taken still");
    assert_eq!(running.await.unwrap().status, 504);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_whose_streams_are_all_taken_by_endless_answers_is_503_in_time() {
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.limits.max_streams = 2;
    rig.start(settings, |request| async move {
        let (_sender, body) = http_body_util::Channel::<Bytes, std::convert::Infallible>::new(1);
        request.responder.respond(head(200, &[]), body).await;
    })
    .await;
    let get = || Request::get("/r").body(Empty::<Bytes>::new()).unwrap();
    let first = rig.service.forward(get()).await;
    let _second = rig.service.forward(get()).await;
    let began = Instant::now();
    let third = rig.get("/r").await;
    assert_eq!((third.status, third.problem()), (503, "plugin-unavailable".to_owned()));
    assert_eq!(began.elapsed().as_secs(), 5);
    let freeing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
    };
    let (fourth, ()) = tokio::join!(rig.service.forward(get()), freeing);
    assert_eq!(fourth.status(), 200, "a stream is free again");
}
