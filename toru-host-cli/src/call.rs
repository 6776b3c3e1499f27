//! `toru call`

use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Channel, Either, Empty, Full, channel::Sender};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};
use tower_service::Service;

use crate::{
    args::{self, Call},
    build::Source,
    failure::Failure,
    signals::Signals,
    solo::Solo,
    speak::tell,
};

/// What is read of a body at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for the plugin.
const CHUNKS_AHEAD: usize = 2;

/// A request's body: known, none, or streamed.
type Body = Either<Either<Full<Bytes>, Empty<Bytes>>, Channel<Bytes, io::Error>>;

/// A body that is read while it is sent, and where it is told that it could not be read on.
struct Input {
    body: Body,
    broken: oneshot::Receiver<Failure>,
}

pub(crate) async fn run(args: Call) -> Result<(), Failure> {
    let source = Source::read(&args.dir)?;
    let mut signals = Signals::listen()?;
    let status = signals
        .unless(async {
            source.build().await?;
            let input = open(args.body).await?;
            let solo = Solo::start(&source, args.start.timeout).await?;
            let answered = exchange(&solo, &source, args.method, &args.path, args.headers, input).await;
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
    input: Input,
) -> Result<http::StatusCode, Failure> {
    let Input { body, mut broken } = input;
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
    // What is answered to half of a body says nothing of why it was half.
    unbroken(&mut broken)?;
    let status = response.status();
    let printed = print(response).await;
    unbroken(&mut broken)?;
    printed.map(|()| status)
}

fn unbroken(broken: &mut oneshot::Receiver<Failure>) -> Result<(), Failure> {
    // An error means that nothing was told.
    broken.try_recv().map_or(Ok(()), Err)
}

/// Status and headers to stderr, the body to stdout as it comes.
async fn print<B>(response: Response<B>) -> Result<(), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, mut body) = response.into_parts();
    tell(format_args!("{:?} {}", head.version, head.status));
    for (name, value) in &head.headers {
        tell(format_args!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    tell("");
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

async fn open(body: Option<args::Body>) -> Result<Input, Failure> {
    let (told, broken) = oneshot::channel();
    let body = match body {
        None => Either::Left(Either::Right(Empty::new())),
        Some(args::Body::Text(text)) => Either::Left(Either::Left(Full::from(text))),
        Some(args::Body::Stdin) => Either::Right(stream(tokio::io::stdin(), "stdin".into(), told)),
        Some(args::Body::File(path)) => {
            let name = path.display().to_string();
            let file = tokio::fs::File::open(&path).await.map_err(|error| unreadable(&name, &error))?;
            Either::Right(stream(file, name, told))
        }
    };
    Ok(Input { body, broken })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::new(format!("{name}: the body cannot be read: {error}"))
}

/// A body that is read as fast as the plugin takes it.
fn stream(
    reader: impl AsyncRead + Send + Unpin + 'static,
    name: String,
    told: oneshot::Sender<Failure>,
) -> Channel<Bytes, io::Error> {
    let (sender, body) = Channel::new(CHUNKS_AHEAD);
    tokio::spawn(async move {
        let mut sender = sender;
        if let Err(error) = feed(reader, &mut sender).await {
            // Without a receiver the command is over.
            let _ = told.send(unreadable(&name, &error));
            sender.abort(error);
        }
    });
    body
}

async fn feed(mut reader: impl AsyncRead + Unpin, sender: &mut Sender<Bytes, io::Error>) -> io::Result<()> {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if reader.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        // An error means that the plugin has answered without the rest.
        if sender.send_data(chunk.freeze()).await.is_err() {
            return Ok(());
        }
    }
}
