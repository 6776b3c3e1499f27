//! HTTP heads, as JSON messages and as HEAD frames carry them.

use std::borrow::Cow;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use bytes::Bytes;

use super::{
    MessageError, Parsed, append_header,
    envelope::{RequestId, close, is_action, number, open, put_key, put_text, string, string_or_null},
    inline,
    json::{Reader, Value, once, put_latin1, put_number},
    kv,
    source::{Source, latin1},
};
use crate::frame::{StreamId, limits::MAX_INLINE};

/// Room for what a browser sends and the host adds, so that the map need not grow.
pub(crate) const USUAL_HEADERS: usize = 24;
/// Room for what an answer has, which is less.
const USUAL_ANSWER_HEADERS: usize = 12;

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
    /// A status that is neither 200 to 599 nor 101.
    #[error("{0} is no status of an answer")]
    Status(u64),
    /// A header name that is no lower-case token.
    #[error("the name of header {0} is no lower-case token")]
    HeaderName(usize),
    /// A header value with a control character or a code point above U+00FF.
    #[error("the value of header {0} has a control character or a code point above U+00FF")]
    HeaderValue(usize),
    /// More headers than can be held.
    #[error("there are too many headers")]
    TooManyHeaders,
    /// An offered upgrade without its token.
    #[error("the upgrade has no token that can be a header value")]
    Upgrade,
}

impl HeadError {
    /// The stable name of the cause, as the test vectors and events use it.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Method => "bad_method",
            Self::Path => "bad_path",
            Self::Status(_) => "bad_status",
            Self::HeaderName(_) => "bad_header_name",
            Self::HeaderValue(_) => "bad_header_value",
            Self::TooManyHeaders => "too_many_headers",
            Self::Upgrade => "bad_upgrade",
        }
    }
}

/// Appends a request that opens the stream `id`. The token of [`Framing::Tunnel`] is the header `upgrade`.
pub fn encode_request(out: &mut Vec<u8>, id: StreamId, head: &RequestHead, body: &Framing) {
    open(out, "http", Some(id), "request");
    put_text(out, "method", head.method.as_str());
    put_text(out, "path", head.path.as_str());
    put_headers(out, &head.headers);
    if let (Framing::Tunnel, Some(token)) = (body, head.headers.get(header::UPGRADE)) {
        put_key(out, "upgrade");
        put_latin1(out, token.as_bytes());
    }
    put_body(out, body);
    close(out);
}

/// Appends the answer to the request of the stream `id`.
pub fn encode_response(out: &mut Vec<u8>, id: StreamId, head: &ResponseHead, body: &Framing) {
    open(out, "http", Some(id), "response");
    put_key(out, "status");
    put_number(out, head.status.as_u16().into());
    put_headers(out, &head.headers);
    put_body(out, body);
    close(out);
}

/// The bytes that an inline body adds to a message: what must fit the peer's `max_message` beside the head.
#[must_use]
pub fn inline_len(body: &[u8]) -> usize {
    inline::field_len("body", body)
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    put_key(out, "headers");
    out.push(b'[');
    for (index, (name, value)) in headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[\"" } else { b",[\"" });
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b"\",");
        put_latin1(out, value.as_bytes());
        out.push(b']');
    }
    out.push(b']');
}

fn put_body(out: &mut Vec<u8>, body: &Framing) {
    match body {
        Framing::Empty | Framing::Tunnel => {}
        Framing::Inline(bytes) => {
            out.push(b',');
            inline::put_field(out, "body", bytes);
        }
        Framing::Stream => out.extend_from_slice(b",\"body_stream\":true"),
    }
}

/// Reads a payload of type `http`; `None`: an action that is not known here.
pub(super) fn read(
    action: Option<&str>,
    id: RequestId,
    reader: &mut Reader<'_>,
    source: &mut Source<'_>,
) -> Result<Option<Parsed>, MessageError> {
    if is_action(action, "request") {
        let id = id.required()?;
        source.is_request();
        let (head, body) = HeadFields::read(reader, source, USUAL_HEADERS)?.into_request(source)?;
        return Ok(Some(Parsed::Request { id, head, body }));
    }
    if is_action(action, "response") {
        let id = id.required()?;
        let (head, body) = HeadFields::read(reader, source, USUAL_ANSWER_HEADERS)?.into_response(source)?;
        return Ok(Some(Parsed::Response { id, head, body }));
    }
    if is_action(action, "error") {
        return kv::read_error(id, reader);
    }
    Ok(None)
}

/// The fields of a head, as they came.
#[derive(Default)]
struct HeadFields<'a> {
    action: Option<&'a str>,
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    status: Option<u64>,
    headers: Option<Result<HeaderMap, HeadError>>,
    upgrade: Option<Option<Cow<'a, str>>>,
    body: Option<Option<Cow<'a, str>>>,
    body_base64: Option<Option<Cow<'a, str>>>,
    body_stream: Option<bool>,
}

impl<'a> HeadFields<'a> {
    fn read(
        reader: &mut Reader<'a>,
        source: &mut Source<'_>,
        usual_headers: usize,
    ) -> Result<Self, MessageError> {
        let mut fields = Self::default();
        let mut members = reader.enter_object()?;
        while let Some(key) = reader.next_key(&mut members)? {
            match &*key {
                "action" => once(&mut fields.action, "action", reader.skip()?)?,
                "method" => once(&mut fields.method, "method", string(reader, "method")?)?,
                "path" => once(&mut fields.path, "path", string(reader, "path")?)?,
                "status" => once(&mut fields.status, "status", number(reader, "status")?)?,
                "headers" => {
                    once(&mut fields.headers, "headers", read_headers(reader, source, usual_headers)?)?
                }
                "upgrade" => once(&mut fields.upgrade, "upgrade", string_or_null(reader, "upgrade")?)?,
                "body" => once(&mut fields.body, "body", string_or_null(reader, "body")?)?,
                "body_base64" => {
                    once(&mut fields.body_base64, "body_base64", string_or_null(reader, "body_base64")?)?;
                }
                "body_stream" => once(&mut fields.body_stream, "body_stream", read_flag(reader)?)?,
                _ => {
                    reader.skip()?;
                }
            }
        }
        Ok(fields)
    }

    fn into_request(
        mut self,
        source: &Source<'_>,
    ) -> Result<(Result<RequestHead, HeadError>, Framing), MessageError> {
        let method = self.method.take().ok_or(MessageError::MissingField("method"))?;
        let path = self.path.take().ok_or(MessageError::MissingField("path"))?;
        let headers = self.headers.take().unwrap_or_else(|| Ok(HeaderMap::new()));
        let upgrade = self.upgrade.take().flatten();
        let framing = self.framing(upgrade.is_some(), source)?;
        let head = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Method).and_then(|method| {
            let mut headers = headers?;
            if let Some(token) = upgrade {
                let token = latin1(&token).and_then(|token| HeaderValue::from_bytes(&token).ok());
                headers.insert(header::UPGRADE, token.ok_or(HeadError::Upgrade)?);
            }
            Ok(RequestHead { method, path: parse_path(source.bytes_of(path))?, headers })
        });
        Ok((head, framing))
    }

    fn into_response(
        mut self,
        source: &Source<'_>,
    ) -> Result<(Result<ResponseHead, HeadError>, Framing), MessageError> {
        let status = self.status.take().ok_or(MessageError::MissingField("status"))?;
        let headers = self.headers.take().unwrap_or_else(|| Ok(HeaderMap::new()));
        let framing = self.framing(status == u64::from(StatusCode::SWITCHING_PROTOCOLS.as_u16()), source)?;
        let head = parse_status(status).and_then(|status| Ok(ResponseHead { status, headers: headers? }));
        Ok((head, framing))
    }

    fn framing(self, upgrade: bool, source: &Source<'_>) -> Result<Framing, MessageError> {
        let inline = match (self.body.flatten(), self.body_base64.flatten()) {
            (Some(_), Some(_)) => return Err(MessageError::TwoBodies),
            (Some(text), None) => Some(source.bytes_of(text)),
            (None, Some(base64)) => Some(inline::from_base64(&base64).ok_or(MessageError::BadBase64)?),
            (None, None) => None,
        };
        match (inline, self.body_stream == Some(true)) {
            (Some(_), true) => Err(MessageError::TwoBodies),
            (None, false) if upgrade => Ok(Framing::Tunnel),
            _ if upgrade => Err(MessageError::UpgradeWithBody),
            (Some(body), false) if body.len() > MAX_INLINE => Err(MessageError::InlineTooLarge(body.len())),
            (Some(body), false) => Ok(Framing::Inline(body)),
            (None, true) => Ok(Framing::Stream),
            (None, false) => Ok(Framing::Empty),
        }
    }
}

fn read_flag(reader: &mut Reader<'_>) -> Result<bool, MessageError> {
    match reader.value()? {
        Value::Bool(flag) => Ok(flag),
        Value::Null => Ok(false),
        _ => Err(MessageError::WrongType { field: "body_stream", expected: "true or false" }),
    }
}

/// Reads `[["name", "value"], …]` to its end, even after a bad header. The first one makes room for `usual`.
fn read_headers(
    reader: &mut Reader<'_>,
    source: &mut Source<'_>,
    usual: usize,
) -> Result<Result<HeaderMap, HeadError>, MessageError> {
    const WRONG: MessageError = MessageError::WrongType { field: "headers", expected: "an array of pairs" };
    if reader.peek() != Some(b'[') {
        reader.skip()?;
        return Err(WRONG);
    }
    let mut headers = Ok(HeaderMap::new());
    let mut index = 0;
    let mut pairs = reader.enter_array()?;
    while reader.next_element(&mut pairs)? {
        let (name, value) = read_pair(reader)?.ok_or(WRONG)?;
        if let Ok(map) = &mut headers {
            if index == 0 {
                map.reserve(usual);
            }
            let appended = match source.latin1(value) {
                Some(value) => append_header(map, index, name.as_bytes(), value, source.names),
                None => Err(HeadError::HeaderValue(index)),
            };
            if let Err(error) = appended {
                headers = Err(error);
            }
        }
        index += 1;
    }
    Ok(headers)
}

/// The name and the value of a header.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Reads one pair of strings; `None`: it is something else.
fn read_pair<'a>(reader: &mut Reader<'a>) -> Result<Option<Pair<'a>>, MessageError> {
    if let Some((name, value)) = reader.plain_pair() {
        return Ok(Some((name.into(), value.into())));
    }
    if reader.peek() != Some(b'[') {
        return reader.skip().map(|_| None);
    }
    let mut members = reader.enter_array()?;
    let mut pair = [None, None];
    for slot in &mut pair {
        if reader.next_element(&mut members)? {
            if let Value::String(text) = reader.value()? {
                *slot = Some(text);
            }
        } else {
            return Ok(None);
        }
    }
    if reader.next_element(&mut members)? {
        return Ok(None);
    }
    let [name, value] = pair;
    Ok(name.zip(value))
}

/// Reads a path in origin form: visible ASCII that begins with `/`, with no fragment.
pub(crate) fn parse_path(path: Bytes) -> Result<PathAndQuery, HeadError> {
    let origin_form =
        path.first() == Some(&b'/') && path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    if !origin_form {
        return Err(HeadError::Path);
    }
    PathAndQuery::from_maybe_shared(path).map_err(|_| HeadError::Path)
}

/// Reads a final status, or the 101 of an upgrade.
pub(crate) fn parse_status(status: u64) -> Result<StatusCode, HeadError> {
    match u16::try_from(status) {
        Ok(code @ (101 | 200..=599)) => StatusCode::from_u16(code).map_err(|_| HeadError::Status(status)),
        _ => Err(HeadError::Status(status)),
    }
}
