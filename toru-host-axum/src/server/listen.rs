//! The sockets that clients connect to.

use std::{io, net::SocketAddr};

use rustix::net::sockopt::set_socket_reuseport;
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs};

/// Connections that wait to be accepted on each socket: what the standard library takes, too.
const BACKLOG: u32 = 1_024;

/// Listens on an address with so many sockets, among which the kernel shares out the connections.
///
/// The first is bound and listens without SO_REUSEPORT, so that a second host on the same port fails as it should, and gets the
/// option only then: the kernel looks at it whenever another socket asks to join (Linux `inet_csk_bind_conflict`).
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
    Ok((listeners, local))
}
