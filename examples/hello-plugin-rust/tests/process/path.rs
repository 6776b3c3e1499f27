//! The plugin on a path: `transport = "path"`, and started by hand.

use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt, process::ExitStatusExt},
    path::Path,
    time::{Duration, Instant},
};

use crate::{command, connect, output, text};

/// No plugin takes as long to listen.
const HANG: Duration = Duration::from_secs(60);

/// Connects as a host does: as soon as the plugin listens.
async fn reach(path: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(begun.elapsed() < HANG, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn plugin_of_a_host_serves_on_its_path_and_dies_with_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.sock");
    let child = command()
        .env("TORU_PLUGIN_SOCKET", &path)
        .env("TORU_INSTANCE_ID", "2f6")
        .process_group(0)
        .spawn()
        .unwrap();
    let (handle, _incoming) = connect(reach(&path).await).await;
    assert!(UnixStream::connect(&path).is_err(), "it takes a second connection");
    handle.close();
    assert_eq!(output(child).await.status.signal(), Some(9));
}

#[tokio::test]
async fn plugin_that_was_started_by_hand_ends_well_when_its_host_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.sock");
    let child = command().env("TORU_PLUGIN_SOCKET", &path).process_group(0).spawn().unwrap();
    let (handle, _incoming) = connect(reach(&path).await).await;
    handle.close();
    let output = output(child).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stderr).contains("waiting for a host to attach"), "{output:?}");
}

#[tokio::test]
async fn who_connects_and_is_no_host_neither_keeps_the_host_out_nor_ends_the_plugin() {
    for started_by_host in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.sock");
        let mut command = command();
        if started_by_host {
            command.env("TORU_INSTANCE_ID", "2f6");
        }
        let child = command.env("TORU_PLUGIN_SOCKET", &path).process_group(0).spawn().unwrap();
        drop(reach(&path).await);
        let mut browser = reach(&path).await;
        browser.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert_eq!(browser.read(&mut [0; 1]).unwrap(), 0, "it is let go");
        let mut half = reach(&path).await;
        half.write_all(&[0, 0, 1, 0, b'{']).unwrap();
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(reach(&path).await);
        }
        let (handle, _incoming) = connect(reach(&path).await).await;
        assert_eq!(silent[99].read(&mut [0; 1]).unwrap(), 0, "it is let go once the host is there");
        handle.close();
        let output = output(child).await;
        let ended_well = if started_by_host { Some(9) } else { None };
        assert_eq!(output.status.signal(), ended_well, "{output:?}");
        assert!(text(&output.stderr).contains("a connection was no host's"), "{output:?}");
    }
}

#[test]
fn path_that_no_socket_can_have_is_refused() {
    for (path, complaint) in [("x".repeat(108), "at most 107"), ("nowhere/x.sock".to_owned(), "No such file")]
    {
        let output = command().env("TORU_PLUGIN_SOCKET", &path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(complaint), "{output:?}");
    }
}
