//! A large body through the echo of a plugin, under the shipped `toru serve`: it must arrive whole, and no process on its
//! way may hold much of it.

use std::{
    convert::Infallible,
    hash::Hasher,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use twox_hash::XxHash3_64;

use crate::{
    Outcome, load,
    memory::Peak,
    process,
    size::{self, mebibytes},
    system::{self, Heads, Host, Plugin, System},
    workload::HOP,
};

/// How far the peak of the host, and that of the plugin, may rise: less than this.
const BOUND: u64 = 16 << 20;
/// Bytes of the body that are made at once.
const CHUNK: usize = 64 << 10;
/// Beyond the time that the read rate gives: the slowest plugin on a busy machine moves 10 MiB a second.
const SLOWEST: u64 = 10 << 20;
/// What an answer may take however small the body is.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Options {
    /// The length of the body, such as 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    bytes: u64,
    /// The client reads at most so much a second, such as 1MiB.
    #[arg(long, value_parser = size::parse)]
    read_rate: Option<u64>,
    /// Whose echo.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Plugin::Rust, Plugin::Python])]
    plugins: Vec<Plugin>,
}

/// What one body has cost.
struct Measured {
    seconds: f64,
    host: Peak,
    host_growth: u64,
    plugin: Peak,
    plugin_growth: u64,
}

impl Measured {
    fn is_within_bound(&self) -> bool {
        self.host_growth < BOUND && self.plugin_growth < BOUND
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    process::end_with_signals()?;
    system::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("## A streamed body\n");
    println!(
        "{:.0} MiB through `/echo`, hashed on both sides; {}; VmHWM of host and plugin may each grow by less than {:.0} MiB.\n",
        mebibytes(options.bytes),
        match options.read_rate {
            Some(rate) => format!("the client reads {:.2} MiB/s", mebibytes(rate)),
            None => "the client reads as fast as it can".to_owned(),
        },
        mebibytes(BOUND)
    );
    println!(
        "| plugin | s | MiB/s | host at start | host growth | plugin at start | plugin growth | verdict |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut passed = Vec::new();
    for &plugin in &options.plugins {
        let measured = runtime.block_on(measure(plugin, options))?;
        println!("{}", row(plugin, options, &measured));
        if !measured.is_within_bound() {
            passed.push(plugin.id());
        }
    }
    if passed.is_empty() { Ok(()) } else { Err(format!("past the bound: {}", passed.join(", ")).into()) }
}

fn row(plugin: Plugin, options: &Options, measured: &Measured) -> String {
    let mib = |bytes| format!("{:.1} MiB", mebibytes(bytes));
    format!(
        "| {} | {:.1} | {:.1} | {} | {} | {} | {} | {} |",
        plugin.id(),
        measured.seconds,
        mebibytes(options.bytes) / measured.seconds,
        mib(measured.host.at_start()),
        mib(measured.host_growth),
        mib(measured.plugin.at_start()),
        mib(measured.plugin_growth),
        if measured.is_within_bound() { "ok" } else { "PAST THE BOUND" },
    )
}

async fn measure(plugin: Plugin, options: &Options) -> Outcome<Measured> {
    let system = Host::with(plugin, Heads::AsShipped)?.serve(plugin.id())?;
    // The first answer comes when the plugin runs.
    load::probe(&system.target, &HOP[0])?;
    let (host, plugins) = system.front_and_back();
    let (host, plugin) = (Peak::from_now(host)?, Peak::from_now(plugins)?);
    let rate = options.read_rate.unwrap_or(SLOWEST).min(SLOWEST);
    let limit = PATIENCE + Duration::from_secs(2 * options.bytes / rate);
    let began = Instant::now();
    timeout(limit, echo(&system, options))
        .await
        .map_err(|_| format!("no whole answer within {limit:?}"))??;
    let seconds = began.elapsed().as_secs_f64();
    let (host_growth, plugin_growth) = (host.growth()?, plugin.growth()?);
    Ok(Measured { seconds, host, host_growth, plugin, plugin_growth })
}

/// Sends the body and reads it back, at the same time.
async fn echo(system: &System, options: &Options) -> Outcome<()> {
    let target = &system.target;
    let stream = TcpStream::connect(&target.authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error is the request's, too.
    tokio::spawn(connection);
    let (body, sent) = Source::new(options.bytes);
    let mut request =
        Request::post(format!("{}/echo", target.prefix)).header("host", &target.authority).body(body)?;
    if let Some((name, value)) = target.header.as_deref().and_then(|header| header.split_once(": ")) {
        request.headers_mut().insert(name.parse::<hyper::header::HeaderName>()?, value.parse()?);
    }
    let response = sender.send_request(request).await?;
    if response.status() != 200 {
        return Err(format!("{}/echo answers {}", target.prefix, response.status()).into());
    }
    let received = drain(response.into_body(), options.read_rate).await?;
    let sent = Digest::clone(&sent.lock().unwrap_or_else(PoisonError::into_inner));
    if (sent.length, sent.value()) != (received.length, received.value()) {
        return Err(format!(
            "{} bytes were sent with hash {:016x}, {} came back with hash {:016x}",
            sent.length,
            sent.value(),
            received.length,
            received.value()
        )
        .into());
    }
    Ok(())
}

/// Reads an answer at most at this rate, in bytes a second.
async fn drain(mut body: Incoming, rate: Option<u64>) -> Outcome<Digest> {
    let began = Instant::now();
    let mut digest = Digest::default();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            digest.update(&bytes);
        }
        if let Some(rate) = rate {
            sleep_until(began + Duration::from_secs_f64(digest.length as f64 / rate as f64)).await;
        }
    }
    Ok(digest)
}

/// What has passed.
#[derive(Clone, Default)]
struct Digest {
    length: u64,
    hash: XxHash3_64,
}

impl Digest {
    fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hash.write(bytes);
    }

    fn value(&self) -> u64 {
        self.hash.finish()
    }
}

/// A body that never repeats itself, so that a chunk which is lost, doubled or out of order is noticed.
struct Source {
    left: u64,
    state: u64,
    sent: Arc<Mutex<Digest>>,
}

impl Source {
    /// A body of this length, and what of it was taken.
    fn new(length: u64) -> (Self, Arc<Mutex<Digest>>) {
        let sent = Arc::default();
        // Any number but 0 will do (Marsaglia, "Xorshift RNGs", 2003).
        (Self { left: length, state: 0x9E37_79B9_7F4A_7C15, sent: Arc::clone(&sent) }, sent)
    }

    fn next_chunk(&mut self) -> Bytes {
        let length = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = Vec::with_capacity(CHUNK);
        while chunk.len() < CHUNK {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.extend_from_slice(&self.state.to_le_bytes());
        }
        chunk.truncate(length);
        self.left -= length as u64;
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).update(&chunk);
        chunk.into()
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = (self.left > 0).then(|| Ok(Frame::data(self.next_chunk())));
        Poll::Ready(chunk)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_gives_its_length_and_never_the_same_chunk() {
        let (source, sent) = Source::new(3 * CHUNK as u64 + 1);
        let whole = source.collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), 3 * CHUNK + 1);
        assert_ne!(whole[..CHUNK], whole[CHUNK..2 * CHUNK]);
        let mut digest = Digest::default();
        digest.update(&whole);
        assert_eq!(digest.value(), sent.lock().unwrap().value());
    }
}
