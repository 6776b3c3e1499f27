//! How the driver uses its socket.

use std::io::{self, IoSlice};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::{tunnels::tunnel, *};
use toru_plugin_api::message::kv::{KvAnswer, KvCall};

/// Counts the writes of the stream inside, and sees how much each read may take.
struct CountWrites<IO> {
    io: IO,
    writes: Arc<AtomicUsize>,
    read_room: Arc<AtomicUsize>,
}

impl<IO> CountWrites<IO> {
    fn new(io: IO) -> Self {
        Self { io, writes: Arc::default(), read_room: Arc::default() }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for CountWrites<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read_room.store(buf.remaining(), Ordering::Relaxed);
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for CountWrites<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_is_commanded_in_one_turn_leaves_in_one_write() {
    let (host_io, plugin_io) = tokio::net::UnixStream::pair().unwrap();
    let plugin_io = CountWrites::new(plugin_io);
    let writes = plugin_io.writes.clone();
    let (host, plugin) = pair_over(host_io, plugin_io, settings(), settings()).await;
    plugin.serve(|request| request.responder.respond(ok(), full("answer")));
    let before = writes.load(Ordering::Relaxed);
    let asking: Vec<_> = (0..64).map(|_| host.spawn_get("/")).collect();
    for asking in asking {
        asking.await.unwrap().unwrap();
    }
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_while_writing_is_blocked() {
    let (mut host, plugin) = pair().await;
    let store = tokio::spawn(async move {
        while let Some(event) = host.incoming.next().await {
            if let IncomingEvent::Kv(call) = event {
                call.responder.answer(Ok(KvAnswer::Value(Some(vec![b'v'; 100_000].into()))));
            }
        }
    });
    // Each call is longer than the pipe, and so is each answer: whoever stopped reading to write would stop for ever.
    let call = |n: usize| KvCall::CompareAndSet {
        key: n.to_string(),
        expected: None,
        value: Some(vec![b'w'; 100_000].into()),
        ttl_ms: None,
    };
    let calling: Vec<_> = (0..30)
        .map(|n| {
            let handle = plugin.handle.clone();
            tokio::spawn(async move { handle.call_kv(call(n)).await })
        })
        .collect();
    for calling in calling {
        assert!(calling.await.unwrap().is_ok());
    }
    plugin.handle.close();
    store.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_link_with_an_idle_tunnel_gives_its_large_buffers_back() {
    const SMALL: usize = 8 << 10;
    let (host_io, plugin_io) = tokio::io::duplex(1 << 20);
    let plugin_io = CountWrites::new(plugin_io);
    let read_room = plugin_io.read_room.clone();
    let (host, mut plugin) = pair_over(host_io, plugin_io, settings(), settings()).await;
    let (mut hosts, mut plugins) = tunnel(&host, &mut plugin).await;
    let (large, mut received) = (vec![0; 16 << 20], vec![0; 16 << 20]);
    let (sent, received) = tokio::join!(hosts.write_all(&large), plugins.read_exact(&mut received));
    assert!(sent.is_ok() && received.is_ok());
    settle().await;
    assert!(read_room.load(Ordering::Relaxed) > 2 * SMALL, "it reads much at once");
    tokio::time::sleep(Duration::from_secs(21)).await;
    hosts.write_all(b"small").await.unwrap();
    plugins.read_exact(&mut [0; 5]).await.unwrap();
    let room = read_room.load(Ordering::Relaxed);
    assert!(room <= SMALL, "it would read {room} bytes at once");
}

/// The memory that a chunk keeps alive; `None`: it lies in a buffer that is in use.
fn kept_by(chunk: Bytes) -> Option<usize> {
    chunk.try_into_mut().ok().map(|chunk| chunk.capacity())
}

#[tokio::test]
async fn what_nobody_reads_keeps_two_read_buffers_at_most() {
    const SMALL: usize = 4 << 10;
    let (host_io, plugin_io) = tokio::io::duplex(1 << 20);
    let (host, mut plugin) = pair_over(host_io, plugin_io, settings(), settings()).await;
    let (mut hosts, mut unread) = tunnel(&host, &mut plugin).await;
    let (mut busy_hosts, mut busy) = tunnel(&host, &mut plugin).await;
    let (large, mut received) = (vec![0; 2 << 20], vec![0; 2 << 20]);
    for _ in 0..12 {
        hosts.write_all(&[1; SMALL]).await.unwrap();
        let (sent, received) = tokio::join!(busy_hosts.write_all(&large), busy.read_exact(&mut received));
        assert!(sent.is_ok() && received.is_ok());
    }
    let mut in_large = 0;
    for _ in 0..12 {
        let chunk = std::future::poll_fn(|cx| unread.poll_chunk(cx)).await.unwrap().unwrap();
        assert_eq!(chunk.len(), SMALL);
        in_large += usize::from(kept_by(chunk).is_none_or(|kept| kept > SMALL));
    }
    assert!(in_large <= 2, "{in_large} chunks of 12 keep a buffer alive");
}

#[tokio::test]
async fn bytes_that_dribble_in_are_understood() {
    let (host_io, plugin_io) = tokio::io::duplex(1);
    let (host, plugin) = pair_over(host_io, plugin_io, settings(), settings()).await;
    plugin.serve(|request| request.responder.respond(ok(), request.body));
    let body = RequestBody::Stream(full("a body in pieces"));
    let answer = host.handle.request(request_head("/"), body).await.unwrap();
    assert_eq!(collect(answer.body).await, "a body in pieces");
}
