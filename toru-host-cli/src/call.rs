//! `toru call`

use std::{io, path::PathBuf};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Channel, Either, Empty, Full, channel::Sender};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tower_service::Service;

use crate::{
    args::{self, Call},
    build::Source,
    failure::Failure,
    signals::Signals,
    solo::Solo,
};

/// What is read of a body at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for the plugin.
const CHUNKS_AHEAD: usize = 2;

/// A request's body: known, none, or streamed.
type Body = Either<Either<Full<Bytes>, Empty<Bytes>>, Channel<Bytes, io::Error>>;

pub(crate) async fn run(args: Call) -> Result<(), Failure> {
    let source = Source::read(&args.dir)?;
    let mut signals = Signals::listen()?;
    let status = signals
        .unless(async {
            source.build().await?;
            let body = open(args.body).await?;
            let solo = Solo::start(&source, args.start.timeout).await?;
            let answered = exchange(&solo, &source, args.method, &args.path, args.headers, body).await;
            solo.supervisor().shutdown().await;
            answered
        })
        .await?;
    if status.as_u16() < 400 { Ok(()) } else { Err(Failure::new(format!("the answer is {status}"))) }
}

async fn exchange(
    solo: &Solo,
    source: &Source,
    method: Method,
    path: &str,
    headers: Vec<(http::HeaderName, HeaderValue)>,
    body: Body,
) -> Result<http::StatusCode, Failure> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = format!("{}{path}", source.metadata.route())
        .parse()
        .map_err(|error| Failure::usage(format!("{path:?} is no path: {error}")))?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    for (name, value) in headers {
        request.headers_mut().append(name, value);
    }
    let Ok(response) = solo.supervisor().service().call(request).await;
    let status = response.status();
    print(response).await?;
    Ok(status)
}

/// Status and headers to stderr, the body to stdout as it comes.
async fn print<B>(response: Response<B>) -> Result<(), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, mut body) = response.into_parts();
    eprintln!("{:?} {}", head.version, head.status);
    for (name, value) in &head.headers {
        eprintln!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    eprintln!();
    let mut stdout = tokio::io::stdout();
    let unwritable = |error| Failure::new(format!("stdout cannot be written: {error}"));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("the answer was cut: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            stdout.write_all(&bytes).await.map_err(unwritable)?;
            stdout.flush().await.map_err(unwritable)?;
        }
    }
    Ok(())
}

async fn open(body: Option<args::Body>) -> Result<Body, Failure> {
    match body {
        None => Ok(Either::Left(Either::Right(Empty::new()))),
        Some(args::Body::Text(text)) => Ok(Either::Left(Either::Left(Full::from(text)))),
        Some(args::Body::Stdin) => Ok(Either::Right(stream(tokio::io::stdin()))),
        Some(args::Body::File(path)) => open_file(path).await,
    }
}

async fn open_file(path: PathBuf) -> Result<Body, Failure> {
    match tokio::fs::File::open(&path).await {
        Ok(file) => Ok(Either::Right(stream(file))),
        Err(error) => Err(Failure::new(format!("{}: the body cannot be read: {error}", path.display()))),
    }
}

/// A body that is read as fast as the plugin takes it.
fn stream(reader: impl AsyncRead + Send + Unpin + 'static) -> Channel<Bytes, io::Error> {
    let (sender, body) = Channel::new(CHUNKS_AHEAD);
    tokio::spawn(feed(reader, sender));
    body
}

async fn feed(mut reader: impl AsyncRead + Unpin, mut sender: Sender<Bytes, io::Error>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match reader.read_buf(&mut chunk).await {
            Ok(0) => return,
            Ok(_) => {
                // The plugin has answered without the rest.
                if sender.send_data(chunk.freeze()).await.is_err() {
                    return;
                }
            }
            Err(error) => return sender.abort(error),
        }
    }
}
