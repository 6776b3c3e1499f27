//! The names that this host answers for, against DNS rebinding.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, Uri, header};

use crate::problem::{Kind, Problem};

/// The ports of `http` and `https`, which browsers leave out.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A further name that a host answers for: `name` or `[v6]` with any port, `name:port` or `[v6]:port` with that one. Clients leave out the ports 80 and 443, so
/// a request that names none has either.
///
/// ```
/// use toru_host_axum::HostName;
/// assert!("toru.example:8443".parse::<HostName>().is_ok());
/// assert!("https://toru.example/".parse::<HostName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// By its value, since it can be written in several ways.
    V6(Ipv6Addr),
    Plain(String),
}

/// A text is no name that a client can ask for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error(
    "a host is named as in a browser's address: `name`, `name:port`, `[v6]` or `[v6]:port`, without `http://`, path or `*`"
)]
pub struct HostNameError;

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let (name, port) = split(text).ok_or(HostNameError)?;
        let name = match v6(name) {
            Some(address) => Name::V6(address),
            None if is_plain(name) => Name::Plain(name.to_ascii_lowercase()),
            None => return Err(HostNameError),
        };
        if port == Some(0) { Err(HostNameError) } else { Ok(Self { name, port }) }
    }
}

impl HostName {
    /// Whether a request for this authority is for this name.
    fn matches(&self, authority: &str) -> bool {
        let Some((name, port)) = split(authority) else { return false };
        let is_name = match &self.name {
            Name::V6(own) => v6(name) == Some(*own),
            Name::Plain(own) => name.eq_ignore_ascii_case(own),
        };
        is_name
            && match (self.port, port) {
                (Some(own), None) => [HTTP_PORT, HTTPS_PORT].contains(&own),
                (Some(own), Some(port)) => own == port,
                (None, _) => true,
            }
    }
}

/// The address between brackets.
fn v6(name: &str) -> Option<Ipv6Addr> {
    name.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether it is a name as browsers send it: names in other scripts come in Punycode, and `_` is in use.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The names that this host answers for: the address that a connection was made to, on loopback also `localhost`,
/// `127.0.0.1` and `[::1]`, and the names that the operator added.
///
/// A page of another site can make a browser send requests here under its own name, but under none of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedHosts {
    added: Vec<HostName>,
}

impl AllowedHosts {
    pub(crate) fn add(&mut self, host: HostName) {
        self.added.push(host);
    }

    /// The authority of a request that came over a connection to `local`, if it is one of this host's.
    pub(crate) fn check<'r>(
        &self,
        uri: &'r Uri,
        headers: &'r HeaderMap,
        local: SocketAddr,
    ) -> Result<&'r str, Problem> {
        let authority = authority(uri, headers)?;
        if is_own(authority, local) || self.is_added(authority) {
            return Ok(authority);
        }
        Err(Problem::new(
            Kind::Misdirected,
            format!(
                "{authority:?} is not a name of this host. Use the address that it listens on, or start it with `--allow-host` and this name."
            ),
        ))
    }

    fn is_added(&self, authority: &str) -> bool {
        self.added.iter().any(|added| added.matches(authority))
    }
}

/// RFC 9112, section 3.2: exactly one `Host`; the authority of a target in absolute form takes its place.
fn authority<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::new(Kind::BadRequest, "A request has exactly one `Host` header."));
    };
    let host =
        host.to_str().map_err(|_| Problem::new(Kind::BadRequest, "The `Host` header is not ASCII."))?;
    match uri.authority() {
        None => Ok(host),
        // Plugins are told the `Host` header, so a target that disagrees with it would get past the check.
        Some(target) if target.as_str().eq_ignore_ascii_case(host) => Ok(host),
        Some(_) => {
            Err(Problem::new(Kind::BadRequest, "The request's target and its `Host` header name two hosts."))
        }
    }
}

fn is_own(authority: &str, local: SocketAddr) -> bool {
    let Some((name, port)) = split(authority) else { return false };
    if port.unwrap_or(HTTP_PORT) != local.port() {
        return false;
    }
    let local_ip = local.ip().to_canonical();
    let named_ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match named_ip {
        Ok(ip) => ip.to_canonical() == local_ip || (local_ip.is_loopback() && ip.is_loopback()),
        Err(_) => local_ip.is_loopback() && name.eq_ignore_ascii_case("localhost"),
    }
}

/// Name and port of `name`, `name:port`, `[v6]` or `[v6]:port`.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[name_end..].split_once(':') {
        None => Some((authority, None)),
        Some((rest, port)) => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_number)?;
            Some((&authority[..name_end + rest.len()], Some(port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(added: &[&str], local: &str, host: &str) -> bool {
        let mut hosts = AllowedHosts::default();
        added.iter().for_each(|host| hosts.add(host.parse().unwrap()));
        let headers = [(header::HOST, host.parse().unwrap())].into_iter().collect();
        hosts.check(&Uri::from_static("/"), &headers, local.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_loopback_host_answers_for_the_names_of_loopback_with_its_port() {
        for host in ["127.0.0.1:3000", "localhost:3000", "LocalHost:3000", "[::1]:3000"] {
            assert!(allowed(&[], "127.0.0.1:3000", host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:3001",
            "evil.example:3000",
            "evil.example",
            "192.168.0.9:3000",
            "",
            ":3000",
            "localhost:x",
            "localhost:+3000",
        ] {
            assert!(!allowed(&[], "127.0.0.1:3000", host), "{host}");
        }
    }

    #[test]
    fn a_host_on_the_network_answers_for_the_address_that_was_connected_to() {
        assert!(allowed(&[], "192.168.0.9:3000", "192.168.0.9:3000"));
        assert!(allowed(&[], "[::ffff:192.168.0.9]:3000", "192.168.0.9:3000"));
        assert!(!allowed(&[], "192.168.0.9:3000", "localhost:3000"));
        assert!(!allowed(&[], "192.168.0.9:3000", "192.168.0.8:3000"));
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        assert!(allowed(&[], "127.0.0.1:80", "localhost"));
        assert!(allowed(&[], "[::1]:80", "[::1]"));
    }

    #[test]
    fn added_names_are_allowed_with_any_port_or_with_theirs() {
        assert!(allowed(&["toru.example"], "10.0.0.1:3000", "Toru.example"));
        assert!(allowed(&["toru.example"], "10.0.0.1:3000", "toru.example:8443"));
        assert!(allowed(&["toru.example:8443"], "10.0.0.1:3000", "toru.example:8443"));
        assert!(!allowed(&["toru.example:8443"], "10.0.0.1:3000", "toru.example"));
        assert!(!allowed(&["toru.example"], "10.0.0.1:3000", "eviltoru.example"));
    }

    #[test]
    fn an_added_name_with_a_default_port_is_that_which_browsers_ask_for() {
        for (added, host) in [
            ("toru.example:80", "toru.example"),
            ("toru.example:443", "Toru.example"),
            ("toru.example:443", "toru.example:443"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
        ] {
            assert!(allowed(&[added], "10.0.0.1:3000", host), "{added}: {host}");
        }
        assert!(!allowed(&["toru.example:443"], "10.0.0.1:3000", "toru.example:8443"));
        assert!(!allowed(&["toru.example:443"], "10.0.0.1:3000", "evil.example"));
    }

    #[test]
    fn an_added_ipv6_address_is_the_same_however_it_is_written() {
        for host in ["[::ffff:10.0.0.1]", "[::ffff:a00:1]", "[0::FFFF:a00:1]:3000"] {
            assert!(allowed(&["[::ffff:10.0.0.1]"], "10.0.0.2:3000", host), "{host}");
        }
        assert!(!allowed(&["[::ffff:10.0.0.1]"], "10.0.0.2:3000", "[::ffff:10.0.0.3]"));
    }

    #[test]
    fn what_no_client_asks_for_is_no_name() {
        for name in
            ["toru.example", "Toru.example:8443", "my_host", "10.0.0.1:80", "[::1]", "[2001:db8::1]:8443"]
        {
            assert!(name.parse::<HostName>().is_ok(), "{name}");
        }
        for name in [
            "",
            ":80",
            "https://toru.example",
            "toru.example/",
            "*.example",
            "toru.example:abc",
            "toru.example:",
            "toru.example:0",
            "toru.example:65536",
            "toru.example:+80",
            "toru.example:80:80",
            "::1",
            "[::1",
            "[toru]",
            "[::1]x",
            "x[::1]",
            "a b",
            "a@b",
            "tör.example",
        ] {
            assert!(name.parse::<HostName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let hosts = AllowedHosts::default();
        let local = "127.0.0.1:3000".parse().unwrap();
        let uri = Uri::from_static("/");
        let status =
            |uri: &Uri, headers: &HeaderMap| hosts.check(uri, headers, local).unwrap_err().status().as_u16();
        let mut headers = HeaderMap::new();
        assert_eq!(status(&uri, &headers), 400);
        headers.append(header::HOST, "localhost:3000".parse().unwrap());
        assert_eq!(status(&Uri::from_static("http://evil.example/"), &headers), 400);
        headers.append(header::HOST, "localhost:3000".parse().unwrap());
        assert_eq!(status(&uri, &headers), 400);
    }
}
