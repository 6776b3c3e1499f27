//! The socket of a link: what the kernel is asked to tell of it.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    thread,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toru_plugin_api::driver::Socket;

/// EPOLLOUT (epoll_ctl(2)).
const WRITABLE: u32 = 4;
/// More than two sockets' buffers hold.
const MUCH: usize = 8 << 20;

/// What any epoll of this process watches this descriptor for (proc(5), `fdinfo`).
fn watched_for(number: RawFd) -> u32 {
    let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let infos = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    infos.fold(0, |all, info| {
        let mine = info.lines().filter_map(|line| {
            let mut words = line.strip_prefix("tfd:")?.split_whitespace();
            let is_it = words.next()?.parse() == Ok(number);
            let events = words.nth(1).filter(|_| is_it)?;
            u32::from_str_radix(events, 16).ok()
        });
        mine.fold(all, |all, events| all | events)
    })
}

fn pair() -> (Socket, RawFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let number = ours.as_raw_fd();
    (Socket::new(ours).unwrap(), number, theirs)
}

#[tokio::test]
async fn a_socket_with_room_is_not_watched_for_room() {
    let (mut socket, number, mut theirs) = pair();
    socket.write_all(b"ping").await.unwrap();
    let mut text = [0; 4];
    theirs.read_exact(&mut text).unwrap();
    theirs.write_all(b"pong").unwrap();
    socket.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"pong");
    let events = watched_for(number);
    assert_ne!(events, 0, "it is watched for reading");
    assert_eq!(events & WRITABLE, 0);
}

#[tokio::test]
async fn a_full_socket_is_written_to_again_once_its_peer_has_read() {
    let (mut socket, _, mut theirs) = pair();
    let sent: Vec<u8> = (0..MUCH).map(|n| (n % 251) as u8).collect();
    let reader = thread::spawn(move || {
        let mut got = vec![0; MUCH];
        theirs.read_exact(&mut got).unwrap();
        (got, theirs)
    });
    socket.write_all(&sent).await.unwrap();
    let (got, mut theirs) = reader.join().unwrap();
    assert!(got == sent, "all has arrived, in order");
    socket.shutdown().await.unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn the_end_of_a_peer_is_read_behind_its_last_words() {
    let (mut socket, _, mut theirs) = pair();
    theirs.write_all(b"last").unwrap();
    drop(theirs);
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last");
    socket.write_all(b"lost").await.unwrap_err();
}
