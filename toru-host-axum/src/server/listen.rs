//! The sockets that clients connect to.

use std::{io, net::SocketAddr, os::fd::AsFd, time::Duration};

use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_reuseport, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs};

/// Connections that wait to be accepted on each socket: what the standard library takes, too.
const BACKLOG: u32 = 1_024;

/// A quiet client's system is asked whether it is still there after so long, then so often, and taken for gone after so many
/// questions: two minutes in all. Otherwise who vanished from behind a quiet WebSocket would hold its place for ever. While something is on the
/// way to a client it is not asked: the kernel sends that again, and gives up after `net.ipv4.tcp_retries2` times (some 15 minutes).
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Listens on an address with so many sockets, among which the kernel shares out the connections.
///
/// The first is bound and listens without SO_REUSEPORT, so that a second host on the same port fails as it should, and gets the
/// option only then: the kernel looks at it whenever another socket asks to join (Linux `inet_csk_bind_conflict`). With several sockets
/// a process of the same user can therefore join.
pub(super) async fn listen(
    address: impl ToSocketAddrs,
    sockets: usize,
) -> io::Result<(Vec<std::net::TcpListener>, SocketAddr)> {
    let first = TcpListener::bind(address).await?;
    let local = first.local_addr()?;
    let mut listeners = vec![first.into_std()?];
    if sockets > 1 {
        set_socket_reuseport(&listeners[0], true)?;
    }
    for _ in 1..sockets {
        let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(local)?;
        listeners.push(socket.listen(BACKLOG)?.into_std()?);
    }
    listeners.iter().try_for_each(probe_clients)?;
    Ok((listeners, local))
}

/// Has the system ask for clients that say nothing. Linux has each connection inherit this from the socket that it is accepted on.
fn probe_clients(listener: impl AsFd) -> io::Result<()> {
    set_socket_keepalive(&listener, true)?;
    set_tcp_keepidle(&listener, PROBE_AFTER)?;
    set_tcp_keepintvl(&listener, PROBE_INTERVAL)?;
    Ok(set_tcp_keepcnt(&listener, PROBES)?)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{socket_keepalive, tcp_keepcnt, tcp_keepidle, tcp_keepintvl};

    use super::*;

    #[tokio::test]
    async fn a_quiet_client_that_vanishes_is_noticed_within_two_minutes() {
        let (listeners, local) = listen("127.0.0.1:0", 2).await.unwrap();
        for listener in listeners {
            // The kernel chooses the socket for a connection: connect until it is this one.
            listener.set_nonblocking(true).unwrap();
            let mut clients = Vec::new();
            let accepted = loop {
                assert!(clients.len() < 1_000, "the kernel never chooses this socket");
                clients.push(std::net::TcpStream::connect(local).unwrap());
                if let Ok((accepted, _)) = listener.accept() {
                    break accepted;
                }
            };
            assert!(socket_keepalive(&accepted).unwrap());
            let after = tcp_keepidle(&accepted).unwrap();
            let between = tcp_keepintvl(&accepted).unwrap() * tcp_keepcnt(&accepted).unwrap();
            assert_eq!(after + between, Duration::from_secs(120));
        }
    }
}
