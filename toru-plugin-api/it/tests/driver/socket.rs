//! The socket of a link: what the kernel is asked to tell of it.

use std::{
    fs,
    future::poll_fn,
    io::{Read, Write},
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, net::UnixStream},
    },
    pin::Pin,
    task::Poll,
    thread,
};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use toru_plugin_api::driver::Socket;

/// EPOLLOUT (epoll_ctl(2)).
const WRITABLE: u32 = 4;
/// More than two sockets' buffers hold.
const MUCH: usize = 8 << 20;

/// What any epoll of this process watches this socket for, by whichever number (proc(5), `fdinfo`).
fn watched_for(inode: u64) -> u32 {
    let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let infos = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    infos.fold(0, |all, info| {
        let mine = info.lines().filter_map(|line| {
            let mut words = line.strip_prefix("tfd:")?.split_whitespace();
            let events = words.nth(2)?;
            let number = words.find_map(|word| word.strip_prefix("ino:"))?;
            let is_it = u64::from_str_radix(number, 16) == Ok(inode);
            u32::from_str_radix(events, 16).ok().filter(|_| is_it)
        });
        mine.fold(all, |all, events| all | events)
    })
}

/// How many numbers this socket has in this process.
fn descriptors(inode: u64) -> usize {
    let name = format!("socket:[{inode}]");
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    files.filter(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &*name)).count()
}

/// A socket, its inode, and its peer.
fn pair() -> (Socket, u64, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let inode = fs::metadata(format!("/proc/self/fd/{}", ours.as_raw_fd())).unwrap().ino();
    (Socket::new(ours).unwrap(), inode, theirs)
}

/// Writes until there is no room, and gives how much that was.
async fn fill(socket: &mut Socket) -> usize {
    let chunk = [0; 64 << 10];
    let mut sent = 0;
    while let Some(count) = poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *socket).poll_write(cx, &chunk) {
            Poll::Ready(count) => Some(count.unwrap()),
            Poll::Pending => None,
        })
    })
    .await
    {
        sent += count;
        assert!(sent < MUCH, "it is never full");
    }
    sent
}

#[tokio::test]
async fn a_socket_with_room_is_not_watched_for_room() {
    let (mut socket, inode, mut theirs) = pair();
    socket.write_all(b"ping").await.unwrap();
    let mut text = [0; 4];
    theirs.read_exact(&mut text).unwrap();
    theirs.write_all(b"pong").unwrap();
    socket.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"pong");
    let events = watched_for(inode);
    assert_ne!(events, 0, "it is watched for reading");
    assert_eq!(events & WRITABLE, 0);
}

#[tokio::test]
async fn a_socket_that_is_full_needs_no_further_descriptor() {
    let (mut socket, inode, _theirs) = pair();
    let from_the_start = descriptors(inode);
    fill(&mut socket).await;
    assert_eq!(watched_for(inode) & WRITABLE, WRITABLE);
    assert_eq!(descriptors(inode), from_the_start);
}

#[tokio::test]
async fn a_socket_that_was_full_is_watched_for_room_until_it_is_quiet() {
    let (mut socket, inode, mut theirs) = pair();
    let mut unread = vec![0; fill(&mut socket).await];
    theirs.read_exact(&mut unread).unwrap();
    let mut byte = [0];
    let mut writes = 0;
    while watched_for(inode) & WRITABLE != 0 {
        socket.write_all(b"x").await.unwrap();
        theirs.read_exact(&mut byte).unwrap();
        writes += 1;
        assert!(writes < 1_000, "it is watched for ever");
    }
    assert!(writes > 1, "{writes}: it would be watched anew each time that it is full");
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
