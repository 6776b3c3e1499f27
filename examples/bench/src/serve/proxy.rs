//! A reverse proxy as one would write it with hyper: each client's connection has one to the application, kept alive as long.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    rc::Rc,
};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HeaderMap, HeaderName},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::UnixStream, sync::Mutex, task::LocalSet};

use super::listen;
use crate::Outcome;

/// What a proxy does not pass on (RFC 9110 section 7.6.1; nobody here names further ones in `connection`).
const HOP_BY_HOP: [HeaderName; 3] =
    [CONNECTION, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

type Answer = Response<Either<Incoming, Full<Bytes>>>;

pub(super) async fn serve(application: &Path) -> Outcome<()> {
    let listener = listen().await?;
    let application: Rc<PathBuf> = Rc::new(application.to_owned());
    LocalSet::new()
        .run_until(async {
            loop {
                let (client, _) = listener.accept().await?;
                client.set_nodelay(true)?;
                let upstream = Rc::new(Upstream { application: application.clone(), idle: Mutex::default() });
                let service = service_fn(move |request| {
                    let upstream = upstream.clone();
                    async move { Ok::<_, Infallible>(upstream.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(client), service);
                // An error is the client's: wrk leaves in the middle of requests when its time is up.
                tokio::task::spawn_local(connection);
            }
        })
        .await
}

/// The way to the application.
struct Upstream {
    application: Rc<PathBuf>,
    idle: Mutex<Option<SendRequest<Incoming>>>,
}

impl Upstream {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.forward(request).await.unwrap_or_else(|error| {
            let mut answer = Response::new(Either::Right(Full::from(error.to_string())));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        })
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Outcome<Answer> {
        remove_hop_by_hop(request.headers_mut());
        let mut sender = self.connect().await?;
        let mut answer = sender.send_request(request).await?;
        *self.idle.lock().await = Some(sender);
        remove_hop_by_hop(answer.headers_mut());
        Ok(answer.map(Either::Left))
    }

    /// The connection of the last request, if it can take another one, else a new one.
    async fn connect(&self) -> Outcome<SendRequest<Incoming>> {
        if let Some(mut sender) = self.idle.lock().await.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = UnixStream::connect(&*self.application).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
