//! The time that the head of a request may take, and that a connection may be quiet.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;
use tokio::time;

use super::Notes;

/// A timer for hyper that runs only while nothing waits to be written.
///
/// hyper waits for the next head as soon as a request has been read to its end and its answer is in hyper's own buffer, and when that head does
/// not come in time it closes without writing what is there. Where an answer ends before the body of its request, a client that pauses would lose the end of it.
#[derive(Debug, Clone)]
pub(crate) struct HeadTimer {
    limit: Duration,
    notes: Notes,
}

impl HeadTimer {
    /// Of a connection with these notes, whose client has so long for a head once it has taken its answer.
    pub(crate) fn new(limit: Duration, notes: Notes) -> Self {
        Self { limit, notes }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let HeadTimer { limit, notes } = self.clone();
        Box::pin(HeadSleep { limit, notes, sleep: time::sleep_until(deadline.into()) })
    }

    /// Keeps the place of a timer that is there: hyper sets it anew for each request.
    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HeadSleep>() {
            Some(own) => own.project().sleep.reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

pin_project! {
    /// Begins anew whenever it is polled while something waits to be written. hyper polls it before it writes on, so its last begin is the end of the answer.
    struct HeadSleep {
        limit: Duration,
        notes: Notes,
        #[pin]
        sleep: time::Sleep,
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.notes.write_waits() {
            this.sleep.as_mut().reset(time::Instant::now() + *this.limit);
        }
        this.sleep.poll(cx)
    }
}

impl Sleep for HeadSleep {}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::wire::Strict;

    const LIMIT: Duration = Duration::from_secs(10);
    /// More than the pipe holds, and less than hyper does.
    const ANSWER: usize = 32 << 10;
    const PIPE: usize = 1 << 10;

    /// A client of a server that answers with [`ANSWER`] bytes before it reads the body of the request.
    fn client() -> DuplexStream {
        let (io, client) = tokio::io::duplex(PIPE);
        let notes = Notes::default();
        notes.reach_plugins();
        let strict = Strict::new(io, PIPE, LIMIT, notes.clone());
        let service = service_fn(async move |request: Request<Incoming>| {
            tokio::spawn(request.into_body().collect());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; ANSWER]))))
        });
        let mut http = http1::Builder::new();
        http.timer(HeadTimer::new(LIMIT, notes)).header_read_timeout(LIMIT);
        tokio::spawn(http.serve_connection(TokioIo::new(strict), service));
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pauses_gets_all_of_an_answer_that_ended_before_its_request() {
        let mut client = client();
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n1").await.unwrap();
        let mut answer = vec![client.read_u8().await.unwrap()];
        client.write_all(b"2").await.unwrap();
        time::sleep(10 * LIMIT).await;
        while answer.len() < ANSWER {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "cut after {} bytes", answer.len());
        }
        let taken_at = time::Instant::now();
        client.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(answer.len() - head, ANSWER);
        assert_eq!(taken_at.elapsed().as_secs(), LIMIT.as_secs(), "from then on it was quiet");
    }
}
