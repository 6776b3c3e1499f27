//! Plain requests beside open WebSockets, which go through the same host to another plugin.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::beside;
use crate::{
    Outcome,
    load::Target,
    options::Common,
    report::Report,
    system::{Heads, Host, Plugin, System, install_todo},
};

/// WebSockets that are open.
const SOCKETS: usize = 1_000;
/// Of the requests beside them: a host has 1,024 connections, of which it keeps 16 for its operators.
const CONNECTIONS: u32 = 8;
/// The longest head of an answer.
const HEAD_MAX: usize = 8 << 10;
/// The longest silence of an upgrade.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    let (alone, with_sockets) = (serve()?, serve()?);
    let target = with_sockets.target_at("/api/plugins/route/todo/live");
    let mut sockets = (0..SOCKETS).map(|_| open(&target)).collect::<Outcome<Vec<_>>>()?;
    let named = format!("{SOCKETS} open WebSockets");
    beside::run([&alone, &with_sockets], &named, "websockets-1000-request", CONNECTIONS, options, report)?;
    for socket in &mut sockets {
        refuse_closed(socket)?;
    }
    Ok(())
}

/// The shipped host with the Rust example, which is asked, and with `todo-axum`.
fn serve() -> Outcome<System> {
    let host = Host::with(Plugin::Rust, Heads::AsShipped)?;
    install_todo(&host.plugins().join("todo"))?;
    host.serve(Plugin::Rust.id())
}

/// A WebSocket whose upgrade was answered (RFC 6455 section 4.1).
fn open(target: &Target) -> Outcome<TcpStream> {
    let Target { authority, prefix, header } = target;
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let token = header.as_deref().unwrap_or_default();
    write!(
        stream,
        "GET {prefix} HTTP/1.1\r\nHost: {authority}\r\n{token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 || head.len() == HEAD_MAX {
            return Err(format!("an upgrade was answered with {:?}", String::from_utf8_lossy(&head)).into());
        }
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(format!("an upgrade was refused: {:?}", String::from_utf8_lossy(&head)).into());
    }
    Ok(stream)
}

/// Reads what has arrived: its end must not have.
fn refuse_closed(socket: &mut TcpStream) -> Outcome<()> {
    socket.set_nonblocking(true)?;
    let mut arrived = [0; HEAD_MAX];
    loop {
        match socket.read(&mut arrived) {
            Ok(0) => return Err("a WebSocket was closed while requests were measured beside it".into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("a WebSocket broke beside requests: {error}").into()),
        }
    }
}
