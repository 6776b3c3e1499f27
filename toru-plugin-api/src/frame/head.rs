//! HTTP heads in binary (feature `heads`, protocol section 4).
//!
//! What breaks the layout is a protocol error ([`FrameError`]); a well laid out head that is no HTTP head
//! costs only its stream ([`HeadError`]).

use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Buf, Bytes};

use super::{
    FrameError,
    limits::{MAX_HEAD, MAX_INLINE},
};
use crate::message::{
    KnownNames, append_header,
    http::{Framing, HeadError, RequestHead, ResponseHead, USUAL_HEADERS, parse_path, parse_status},
};

/// The flags of a HEAD frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadFlags(pub u8);

impl HeadFlags {
    /// The direction has no body and has ended.
    pub const NO_BODY: u8 = 1;
    /// This is an answer.
    pub const ANSWER: u8 = 1 << 1;
    /// The rest of the frame is the whole body, and the direction has ended.
    pub const WHOLE_BODY: u8 = 1 << 2;
    /// An offered upgrade, or the 101 that takes it.
    pub const UPGRADE: u8 = 1 << 3;
    /// All that have a meaning; bit 4 is reserved for trailers.
    pub const DEFINED: u8 = Self::NO_BODY | Self::ANSWER | Self::WHOLE_BODY | Self::UPGRADE;

    /// Whether this is the head of an answer.
    #[must_use]
    pub fn is_answer(self) -> bool {
        self.0 & Self::ANSWER != 0
    }

    /// Whether the flags exclude each other: at most one of no body, a whole body and an upgrade.
    pub(super) fn conflict(self) -> bool {
        (self.0 & (Self::NO_BODY | Self::WHOLE_BODY | Self::UPGRADE)).count_ones() > 1
    }

    fn of(framing: &Framing) -> Self {
        Self(match framing {
            Framing::Empty => Self::NO_BODY,
            Framing::Inline(_) => Self::WHOLE_BODY,
            Framing::Stream => 0,
            Framing::Tunnel => Self::UPGRADE,
        })
    }
}

/// A head that does not fit a HEAD frame: send it as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head does not fit a HEAD frame")]
pub struct HeadTooLarge;

/// A request's head, or what is wrong with it, and how its body comes.
pub type ParsedRequest = (Result<RequestHead, HeadError>, Framing);
/// An answer's head, or what is wrong with it, and how its body comes.
pub type ParsedResponse = (Result<ResponseHead, HeadError>, Framing);

/// Reads a request from what follows the stream number of a HEAD frame. Its fields are pieces of `bytes`.
///
/// # Errors
/// The layout is broken, or the flags are those of an answer: a protocol error.
pub fn parse_request(
    flags: HeadFlags,
    bytes: Bytes,
    names: &mut KnownNames,
) -> Result<ParsedRequest, FrameError> {
    if flags.is_answer() {
        return Err(FrameError::HeadDirection(flags.0));
    }
    let mut fields = Fields::of(&bytes);
    let method = fields.short("method")?;
    let path = fields.long("path")?;
    let headers = fields.headers(names)?;
    let size = fields.size();
    let head = Method::from_bytes(method).map_err(|_| HeadError::Method).and_then(|method| {
        let headers = headers?;
        let upgrade = flags.0 & HeadFlags::UPGRADE != 0;
        if upgrade && !headers.contains_key(::http::header::UPGRADE) {
            return Err(HeadError::Upgrade);
        }
        Ok(RequestHead { method, path: parse_path(bytes.slice_ref(path))?, headers })
    });
    Ok((head, framing(flags, bytes, size)?))
}

/// Reads an answer from what follows the stream number of a HEAD frame. Its fields are pieces of `bytes`.
///
/// # Errors
/// The layout is broken, the flags are those of a request, or the upgrade flag and the status 101 come one
/// without the other: a protocol error.
pub fn parse_response(
    flags: HeadFlags,
    bytes: Bytes,
    names: &mut KnownNames,
) -> Result<ParsedResponse, FrameError> {
    if !flags.is_answer() {
        return Err(FrameError::HeadDirection(flags.0));
    }
    let mut fields = Fields::of(&bytes);
    let status = fields.number("status")?;
    let headers = fields.headers(names)?;
    let size = fields.size();
    let upgrade = flags.0 & HeadFlags::UPGRADE != 0;
    if upgrade != (status == StatusCode::SWITCHING_PROTOCOLS.as_u16()) {
        return Err(FrameError::UpgradeMismatch(status));
    }
    let head = parse_status(status.into()).and_then(|status| Ok(ResponseHead { status, headers: headers? }));
    Ok((head, framing(flags, bytes, size)?))
}

/// Appends a request's head part, and its body if it is inline, to `out`; gives the flags of its frame.
///
/// # Errors
/// The head part does not fit; `out` holds a part of it then.
pub fn encode_request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    body: &Framing,
) -> Result<HeadFlags, HeadTooLarge> {
    let start = out.len();
    let method = head.method.as_str().as_bytes();
    out.push(u8::try_from(method.len()).map_err(|_| HeadTooLarge)?);
    out.extend_from_slice(method);
    put_long(out, head.path.as_str().as_bytes())?;
    put_headers(out, &head.headers)?;
    put_body(out, start, body)?;
    Ok(HeadFlags::of(body))
}

/// Appends an answer's head part, and its body if it is inline, to `out`; gives the flags of its frame.
///
/// # Errors
/// The head part does not fit; `out` holds a part of it then.
pub fn encode_response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    body: &Framing,
) -> Result<HeadFlags, HeadTooLarge> {
    let start = out.len();
    out.extend_from_slice(&head.status.as_u16().to_be_bytes());
    put_headers(out, &head.headers)?;
    put_body(out, start, body)?;
    Ok(HeadFlags(HeadFlags::of(body).0 | HeadFlags::ANSWER))
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) -> Result<(), HeadTooLarge> {
    let count = u16::try_from(headers.len()).map_err(|_| HeadTooLarge)?;
    out.extend_from_slice(&count.to_be_bytes());
    for (name, value) in headers {
        put_long(out, name.as_str().as_bytes())?;
        put_long(out, value.as_bytes())?;
    }
    Ok(())
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), HeadTooLarge> {
    let length = u16::try_from(bytes.len()).map_err(|_| HeadTooLarge)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_body(out: &mut Vec<u8>, start: usize, body: &Framing) -> Result<(), HeadTooLarge> {
    if out.len() - start > MAX_HEAD {
        return Err(HeadTooLarge);
    }
    if let Framing::Inline(bytes) = body {
        out.extend_from_slice(bytes);
    }
    Ok(())
}

fn framing(flags: HeadFlags, mut bytes: Bytes, head_size: usize) -> Result<Framing, FrameError> {
    if head_size > MAX_HEAD {
        return Err(FrameError::HeadTooLarge);
    }
    bytes.advance(head_size);
    if flags.0 & HeadFlags::WHOLE_BODY != 0 {
        return if bytes.len() > MAX_INLINE {
            Err(FrameError::InlineTooLarge(bytes.len()))
        } else {
            Ok(Framing::Inline(bytes))
        };
    }
    if !bytes.is_empty() {
        return Err(FrameError::HeadTrailingBytes(bytes.len()));
    }
    Ok(match flags.0 & (HeadFlags::NO_BODY | HeadFlags::UPGRADE) {
        0 => Framing::Stream,
        HeadFlags::UPGRADE => Framing::Tunnel,
        _ => Framing::Empty,
    })
}

/// The fields of a head part, read from the front.
struct Fields<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(whole: &'a Bytes) -> Self {
        Self { whole, rest: whole }
    }

    /// The bytes read so far.
    fn size(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(FrameError::HeadCutShort { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, field: &'static str) -> Result<u16, FrameError> {
        Ok(self.take(size_of::<u16>(), field)?.get_u16())
    }

    fn short(&mut self, field: &'static str) -> Result<&'a [u8], FrameError> {
        let length = self.take(1, field)?[0];
        self.take(length.into(), field)
    }

    fn long(&mut self, field: &'static str) -> Result<&'a [u8], FrameError> {
        let length = self.number(field)?;
        self.take(length.into(), field)
    }

    /// Reads all headers even after a bad one, so that the layout is always checked to its end.
    fn headers(&mut self, names: &mut KnownNames) -> Result<Result<HeaderMap, HeadError>, FrameError> {
        let count = self.number("number of headers")?;
        // Made once for what usually comes, and never for a number that was only named.
        let mut headers = Ok(HeaderMap::with_capacity(usize::from(count).min(USUAL_HEADERS)));
        for index in 0..usize::from(count) {
            let name = self.long("header name")?;
            let value = self.long("header value")?;
            if let Ok(map) = &mut headers {
                if let Err(error) = append_header(map, index, name, self.whole.slice_ref(value), names) {
                    headers = Err(error);
                }
            }
        }
        Ok(headers)
    }
}
