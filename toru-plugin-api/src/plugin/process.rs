//! What a plugin does with its process: arguments, the socket it inherits, its end.

use std::{env, io::Write, process::exit};

use bytes::Bytes;
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use tower_service::Service;

use super::{
    Body, ServeError,
    engine::{self, End, Hooks},
};
use crate::{driver::BoxError, metadata::PluginMetadata, sys};

/// The descriptor of the first link (protocol section 2).
const FD_VARIABLE: &str = "TORU_PLUGIN_FD";
/// The version of the protocol that this SDK speaks.
const PROTOCOL: u32 = 2;
/// The exit code for a program that was started wrongly, as of most command line tools.
const USAGE: i32 = 2;

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
    let socket = inherited_socket()?;
    match engine::run(socket, engine::settings(), service, hooks).await {
        Ok(End::Shutdown) => Ok(()),
        Ok(End::LinkLost) => Err(end_group(ServeError::LinkLost)),
        Err(error @ ServeError::Refused(_)) => Err(error),
        Err(error) => Err(end_group(error)),
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

/// The socket that the host passed on. Without one this process was started by hand: it says what to do, and exits.
fn inherited_socket() -> Result<tokio::net::UnixStream, ServeError> {
    let Some(number) = env::var_os(FD_VARIABLE) else {
        eprintln!("{}", ServeError::NotStartedByHost);
        exit(USAGE)
    };
    let number = number.to_str().and_then(|number| number.parse().ok()).ok_or_else(|| {
        ServeError::Socket(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no number"))
    })?;
    sys::adopt_socket(number).and_then(tokio::net::UnixStream::from_std).map_err(ServeError::Socket)
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
