//! The command line.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args as Group, Parser, Subcommand};
use http::{HeaderName, HeaderValue, Method};
use toru_core::MAX_LANES;
use toru_host_axum::{HostName, ProxyNetwork};

use crate::attach::{self, Attach};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; one sentence on stderr says why
  2  the command line is wrong

Environment:
  TORU_LOG  what is logged on stderr, `info` or `toru_core=debug` for example";

const SERVE_HELP: &str = "\
Examples:
  toru serve
  toru serve --plugins /srv/plugins --data /var/lib/toru --listen 127.0.0.1:8080
  curl -H \"Authorization: Bearer $(cat data/admin-token)\" http://127.0.0.1:3000/api/plugins

When it accepts connections it prints one line on stdout: listening on http://ADDR
SIGTERM and Ctrl-C finish open requests and stop all plugins; a second one ends at once.

Environment:
  TORU_ADMIN_TOKEN  the admin token; without it one is made in DATA/admin-token
  TORU_LOG          what is logged on stderr, `info` or `toru_core=debug` for example

Exit codes:
  0    stopped as asked
  1    failed; one sentence on stderr says why
  2    the command line is wrong
  130  ended by a second signal";

const DEV_HELP: &str = "\
Examples:
  toru dev .
  toru dev examples/hello-plugin-rust examples/hello-plugin-python

Runs `build` of each plugin's [dev] table with `sh -c` in its folder, then serves the plugins
from where they are, by `exec` of [dev] if there is one.

With --attach ID=PATH it does not start the plugin ID: you do, under a debugger if you like. It
prints the line to type, connects as soon as the plugin listens on PATH, and when the plugin has
gone it waits for the next one. No start or response timeout and no ping runs against it, and it
is never killed:
  toru dev . --attach hello=/tmp/hello.sock
  TORU_PLUGIN_ID=hello TORU_PLUGIN_SOCKET=/tmp/hello.sock gdb --args target/debug/hello

Environment:
  TORU_ADMIN_TOKEN  the admin token; without it one is made in DATA/admin-token
  TORU_LOG          what is logged on stderr, `info` or `toru_core=debug` for example

Exit codes:
  0    stopped as asked
  1    failed; one sentence on stderr says why
  2    the command line is wrong
  130  ended by a second signal, or by one during a build
  or that of a build that failed";

const CALL_HELP: &str = "\
Examples:
  toru call . GET /json
  toru call . POST '/echo?loud=1' -d 'hello' -H 'content-type: text/plain'
  toru call . PUT /file -d @picture.png
  gzip -dc dump.gz | toru call . POST /import -d @-

The plugin is built and started for this one request, with an empty data folder that is
removed afterwards. The answer's body goes to stdout, its status and headers to stderr.

Exit codes:
  0    the answer's status is below 400
  1    it is not, or there is no answer; one sentence on stderr says why
  2    the command line is wrong
  130  ended by a signal
  or that of a build that failed";

const CHECK_HELP: &str = "\
Example:
  toru check examples/hello-plugin-python

Reads the manifest, runs the build, starts the plugin, shakes hands, asks for `GET /` (a status
below 500 is well) and stops it. Prints a tick for each step, or what is wrong with the end of
the plugin's stderr.

Exit codes:
  0    all is well
  1    something is wrong; stderr says what
  2    the command line is wrong
  130  ended by a signal";

/// Runs programs in any language as supervised plugins behind one HTTP host.
#[derive(Debug, Parser)]
#[command(name = "toru", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a folder of plugins
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// Build and serve plugins from their source folders
    #[command(after_help = DEV_HELP)]
    Dev(Dev),
    /// Send one request to one plugin, without a server
    #[command(after_help = CALL_HELP)]
    Call(Call),
    /// Check that a plugin builds, starts, answers and stops
    #[command(after_help = CHECK_HELP)]
    Check(Check),
}

impl Command {
    /// What is logged when `TORU_LOG` does not say: servers tell what they do, the others only what matters.
    pub(crate) fn default_filter(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Dev(_) => "info",
            Self::Call(_) | Self::Check(_) => "off",
        }
    }
}

#[derive(Debug, Group)]
pub(crate) struct Serve {
    /// The folder that is scanned for plugins; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./plugins")]
    pub(crate) plugins: PathBuf,
    /// Where the host keeps its database, logs and admin token; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Group)]
pub(crate) struct Dev {
    /// The plugins' source folders, each with a `plugin.toml`
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Where the host keeps its database, logs and admin token; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./.toru")]
    pub(crate) data: PathBuf,
    /// Wait until the plugin ID, started by hand, listens on PATH; may be repeated
    #[arg(long = "attach", value_name = "ID=PATH", value_parser = attach::parse)]
    pub(crate) attach: Vec<Attach>,
    #[command(flatten)]
    pub(crate) listen: Listen,
    #[command(flatten)]
    pub(crate) start: Start,
}

#[derive(Debug, Group)]
pub(crate) struct Call {
    /// The plugin's source folder, with a `plugin.toml`
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The request's method
    #[arg(value_parser = method)]
    pub(crate) method: Method,
    /// The path inside the plugin, with its query
    #[arg(value_parser = path)]
    pub(crate) path: String,
    /// The request's body: a text, `@FILE`, or `@-` for stdin
    #[arg(short = 'd', long = "data", value_name = "BODY", value_parser = body)]
    pub(crate) body: Option<Body>,
    /// A header of the request, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    #[command(flatten)]
    pub(crate) start: Start,
}

#[derive(Debug, Group)]
pub(crate) struct Check {
    /// The plugin's source folder, with a `plugin.toml`
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) start: Start,
}

#[derive(Debug, Group)]
pub(crate) struct Listen {
    /// The address to listen on; port 0 takes any that is free
    #[arg(long = "listen", value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = address)]
    pub(crate) address: String,
    /// The threads that serve, each with a listener and a link to each plugin of its own [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// A further name that the host answers for, `name` or `name:port`; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) allowed_hosts: Vec<HostName>,
    /// A proxy in front whose `x-forwarded-*` headers are taken, `ADDR` or `ADDR/BITS`; may be repeated
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub(crate) trusted_proxies: Vec<ProxyNetwork>,
}

#[derive(Debug, Group)]
pub(crate) struct Start {
    /// How long the plugin may take until it is ready
    #[arg(long = "start-timeout", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Where a request's body comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    File(PathBuf),
    Stdin,
}

fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| "a method is a word such as GET or POST".into())
}

fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a path begins with `/`".into());
    }
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(parsed) if parsed.as_str() == text => Ok(text.into()),
        Ok(_) => Err("a request's path has no `#fragment`".into()),
        Err(_) => Err("write spaces and what is not ASCII in percent-encoding, `%20`".into()),
    }
}

fn body(text: &str) -> Result<Body, String> {
    match text.strip_prefix('@') {
        None => Ok(Body::Text(text.into())),
        Some("-") => Ok(Body::Stdin),
        Some("") => Err("`@` is followed by a file's name, or by `-` for stdin".into()),
        Some(file) => Ok(Body::File(file.into())),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written `Name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no header's name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no header's value"))?;
    Ok((name, value))
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err("an address is written `127.0.0.1:3000`, `[::1]:3000` or `localhost:3000`".into()),
    }
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse::<NonZeroUsize>().ok().filter(|threads| threads.get() <= MAX_LANES);
    threads.ok_or_else(|| format!("a number of threads is 1 to {MAX_LANES}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a time is a number of seconds above 0".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn serve_has_its_documented_defaults() {
        let Command::Serve(serve) = Args::parse_from(["toru", "serve"]).command else { panic!("not serve") };
        assert_eq!(serve.plugins, PathBuf::from("./plugins"));
        assert_eq!(serve.data, PathBuf::from("./data"));
        assert_eq!(serve.listen.address, "127.0.0.1:3000");
    }

    #[test]
    fn a_call_is_read_whole() {
        let line = ["toru", "call", ".", "POST", "/a?b=c", "-d", "@-", "-H", "A: b:c", "-H", "D:"];
        let Command::Call(call) = Args::parse_from(line).command else { panic!("not call") };
        assert_eq!((call.method, call.path.as_str(), call.body), (Method::POST, "/a?b=c", Some(Body::Stdin)));
        let headers: Vec<_> =
            call.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("a", &b"b:c"[..]), ("d", b"")]);
    }

    #[test]
    fn what_cannot_be_a_request_is_refused() {
        for line in [
            ["GE T", "/", "-H", "a: b"],
            ["GET", "json", "-H", "a: b"],
            ["GET", "/a b", "-H", "a: b"],
            ["GET", "/a#b", "-H", "a: b"],
            ["GET", "/", "-H", "no colon"],
            ["GET", "/", "-H", "sp ace: b"],
            ["GET", "/", "-d", "@"],
        ] {
            let line = ["toru", "call", "."].into_iter().chain(line);
            assert_eq!(
                Args::try_parse_from(line.clone()).unwrap_err().exit_code(),
                2,
                "{:?}",
                line.collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_proxy_is_named_by_its_address_or_network() {
        let serve = |network| Args::try_parse_from(["toru", "serve", "--trusted-proxy", network]);
        assert!(serve("127.0.0.1").is_ok() && serve("fd00::/8").is_ok());
        for network in ["localhost", "10.0.0.0/33", "10.0.0"] {
            assert_eq!(serve(network).unwrap_err().exit_code(), 2, "{network}");
        }
    }

    #[test]
    fn a_further_name_is_one_that_clients_can_ask_for() {
        let serve = |name| Args::try_parse_from(["toru", "serve", "--allow-host", name]);
        assert!(serve("toru.example").is_ok() && serve("[::1]:8443").is_ok());
        for name in ["", "https://toru.example", "toru.example/", "*.example", "toru.example:abc", "::1"] {
            assert_eq!(serve(name).unwrap_err().exit_code(), 2, "{name}");
        }
    }

    #[test]
    fn addresses_have_a_port_and_times_are_positive() {
        assert!(
            address("127.0.0.1:0").is_ok()
                && address("[::1]:3000").is_ok()
                && address("localhost:80").is_ok()
        );
        for text in ["", "3000", ":3000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "NaN", "inf", "1e300", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn threads_are_between_one_and_the_most_lanes() {
        assert_eq!(threads("1").map(NonZeroUsize::get), Ok(1));
        assert_eq!(threads("64").map(NonZeroUsize::get), Ok(64));
        for text in ["", "0", "-1", "65", "1.5", "all"] {
            assert_eq!(threads(text), Err("a number of threads is 1 to 64".to_owned()), "{text}");
        }
    }
}
