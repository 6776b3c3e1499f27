//! What the embedder knows of the one who asks.

use std::net::IpAddr;

use http::{HeaderValue, header::InvalidHeaderValue};

/// Where a request comes from: a request extension that the embedder sets, once per connection, for it is cheap to clone.
/// Without it a plugin is told no client address, and `http`.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) address: HeaderValue,
    pub(super) scheme: HeaderValue,
    /// What a proxy before the embedder has removed from the path.
    pub(super) prefix: Option<HeaderValue>,
}

impl Caller {
    /// A client that speaks plain HTTP. An IPv4 address that came over an IPv6 socket is told as itself.
    #[must_use]
    pub fn http(address: IpAddr) -> Self {
        Self::new(address, HTTP)
    }

    /// As [`http`](Self::http), for a client that speaks HTTP over TLS.
    #[must_use]
    pub fn https(address: IpAddr) -> Self {
        Self::new(address, HeaderValue::from_static("https"))
    }

    fn new(address: IpAddr, scheme: HeaderValue) -> Self {
        let address = HeaderValue::from_str(&address.to_canonical().to_string())
            .expect("an address is printable ASCII");
        Self { address, scheme, prefix: None }
    }

    /// A client that sees the embedder under this path (such as `/tools`), which a proxy has removed: it begins what plugins are told as
    /// `x-forwarded-prefix`. The embedder has checked that it is a path.
    ///
    /// # Errors
    /// It has a control character.
    pub fn below(mut self, prefix: &str) -> Result<Self, InvalidHeaderValue> {
        self.prefix = Some(HeaderValue::from_str(prefix.trim_end_matches('/'))?);
        Ok(self)
    }
}

/// What `x-forwarded-proto` says unless the embedder knows better.
pub(super) const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Who asks: a request extension that the embedder's authentication sets. Without it a plugin sees an anonymous request.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) user: HeaderValue,
    pub(super) roles: HeaderValue,
    pub(super) by_authorization: bool,
}

/// Why a name cannot be told to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The user, or a role, has a control character.
    #[error("{0:?} has a control character, which no header may have: give the user or role another name")]
    ControlCharacter(String),
    /// A role is empty, has a comma, or begins or ends with a blank.
    #[error(
        "the role {0:?} would be read as none or as several, since plugins are told roles in a list with commas: give it a name without \
         commas and without blanks at its ends"
    )]
    Role(String),
}

impl Identity {
    /// A user and what it may do. Plugins are told the roles in one list, with commas between them.
    ///
    /// # Errors
    /// A name has a control character; a role is empty, has a comma, or a blank at an end, and would be read as another one.
    pub fn new<'a>(user: &str, roles: impl IntoIterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let mut list = String::new();
        for role in roles {
            if role.is_empty() || role.contains(',') || role.trim() != role {
                return Err(IdentityError::Role(role.to_owned()));
            }
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(role);
        }
        let told = |name: &str| {
            HeaderValue::from_bytes(name.as_bytes())
                .map_err(|_| IdentityError::ControlCharacter(name.to_owned()))
        };
        Ok(Self { user: told(user)?, roles: told(&list)?, by_authorization: false })
    }

    /// The header `authorization` proved it. It was meant for the host and ends there: the plugin does not get it.
    #[must_use]
    pub fn by_authorization(mut self) -> Self {
        self.by_authorization = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_has_its_own_address() {
        for (address, told) in [("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"), ("::1", "::1")]
        {
            assert_eq!(Caller::http(address.parse().unwrap()).address, told);
            assert_eq!(Caller::https(address.parse().unwrap()).address, told);
        }
    }
}
