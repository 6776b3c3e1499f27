//! One plugin with many ways to be bad, for the integration tests: `misbehave MODE [NUMBER]`.
//!
//! It speaks version 2 by the codec alone, on its standard input: safe code cannot adopt a descriptor by its number, so the
//! manifests of the tests start it as `sh -c 'exec "$0" "$@" 0<&3 3<&-' misbehave MODE`; or it listens where `TORU_PLUGIN_SOCKET`
//! says. It offers no features (but for
//! `stop-reading`), so it is streamed nothing, and answers every request with what it was asked: `METHOD path`
//! (`/timeout` with the timeout that it was told), and a KV get with its key.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::AsFd,
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use toru_core::api::{
    frame::{Decoder, Frame, Limits, StreamId, TransmitBuf, encode_message},
    message::{
        self, Parsed,
        http::{Framing, RequestHead, ResponseHead, encode_response},
        kv::{KvAnswer, KvCall, KvError, KvErrorCode, encode_answer, encode_error},
        lifecycle::{Draining, Failed, Features, Init, Pong, Ready, encode_ping, feature},
        log::{Level, LogMessage},
    },
};

/// The file in the plugin's data folder that names the child of `fork-child` and `ignore-term`.
const CHILD_FILE: &str = "child-pid";

/// The modes, and what each does beyond behaving well.
const MODES: &str = "\
ok                behaves
tell-features     says in its log which features it was offered, then behaves
exit-at-once      writes to stderr and exits with code 3
exit-after-ready  exits with code 3 once it is ready
crash-on-request  exits with code 3 at its first request
never-listen      never listens on its path
never-ready       reads all and says nothing
slow-start        waits NUMBER ms before it is ready
wrong-version     is ready for a version that was not offered
refuse            refuses to run, and exits
garbage           answers init with bytes that are no frame
silent            is ready, and answers neither requests nor pings
stop-reading      is ready for streams, and reads no more
flood-link        is ready, reads no more, and sends log records and pings for ever
drain             asks for a successor once it is ready
ignore-shutdown   does not hear `shutdown`
ignore-term       hears neither `shutdown` nor SIGTERM, and has a child that does not either
fork-child        has a child in its group
hold-socket       has a child in its group that holds its socket and its stderr
escape            as hold-socket, but the child has left the group
close-socket      closes its socket once it is ready, but lives on
flood-stdout      writes NUMBER MiB to stdout without a newline, then behaves";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let number = args.next().and_then(|number| number.parse().ok());
    match run(&mode, number) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("misbehave {mode}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &str, number: Option<u64>) -> io::Result<ExitCode> {
    if !MODES.lines().any(|line| line.split(' ').next() == Some(mode)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no such mode; there are:\n{MODES}"),
        ));
    }
    if mode == "exit-at-once" {
        eprintln!("it hurts too much to start");
        return Ok(ExitCode::from(3));
    }
    if mode == "ignore-term" && std::env::var_os("MISBEHAVE_IGNORES_TERM").is_none() {
        return Err(ignore_term());
    }
    let mut link = Link::open(mode)?;
    let Parsed::Init(init) = link.next()?.ok_or(io::ErrorKind::UnexpectedEof)? else {
        return Err(io::Error::other("the first message is no init"));
    };
    let child_command = match mode {
        "fork-child" | "ignore-term" => Some(child(&["sleep", "1000"], Stdio::null())),
        "hold-socket" => Some(child(&["sleep", "1000"], Stdio::inherit())),
        "escape" => Some(child(&["setsid", "sleep", "1000"], Stdio::inherit())),
        _ => None,
    };
    if let Some(mut command) = child_command {
        std::fs::write(Path::new(&init.data_dir).join(CHILD_FILE), command.spawn()?.id().to_string())?;
    }
    greet(mode, number, &mut link, &init)?;
    match mode {
        "refuse" | "exit-after-ready" => return Ok(ExitCode::from(3)),
        "stop-reading" | "close-socket" => live_on(),
        "flood-link" => return flood_link(&mut link),
        "flood-stdout" => flood(number.unwrap_or(1))?,
        _ => {}
    }
    serve(mode, &mut link)
}

/// The answer to `init`.
fn greet(mode: &str, number: Option<u64>, link: &mut Link, init: &Init) -> io::Result<()> {
    match mode {
        "never-ready" => return Ok(()),
        "garbage" => return link.socket.write_all(b"\0\0\0\x05hello, this is no frame"),
        "refuse" => {
            let failed = Failed { code: "licence".to_owned(), message: "the licence has expired".to_owned() };
            return link.send(|out| failed.encode(out));
        }
        "tell-features" => {
            let message = init.features.iter().collect::<Vec<_>>().join(" ");
            let record = LogMessage { level: Level::Info, message, fields: Default::default() };
            link.send(|out| record.encode(out))?;
        }
        "slow-start" => pause(Duration::from_millis(number.unwrap_or(5_000))),
        _ => {}
    }
    let protocol = if mode == "wrong-version" { init.protocol + 1 } else { init.protocol };
    let features =
        if mode == "stop-reading" { Features::new([feature::STREAMS]) } else { Features::default() };
    let ready = Ready { protocol, features, limits: Limits::DEFAULT };
    link.send(|out| ready.encode(out))?;
    match mode {
        "drain" => link.send(|out| Draining { reason: "new code".to_owned() }.encode(out)),
        "close-socket" => link.socket.shutdown(Shutdown::Both),
        _ => Ok(()),
    }
}

fn serve(mode: &str, link: &mut Link) -> io::Result<ExitCode> {
    while let Some(message) = link.next()? {
        match message {
            _ if matches!(mode, "silent" | "never-ready") => {}
            Parsed::Ping => link.send(|out| Pong::default().encode(out))?,
            Parsed::Shutdown(_) if !matches!(mode, "ignore-shutdown" | "ignore-term") => break,
            Parsed::Request { .. } if mode == "crash-on-request" => return Ok(ExitCode::from(3)),
            Parsed::Request { id, head: Ok(head), .. } => link.answer(id, &head)?,
            Parsed::KvCall { id, call } => {
                link.send(|out| match call {
                    Ok(KvCall::Get { key }) => encode_answer(out, id, &KvAnswer::Value(Some(key.into()))),
                    Ok(_) => encode_error(out, id, &KvError::new(KvErrorCode::Denied, "it can only be read")),
                    Err(error) => encode_error(out, id, &error),
                })?;
            }
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Messages on the socket that was inherited, or accepted.
struct Link {
    socket: UnixStream,
    decoder: Decoder,
    received: BytesMut,
}

impl Link {
    fn open(mode: &str) -> io::Result<Self> {
        let socket = match std::env::var_os("TORU_PLUGIN_SOCKET") {
            Some(_) if mode == "never-listen" => live_on(),
            Some(path) => UnixListener::bind(path)?.accept()?.0,
            None => UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?),
        };
        let limits = Limits::DEFAULT;
        let decoder = Decoder::new(limits.max_message, limits.max_data);
        Ok(Self { socket, decoder, received: BytesMut::new() })
    }

    /// The next message; `None` when the host has closed. Other frames are passed over.
    fn next(&mut self) -> io::Result<Option<Parsed>> {
        loop {
            match self.decoder.decode(&mut self.received).map_err(io::Error::other)? {
                Some(Frame::Message(text)) => {
                    return message::parse(&text).map(Some).map_err(io::Error::other);
                }
                Some(_) => {}
                None => {
                    let mut chunk = [0; 4_096];
                    let count = self.socket.read(&mut chunk)?;
                    if count == 0 {
                        return Ok(None);
                    }
                    self.received.extend_from_slice(&chunk[..count]);
                }
            }
        }
    }

    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut json = Vec::new();
        encode(&mut json);
        let mut out = TransmitBuf::new();
        encode_message(&mut out, &json);
        while out.has_remaining() {
            let written = self.socket.write(out.chunk())?;
            out.advance(written);
        }
        Ok(())
    }

    fn answer(&mut self, id: StreamId, request: &RequestHead) -> io::Result<()> {
        let text = match request.path.path() {
            "/timeout" => format!("{:?}", request.headers.get("x-toru-timeout-ms")),
            _ => format!("{} {}", request.method, request.path),
        };
        let head = ResponseHead { status: http::StatusCode::OK, headers: http::HeaderMap::new() };
        self.send(|out| encode_response(out, id, &head, &Framing::Inline(Bytes::from(text))))
    }
}

/// Starts this program again with SIGTERM ignored: what a shell ignores, those it becomes ignore too.
fn ignore_term() -> io::Error {
    let program = std::env::current_exe().unwrap_or_default();
    Command::new("sh")
        .args(["-c", "trap '' TERM; exec \"$0\" ignore-term"])
        .arg(program)
        .env("MISBEHAVE_IGNORES_TERM", "1")
        .exec()
}

/// A child whose standard input is this, or the socket; its standard error is that of its parent.
fn child(command: &[&str], stdin: Stdio) -> Command {
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).stdin(stdin);
    child
}

fn flood(mebibytes: u64) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let block = vec![b'x'; 1 << 20];
    (0..mebibytes).try_for_each(|_| stdout.write_all(&block))
}

/// Until the link ends.
fn flood_link(link: &mut Link) -> io::Result<ExitCode> {
    let record = LogMessage { level: Level::Info, message: "x".repeat(100), fields: Default::default() };
    loop {
        link.send(|out| record.encode(out))?;
        link.send(encode_ping)?;
    }
}

/// Until somebody ends it.
fn live_on() -> ! {
    loop {
        std::thread::park();
    }
}

fn pause(time: Duration) {
    let begun = std::time::Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
