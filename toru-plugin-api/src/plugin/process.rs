//! What a plugin does with its process: arguments, the sockets it inherits, its end.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    os::fd::RawFd,
    process::exit,
};

use bytes::Bytes;
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use tokio::net::UnixStream;
use tower_service::Service;

use super::{
    Body, ServeError,
    engine::{self, End, Hooks},
};
use crate::{driver::BoxError, metadata::PluginMetadata, sys};

/// The descriptor of the first link (protocol section 2).
const FD_VARIABLE: &str = "TORU_PLUGIN_FD";
/// The descriptors of the further links, `4,5`; not set by a host that has one lane.
const EXTRA_FDS_VARIABLE: &str = "TORU_PLUGIN_EXTRA_FDS";
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
    let first = inherited_socket()?;
    let extra = extra_sockets()?;
    match engine::run(first, extra, engine::settings(), service, hooks).await {
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
fn inherited_socket() -> Result<UnixStream, ServeError> {
    let Some(number) = env::var_os(FD_VARIABLE) else {
        eprintln!("{}", ServeError::NotStartedByHost);
        exit(USAGE)
    };
    let number = number
        .to_str()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| ServeError::Socket(io::Error::new(io::ErrorKind::InvalidInput, "it is no number")))?;
    adopt(number).map_err(ServeError::Socket)
}

/// The sockets of the host's further lanes, in their order.
fn extra_sockets() -> Result<Vec<UnixStream>, ServeError> {
    let Some(list) = env::var_os(EXTRA_FDS_VARIABLE) else { return Ok(Vec::new()) };
    let numbers = parse_numbers(&list).map_err(ServeError::ExtraSockets)?;
    let adopt_named = |number| {
        adopt(number).map_err(|error| {
            ServeError::ExtraSockets(io::Error::new(error.kind(), format!("{number}: {error}")))
        })
    };
    numbers.into_iter().map(adopt_named).collect()
}

fn parse_numbers(list: &OsStr) -> io::Result<Vec<RawFd>> {
    let numbers = list.to_str().and_then(|list| list.split(',').map(|number| number.parse().ok()).collect());
    numbers.ok_or_else(|| {
        let what = format!("{list:?} is no list of numbers such as \"4,5\"");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

fn adopt(number: RawFd) -> io::Result<UnixStream> {
    sys::adopt_socket(number).and_then(UnixStream::from_std)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_descriptors_is_numbers_between_commas() {
        let parse = |list: &str| parse_numbers(list.as_ref());
        assert_eq!(parse("4").unwrap(), [4]);
        assert_eq!(parse("4,5,6").unwrap(), [4, 5, 6]);
        for wrong in ["", "4,", ",4", "4, 5", "4;5", "four", "99999999999"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("{wrong:?} is no list of numbers such as \"4,5\""));
        }
    }
}
