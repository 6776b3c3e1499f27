//! What a plugin does with its process: arguments, the socket it inherits or listens on, its end.

use std::{env, ffi::OsStr, io::Write, path::Path, process::exit};

use bytes::Bytes;
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use tokio::net::UnixStream;
use tower_service::Service;

use super::{
    Body, ServeError,
    engine::{self, End, Hooks},
    listen,
};
use crate::{driver::BoxError, metadata::PluginMetadata, proto::Settings, sys};

/// The descriptor of the first link (protocol section 2).
const FD_VARIABLE: &str = "TORU_PLUGIN_FD";
/// The path to listen on, for a process that inherits no socket (protocol section 2).
pub(super) const SOCKET_VARIABLE: &str = "TORU_PLUGIN_SOCKET";
/// Every host sets it for each process that it starts.
const INSTANCE_VARIABLE: &str = "TORU_INSTANCE_ID";
/// The version of the protocol that this SDK speaks.
const PROTOCOL: u32 = 2;
/// The exit code for a program that was started wrongly, as of most command line tools.
const USAGE: i32 = 2;

/// Who started this process, and so who ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    Host,
    /// By hand, under a debugger perhaps: its group may be that of a shell.
    Developer,
}

pub(super) async fn serve<S, B, H>(metadata: &PluginMetadata, service: S, hooks: H) -> Result<(), ServeError>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    H: Hooks,
{
    if env::args_os().skip(1).any(|argument| argument == "--metadata") {
        print_metadata(metadata);
    }
    if metadata.protocol() < PROTOCOL || metadata.protocol_min() > PROTOCOL {
        return Err(ServeError::ProtocolVersion);
    }
    let (socket, starter) = socket().await?;
    match (engine::run(socket, Settings::default(), service, hooks).await, starter) {
        (Ok(End::Shutdown), _) => Ok(()),
        // Whoever attached it has let go of it: there is nothing more to do, and nothing is wrong.
        (Ok(End::LinkLost), Starter::Developer) => Ok(()),
        (Err(error @ ServeError::Refused(_)), _) | (Err(error), Starter::Developer) => Err(error),
        (Ok(End::LinkLost), Starter::Host) => Err(end_group(ServeError::LinkLost)),
        (Err(error), Starter::Host) => Err(end_group(error)),
    }
}

fn print_metadata(metadata: &PluginMetadata) -> ! {
    let mut stdout = std::io::stdout();
    let printed = writeln!(stdout, "{}", metadata.to_json()).and_then(|()| stdout.flush());
    match printed {
        Ok(()) => exit(0),
        Err(error) => {
            eprintln!("the metadata cannot be printed: {error}");
            exit(1)
        }
    }
}

/// The socket that the host passed on, or that of the host which comes by the path. With neither this process was started
/// by hand for nothing: it says what to do, and exits.
async fn socket() -> Result<(UnixStream, Starter), ServeError> {
    if let Some(number) = env::var_os(FD_VARIABLE) {
        return Ok((inherited_socket(&number)?, Starter::Host));
    }
    let starter = if env::var_os(INSTANCE_VARIABLE).is_some() { Starter::Host } else { Starter::Developer };
    match env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => {
            let socket = listen::accept(Path::new(&path), starter).await;
            Ok((socket.map_err(ServeError::Listen)?, starter))
        }
        None => {
            eprintln!("{}", ServeError::NotStartedByHost);
            exit(USAGE)
        }
    }
}

fn inherited_socket(number: &OsStr) -> Result<UnixStream, ServeError> {
    let number = number.to_str().and_then(|number| number.parse().ok()).ok_or_else(|| {
        ServeError::Socket(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no number"))
    })?;
    sys::adopt_socket(number).and_then(UnixStream::from_std).map_err(ServeError::Socket)
}

/// The life line is gone: nobody could stop this plugin or its children any more, so they end here and now. A
/// process that does not lead its group (one that a developer's shell started) only gives back the error.
fn end_group(error: ServeError) -> ServeError {
    let own_group = getpgrp();
    if own_group == getpid() {
        eprintln!("{error}: ending this plugin and its process group");
        // It reaches this process too. Should it fail, the error goes to `main`, which ends the process.
        let _ = kill_process_group(own_group, Signal::KILL);
    }
    error
}
