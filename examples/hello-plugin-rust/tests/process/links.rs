//! The links beside the first: one for each further lane of the host.

use std::time::Duration;

use http_body_util::BodyExt;
use toru_plugin_api::{
    Body,
    driver::{RequestBody, RequestError},
    frame::ResetCode,
    http::{HeaderMap, Method},
    message::http::RequestHead,
};

use crate::{command, connect, connect_as, get_json, output, spawn, spawn_with_links, text};

const GRACE: Duration = Duration::from_secs(5);
/// Requests that may still be taken after `shutdown` was sent on another socket.
const LATE_REQUESTS: usize = 100_000;

#[tokio::test]
async fn each_further_link_serves_after_its_own_ready() {
    let (child, [first, second, third]) = spawn_with_links(&mut command());
    let (first, _first_incoming) = connect(first).await;
    let (second, _second_incoming) = connect_as(second, Some(1)).await;
    let (third, _third_incoming) = connect_as(third, Some(2)).await;
    for link in [&first, &second, &third] {
        assert_eq!(get_json(link).await.unwrap(), 100);
    }
    first.shutdown(GRACE);
    assert_eq!(output(child).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_further_link_that_is_lost_or_never_opened_is_no_failure() {
    let (child, [first, second, never]) = spawn_with_links(&mut command());
    let (first, _incoming) = connect(first).await;
    let (second, _) = connect_as(second, Some(1)).await;
    second.close();
    second.closed().await;
    assert_eq!(get_json(&first).await.unwrap(), 100);
    drop(never);
    assert_eq!(get_json(&first).await.unwrap(), 100);
    first.shutdown(GRACE);
    assert_eq!(output(child).await.status.code(), Some(0));
}

#[tokio::test]
async fn shutdown_on_the_first_link_finishes_and_refuses_on_the_others() {
    let (child, [first, second]) = spawn_with_links(&mut command());
    let (first, _first_incoming) = connect(first).await;
    let (second, _second_incoming) = connect_as(second, Some(1)).await;
    let head =
        RequestHead { method: Method::POST, path: "/echo".parse().unwrap(), headers: HeaderMap::new() };
    let (sender, body) = Body::channel();
    let echo = second.request(head, RequestBody::Stream(body)).await.unwrap().body;
    first.shutdown(GRACE);
    let mut refused = None;
    for _ in 0..LATE_REQUESTS {
        if let Err(error) = get_json(&second).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(RequestError::Reset(ResetCode::REFUSED))), "{refused:?}");
    sender.send("the rest").await.unwrap();
    drop(sender);
    assert_eq!(echo.collect().await.unwrap().to_bytes(), "the rest");
    assert_eq!(output(child).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_host_that_breaks_the_protocol_on_a_further_link_ends_the_plugin() {
    let (child, [first, second]) = spawn_with_links(&mut command());
    let (_first, _incoming) = connect(first).await;
    std::io::Write::write_all(&mut &second, b"\0\0\0\x05hello, this is no frame").unwrap();
    let output = output(child).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("the link to the host failed: protocol error"), "{output:?}");
}

#[test]
fn a_list_of_further_links_that_cannot_be_used_is_refused_with_the_reason() {
    for (list, complaint) in [
        ("4,", "\"4,\" is no list of numbers such as \"4,5\""),
        ("999", "999: Bad file descriptor"),
        ("1", "1: the number is that of a standard stream"),
    ] {
        let (child, _host) = spawn(command().env("TORU_PLUGIN_EXTRA_FDS", list));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = format!("the sockets in TORU_PLUGIN_EXTRA_FDS cannot be used: {complaint}");
        assert!(text(&output.stderr).contains(&told), "{output:?}");
    }
}
