//! Fronts whose word on the client is taken: a proxy before this host, such as nginx or Caddy.

use std::{
    net::{AddrParseError, IpAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use toru_core::http::Caller;

use crate::problem::{Kind, Problem};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The longest prefix that a front may remove: longer ones are mistakes, and each link of a page repeats it.
const MAX_PREFIX: usize = 256;

/// The addresses of proxies: one address, or a network in CIDR notation (RFC 4632, RFC 4291) such as `10.0.0.0/8`.
///
/// ```
/// let network: toru_host_axum::ProxyNetwork = "10.1.0.0/16".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork {
    address: IpAddr,
    prefix_len: u8,
}

/// A text is no network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The part before `/` is no address.
    #[error("a network is written as an address, or as `10.0.0.0/8`")]
    Address(#[from] AddrParseError),
    /// The part behind `/` is no number, or too large a one.
    #[error("behind the `/` stands a number of bits, at most {most}")]
    Bits {
        /// 32 or 128.
        most: u8,
    },
}

impl ProxyNetwork {
    /// Whether an address is in this network. An IPv4 address that came over IPv6 counts as itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = u32::from(own) ^ u32::from(other);
                differs.leading_zeros() >= self.prefix_len.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = u128::from(own) ^ u128::from(other);
                differs.leading_zeros() >= self.prefix_len.into()
            }
            _ => false,
        }
    }
}

impl FromStr for ProxyNetwork {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse::<IpAddr>()?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match bits {
            None => most,
            Some(bits) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(NetworkError::Bits { most })?
            }
        };
        Ok(Self { address, prefix_len })
    }
}

/// All proxies whose word is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<ProxyNetwork>);

/// A client, as a proxy tells of it.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) caller: Caller,
    pub(crate) is_https: bool,
    /// The path under which clients see this host: empty, or with a slash at its begin and none at its end.
    pub(crate) prefix: String,
}

impl TrustedProxies {
    pub(crate) fn add(&mut self, network: ProxyNetwork) {
        self.0.push(network);
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// What a trusted proxy at `peer` says of its client. The host that the client asked for takes the place of the `Host` field.
    ///
    /// A list is read from its end, which is what the nearest proxy wrote; `Forwarded` (RFC 7239) is not read.
    pub(crate) fn read(&self, peer: IpAddr, headers: &mut HeaderMap) -> Result<Forwarded, Problem> {
        if let Some(host) = last(headers, &X_FORWARDED_HOST)? {
            let host = HeaderValue::from_str(host).map_err(|_| wrong(&X_FORWARDED_HOST))?;
            headers.insert(header::HOST, host);
        }
        let is_https = match last(headers, &X_FORWARDED_PROTO)? {
            None => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            Some(_) => return Err(wrong(&X_FORWARDED_PROTO)),
        };
        let client = self.client(peer, headers)?;
        let mut caller = if is_https { Caller::https(client) } else { Caller::http(client) };
        let prefix = last(headers, &X_FORWARDED_PREFIX)?.unwrap_or_default().trim_end_matches('/').to_owned();
        if !prefix.is_empty() {
            if !is_prefix(&prefix) {
                return Err(wrong(&X_FORWARDED_PREFIX));
            }
            caller = caller.below(&prefix).map_err(|_| wrong(&X_FORWARDED_PREFIX))?;
        }
        Ok(Forwarded { caller, is_https, prefix })
    }

    /// The nearest address that is no trusted proxy's: what stands before it, a client may have written.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Problem> {
        let mut client = peer;
        for value in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
            let value = value.to_str().map_err(|_| wrong(&X_FORWARDED_FOR))?;
            for entry in value.rsplit(',') {
                if !self.contains(client) {
                    return Ok(client);
                }
                client = address(entry.trim()).ok_or_else(|| wrong(&X_FORWARDED_FOR))?;
            }
        }
        Ok(client)
    }
}

/// An address, with or without a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or_else(|_| entry.parse().map(|entry: std::net::SocketAddr| entry.ip())).ok()
}

/// The last entry of a field that may be a list.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let Some(value) = headers.get_all(name).iter().next_back() else { return Ok(None) };
    let value = value.to_str().map_err(|_| wrong(name))?;
    Ok(value.rsplit(',').next().map(str::trim).filter(|entry| !entry.is_empty()))
}

/// Whether it is a path that can stand before every other: in its normal form, and nothing but a path (RFC 3986, 3.3).
fn is_prefix(prefix: &str) -> bool {
    // But `;`, which would end the path of a cookie.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%".contains(&byte);
    prefix.len() <= MAX_PREFIX
        && prefix.strip_prefix('/').is_some_and(|path| {
            path.split('/')
                .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain))
        })
}

fn wrong(name: &HeaderName) -> Problem {
    Problem::new(
        Kind::BadRequest,
        format!(
            "The proxy before this host sent a `{name}` that cannot be understood; its configuration sets it."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> ProxyNetwork {
        text.parse().unwrap()
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies(vec![network("10.0.0.0/8"), network("::1")])
    }

    const PROXY: &str = "10.0.0.1";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn read(fields: &[(&'static str, &'static str)]) -> Result<(String, HeaderMap), u16> {
        let mut headers = headers(fields);
        let read = trusted().read(PROXY.parse().unwrap(), &mut headers);
        read.map(|read| (format!("{:?}", read.caller), headers)).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("::1", "::1", "::2"),
            ("fd00::/8", "fdab::1", "fe80::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text}: {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text}: {outside}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/-1", "/8"]
        {
            assert!(text.parse::<ProxyNetwork>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_trusted() {
        let client = |fields: &[&'static str]| {
            let fields: Vec<_> = fields.iter().map(|value| ("x-forwarded-for", *value)).collect();
            trusted().client(PROXY.parse().unwrap(), &headers(&fields)).map(|client| client.to_string()).ok()
        };
        assert_eq!(client(&[]).as_deref(), Some(PROXY));
        assert_eq!(client(&["203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["127.0.0.1, 203.0.113.9, 10.0.0.7"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["127.0.0.1", "203.0.113.9:4711", "10.0.0.7"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(
            client(&["nonsense, 203.0.113.9"]).as_deref(),
            Some("203.0.113.9"),
            "a client's own words"
        );
        assert_eq!(client(&["10.0.0.9, 10.0.0.7"]).as_deref(), Some("10.0.0.9"));
        assert_eq!(client(&["nonsense"]), None);
        assert_eq!(client(&["unknown, 10.0.0.7"]), None);
    }

    #[test]
    fn scheme_host_and_prefix_are_those_that_the_proxy_names_last() {
        let (caller, headers) = read(&[
            ("host", "127.0.0.1:3000"),
            ("x-forwarded-host", "evil.example, toru.example"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-prefix", "/tools/"),
        ])
        .unwrap();
        assert_eq!(headers["host"], "toru.example");
        assert!(caller.contains("\"https\"") && caller.contains("\"/tools\""), "{caller}");
        let (caller, headers) = read(&[("host", "toru.example"), ("x-forwarded-prefix", "/")]).unwrap();
        assert_eq!(headers["host"], "toru.example");
        assert!(caller.contains("\"http\"") && caller.contains("None"), "{caller}");
    }

    #[test]
    fn what_a_proxy_says_in_no_understandable_way_is_400() {
        for (name, value) in [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-for", "somewhere"),
            ("x-forwarded-prefix", "tools"),
            ("x-forwarded-prefix", "//evil.example"),
            ("x-forwarded-prefix", "/a/../b"),
            ("x-forwarded-prefix", "/a\\b"),
            ("x-forwarded-prefix", "/a?b"),
            ("x-forwarded-prefix", "/a;b"),
            ("x-forwarded-prefix", "/\"><script>"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err(), 400, "{name}: {value}");
        }
    }
}
