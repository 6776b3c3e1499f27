//! What a plugin does with its process: arguments, the sockets it inherits or listens on, its end.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::fd::RawFd,
    path::Path,
    process::exit,
};

use bytes::Bytes;
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use tower_service::Service;

use super::{
    Body, PluginContext, ServeError,
    engine::{self, End, Greeted, Hooks},
    listen,
};
use crate::{
    driver::{BoxError, Socket},
    metadata::PluginMetadata,
    sys,
};

/// The descriptor of the first link (protocol section 2).
const FD_VARIABLE: &str = "TORU_PLUGIN_FD";
/// The descriptors of the further links, `4,5`; not set by a host that has one lane.
const EXTRA_FDS_VARIABLE: &str = "TORU_PLUGIN_EXTRA_FDS";
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

pub(super) async fn serve<S, B, H>(
    metadata: &PluginMetadata,
    service: impl FnOnce(PluginContext) -> S,
    hooks: H,
) -> Result<(), ServeError>
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
    let (socket, starter) = first_socket()?;
    let extra = extra_sockets()?;
    let served = async {
        let first = match socket {
            FirstSocket::Inherited(socket) => Greeted::over(socket).await?,
            FirstSocket::AtPath(path) => {
                listen::await_host(Path::new(&path), starter).await.map_err(ServeError::Listen)?
            }
        };
        engine::run(first, extra, service, hooks).await
    };
    match (served.await, starter) {
        (Ok(End::Shutdown), _) => Ok(()),
        // Whoever attached it has let go of it: there is nothing more to do, and nothing is wrong.
        (Ok(End::LinkLost), Starter::Developer) => Ok(()),
        (Err(error @ (ServeError::Refused(_) | ServeError::Listen(_))), _)
        | (Err(error), Starter::Developer) => Err(error),
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

/// Where the first link comes from.
enum FirstSocket {
    /// The host passed it on.
    Inherited(Socket),
    /// The host connects there.
    AtPath(OsString),
}

/// With neither this process was started by hand for nothing: it says what to do, and exits.
fn first_socket() -> Result<(FirstSocket, Starter), ServeError> {
    if let Some(number) = env::var_os(FD_VARIABLE) {
        return Ok((FirstSocket::Inherited(inherited_socket(&number)?), Starter::Host));
    }
    let starter = if env::var_os(INSTANCE_VARIABLE).is_some() { Starter::Host } else { Starter::Developer };
    match env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => Ok((FirstSocket::AtPath(path), starter)),
        None => {
            eprintln!("{}", ServeError::NotStartedByHost);
            exit(USAGE)
        }
    }
}

fn inherited_socket(number: &OsStr) -> Result<Socket, ServeError> {
    let number = number
        .to_str()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| ServeError::Socket(io::Error::new(io::ErrorKind::InvalidInput, "it is no number")))?;
    adopt(number).map_err(ServeError::Socket)
}

/// The sockets of the host's further lanes, in their order.
fn extra_sockets() -> Result<Vec<Socket>, ServeError> {
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

fn adopt(number: RawFd) -> io::Result<Socket> {
    sys::adopt_socket(number).and_then(Socket::new)
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
