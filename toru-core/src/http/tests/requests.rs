//! What reaches the plugin.

use std::sync::{Arc, Mutex};

use super::*;
use crate::http::{Caller, Identity, IdentityError};

/// A plugin that keeps the heads of its requests and answers with the path.
async fn recording() -> (Rig, Arc<Mutex<Vec<toru_plugin_api::message::http::RequestHead>>>) {
    recording_on(Rig::new()).await
}

async fn recording_on(rig: Rig) -> (Rig, Arc<Mutex<Vec<toru_plugin_api::message::http::RequestHead>>>) {
    let heads: Arc<Mutex<Vec<_>>> = Arc::default();
    let kept = heads.clone();
    rig.start(Settings::default(), move |request| {
        let path = request.head.path.to_string();
        kept.lock().unwrap().push(request.head.clone());
        say(request, path)
    })
    .await;
    (rig, heads)
}

#[tokio::test]
async fn the_rest_of_the_path_and_the_query_pass_untouched() {
    let (rig, _) = recording().await;
    for (path, seen) in [
        ("/r", "/"),
        ("/r/", "/"),
        ("/r/a/b", "/a/b"),
        ("/r?x=1", "/?x=1"),
        ("/r/a%20b?x=../%2f//%00&y=%zz", "/a%20b?x=../%2f//%00&y=%zz"),
        ("/r/a?", "/a?"),
        ("/r/%41", "/%41"),
    ] {
        assert_eq!(rig.get(path).await.body, seen, "{path}");
    }
}

#[tokio::test]
async fn paths_that_may_be_read_in_two_ways_are_400_and_reach_no_plugin() {
    let (rig, heads) = recording().await;
    for path in [
        "/r/..",
        "/r/../x",
        "/r/%2e%2e/x",
        "/r/%2E./x",
        "/r/a%2fb",
        "/r/a%5cb",
        "/r/a\\b",
        "/r/a%00",
        "/r//a",
        "/r/a//",
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status, answer.problem()), (400, "bad-path".to_owned()), "{path}");
    }
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn raw_paths_pass_encoded_slashes_and_empty_segments_and_nothing_else() {
    let (rig, _) = recording_on(Rig::over(TestHost::new(), |settings| settings.raw_paths = true)).await;
    for (path, seen) in [("/r/a%2Fb", "/a%2Fb"), ("/r//a", "//a"), ("/r/a//", "/a//")] {
        assert_eq!(rig.get(path).await.body, seen, "{path}");
    }
    for path in ["/r/..", "/r/..%2fx", "/r/a%5cb", "/r/a%00"] {
        assert_eq!(rig.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_mount_is_stripped_and_told() {
    let (mut rig, heads) = recording().await;
    rig.service = rig.service.at("/api/plugins/route/");
    assert_eq!(rig.get("/api/plugins/route/r/x").await.body, "/x");
    assert_eq!(rig.get("/api/plugins/route/r").await.body, "/");
    assert_eq!(heads.lock().unwrap()[0].headers["x-forwarded-prefix"], "/api/plugins/route/r");
    for path in ["/r/x", "/api/plugins/router/x", "/api/plugins/route", "/"] {
        assert_eq!(rig.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_router_in_front_may_have_stripped_the_mount() {
    let (mut rig, heads) = recording().await;
    rig.service = rig.service.nested_at("/mount");
    assert_eq!(rig.get("/r/x").await.body, "/x");
    assert_eq!(heads.lock().unwrap()[0].headers["x-forwarded-prefix"], "/mount/r");
}

#[tokio::test]
async fn what_the_embedder_knows_of_the_client_becomes_context() {
    let (rig, heads) = recording().await;
    let request = Request::get("/r/x")
        .header("host", "example.org")
        .header("x-toru-user", "forged")
        .header("X-Forwarded-For", "forged")
        .header("authorization", "Bearer secret")
        .header("cookie", "toru_session=secret; theme=dark")
        .header("accept", "a")
        .header("accept", "b")
        .extension(Caller::https("2001:db8::1".parse().unwrap()))
        .extension(Identity::new("ann", ["admin"]).unwrap().by_authorization())
        .body(Empty::new())
        .unwrap();
    assert_eq!(rig.send(request).await.status, 200);
    let headers = heads.lock().unwrap().remove(0).headers;
    for (name, value) in [
        ("host", "example.org"),
        ("x-forwarded-host", "example.org"),
        ("x-forwarded-for", "2001:db8::1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/r"),
        ("x-toru-user", "ann"),
        ("x-toru-roles", "admin"),
        ("x-toru-timeout-ms", "30000"),
        ("cookie", "theme=dark"),
    ] {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    assert!(headers.contains_key("traceparent") && headers.contains_key("x-toru-request-id"));
    assert!(!headers.contains_key("authorization"));
    assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["a", "b"], "duplicates stay");
}

#[tokio::test]
async fn two_host_fields_are_400() {
    let (rig, heads) = recording().await;
    let request = Request::get("/r").header("host", "a").header("host", "b").body(Empty::new()).unwrap();
    let answer = rig.send(request).await;
    assert_eq!((answer.status, answer.problem()), (400, "bad-host".to_owned()));
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_length_that_is_none_or_not_that_of_the_body_is_400_and_reaches_no_plugin() {
    let (rig, heads) = recording().await;
    for (lengths, body) in [
        (&["3", "3"][..], "abc"),
        (&["+3"], "abc"),
        (&["3, 3"], "abc"),
        (&[""], "abc"),
        (&["18446744073709551616"], "abc"),
        (&["4"], "abc"),
        (&["2"], "abc"),
        (&["3"], ""),
    ] {
        let mut request = Request::post("/r").body(Full::new(Bytes::from(body))).unwrap();
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().unwrap());
        }
        let answer = rig.send(request).await;
        assert_eq!((answer.status, answer.problem()), (400, "body-broken".to_owned()), "{lengths:?}");
    }
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn connect_is_501() {
    let (rig, _) = recording().await;
    let request = Request::builder().method("CONNECT").uri("example.org:80").body(Empty::new()).unwrap();
    let answer = rig.send(request).await;
    assert_eq!((answer.status, answer.problem()), (501, "method-not-supported".to_owned()));
}

#[tokio::test]
async fn an_upgrade_that_is_not_offered_arrives_as_a_plain_request() {
    let (rig, heads) = recording().await;
    let request = Request::get("/r")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "x")
        .body(Empty::new())
        .unwrap();
    assert_eq!(rig.send(request).await.status, 200);
    let headers = heads.lock().unwrap().remove(0).headers;
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"));
    assert!(headers.contains_key("sec-websocket-key"));
}

#[tokio::test]
async fn the_tower_service_does_the_same() {
    let (rig, _) = recording().await;
    let mut service = rig.service.clone();
    let request = Request::get("/r/x").body(Empty::<Bytes>::new()).unwrap();
    let response = tower_service::Service::call(&mut service, request).await.unwrap();
    assert_eq!(whole(response).await.body, "/x");
}

#[test]
fn the_service_can_be_shared_between_threads() {
    fn is_shareable<T: Clone + Send + Sync + 'static>() {}
    is_shareable::<PluginService>();
}

#[test]
fn roles_that_would_be_read_as_others_are_refused_with_their_name() {
    for role in ["", "cn=staff,admin", ",", " admin", "admin ", "\tadmin", "\u{a0}admin"] {
        let refused = Identity::new("ann", ["user", role]).unwrap_err();
        assert_eq!(refused, IdentityError::Role(role.to_owned()));
        assert!(refused.to_string().contains(&format!("{role:?}")), "{refused}");
    }
    assert_eq!(Identity::new("ann", ["power user", "Ärzte"]).unwrap().roles, "power user,Ärzte");
    assert_eq!(Identity::new("ann", []).unwrap().roles, "");
    let refused = Identity::new("an\nn", ["user"]).unwrap_err();
    assert_eq!(refused, IdentityError::ControlCharacter("an\nn".to_owned()));
}
