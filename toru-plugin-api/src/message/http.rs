//! HTTP heads, as JSON messages and as HEAD frames carry them.

use ::http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};
use bytes::Bytes;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, as received.
    pub method: Method,
    /// Origin-form, always beginning with `/`.
    pub path: PathAndQuery,
    /// The header fields; names lower case, duplicates kept.
    pub headers: HeaderMap,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 200 to 599, or 101 for an upgrade that was offered.
    pub status: StatusCode,
    /// The header fields; duplicates kept.
    pub headers: HeaderMap,
}

/// How the body of one direction comes, as the wire says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// No body: the direction has ended.
    Empty,
    /// The whole body is here: the direction has ended.
    Inline(Bytes),
    /// DATA follows until END.
    Stream,
    /// An offered upgrade or the 101 that takes it: no body, the direction stays open. In a request the token is the
    /// header `upgrade`.
    Tunnel,
}

/// Why a head is no HTTP head. It costs the stream (502 or RESET 3), not the link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// No method token.
    #[error("the method is no token (RFC 9110, 5.6.2)")]
    Method,
    /// No origin-form path.
    #[error("the path is not in origin form (RFC 9112, 3.2.1)")]
    Path,
    /// A status outside of 100 to 599.
    #[error("{0} is no status of an answer")]
    Status(u64),
    /// A header name that is no lower-case token.
    #[error("the name of header {0} is no lower-case token")]
    HeaderName(usize),
    /// A header value with a control character or a code point above U+00FF.
    #[error("the value of header {0} has a control character or a code point above U+00FF")]
    HeaderValue(usize),
}
