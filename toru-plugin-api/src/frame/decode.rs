//! Bytes to frames.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Frame, FrameError, ResetCode, StreamId,
    head::HeadFlags,
    kind,
    limits::{BINARY_PREFIX, CREDIT_LENGTH, DATA_PREFIX, LENGTH_PREFIX, RESET_LENGTH, V1_MAX_MESSAGE},
};

/// DATA flag: the last frame of this direction.
pub(super) const END: u8 = 1;

/// Cuts frames off the front of a buffer. Holds only the limits: the bytes stay with the caller.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_message: u32,
    max_data: u32,
    binary: bool,
}

impl Decoder {
    /// A decoder for version 2 that accepts messages and data up to these sizes.
    #[must_use]
    pub fn new(max_message: u32, max_data: u32) -> Self {
        Self { max_message, max_data, binary: true }
    }

    /// A decoder for version 1: JSON messages only, up to 16 MiB.
    #[must_use]
    pub fn v1() -> Self {
        Self { max_message: V1_MAX_MESSAGE, max_data: 0, binary: false }
    }

    /// Accepts messages and data up to these sizes from the next frame on.
    pub fn set_limits(&mut self, max_message: u32, max_data: u32) {
        self.max_message = max_message;
        self.max_data = max_data;
    }

    /// Takes the next whole frame off the front of `input`, without copying its bytes.
    /// `None`: more bytes are needed. Never reserves memory for a length that has not arrived.
    ///
    /// # Errors
    /// The first frame is no frame; the same error whatever way the bytes were split, as soon as the bytes
    /// that show it are there. `input` is left as it was.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(whole) = self.check(input)? else { return Ok(None) };
        let mut frame = input.split_to(whole).freeze();
        frame.advance(LENGTH_PREFIX);
        Ok(Some(split(frame)))
    }

    /// Says whether the connection may end here; `rest` is what [`decode`](Self::decode) left.
    ///
    /// # Errors
    /// The end came inside a frame.
    pub fn finish(&self, rest: &[u8]) -> Result<(), FrameError> {
        if rest.is_empty() { Ok(()) } else { Err(FrameError::EofInsideFrame { have: rest.len() }) }
    }

    /// Checks the first frame in the order of its bytes, each rule as soon as its bytes are there: so the
    /// first error is the same for every split. Gives the whole size once the frame is complete and valid.
    fn check(&self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((prefix, payload)) = input.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix);
        self.check_length(length)?;
        let Some(&kind) = payload.first() else { return Ok(None) };
        self.check_kind(kind, length)?;
        if is_binary(kind) {
            let Some(&flags) = payload.get(1) else { return Ok(None) };
            check_flags(kind, flags, length)?;
            let Some(stream) = payload.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            if u32::from_be_bytes(*stream) == 0 {
                return Err(FrameError::StreamZero);
            }
        }
        // Without room for a usize of this length no such frame can ever be whole.
        let Some(payload) = usize::try_from(length).ok().and_then(|length| payload.get(..length)) else {
            return Ok(None);
        };
        check_content(kind, payload)?;
        Ok(Some(LENGTH_PREFIX + payload.len()))
    }

    fn check_length(&self, length: u32) -> Result<(), FrameError> {
        if length == 0 {
            return Err(FrameError::LengthZero);
        }
        let limit = if self.binary { self.max_message.max(self.data_limit()) } else { self.max_message };
        if length > limit { Err(FrameError::TooLong { length, limit }) } else { Ok(()) }
    }

    fn check_kind(&self, kind: u8, length: u32) -> Result<(), FrameError> {
        let (possible, limit) = match kind {
            kind::MESSAGE => (true, self.max_message),
            // Only version 2 demands that a message begins with exactly `{`.
            b' ' | b'\t' | b'\r' | b'\n' if !self.binary => (true, self.max_message),
            kind::DATA if self.binary => (length >= BINARY_PREFIX, self.data_limit()),
            kind::HEAD if self.binary => (length >= BINARY_PREFIX, self.max_message),
            kind::CREDIT if self.binary => (length == CREDIT_LENGTH, CREDIT_LENGTH),
            kind::RESET if self.binary => (is_reset_length(length), RESET_LENGTH),
            _ => return Err(FrameError::UnknownKind(kind)),
        };
        if !possible {
            return Err(FrameError::WrongLength { kind, length });
        }
        if length > limit { Err(FrameError::TooLong { length, limit }) } else { Ok(()) }
    }

    fn data_limit(&self) -> u32 {
        self.max_data.saturating_add(BINARY_PREFIX)
    }
}

/// With `seeded_bug` one wrong length passes, and taking its stream number apart panics: the fuzzer's prey.
fn is_reset_length(length: u32) -> bool {
    length == RESET_LENGTH || (cfg!(seeded_bug) && length == RESET_LENGTH - 2)
}

fn is_binary(kind: u8) -> bool {
    matches!(kind, kind::DATA | kind::CREDIT | kind::RESET | kind::HEAD)
}

fn check_flags(kind: u8, flags: u8, length: u32) -> Result<(), FrameError> {
    let defined = match kind {
        kind::DATA => END,
        kind::CREDIT => 0,
        kind::HEAD => HeadFlags::DEFINED,
        // A RESET has a code here, and every code has a meaning.
        _ => u8::MAX,
    };
    if flags & !defined != 0 {
        return Err(FrameError::UndefinedFlags { kind, flags });
    }
    if kind == kind::HEAD && HeadFlags(flags).conflict() {
        return Err(FrameError::ConflictingFlags(flags));
    }
    if kind == kind::DATA && length == BINARY_PREFIX && flags & END == 0 {
        return Err(FrameError::EmptyData);
    }
    Ok(())
}

fn check_content(kind: u8, payload: &[u8]) -> Result<(), FrameError> {
    match kind {
        kind::CREDIT if payload.ends_with(&[0; 4]) => Err(FrameError::CreditZero),
        kind::CREDIT | kind::RESET | kind::DATA | kind::HEAD => Ok(()),
        _ => match std::str::from_utf8(payload) {
            Ok(_) => Ok(()),
            Err(error) => Err(FrameError::NotUtf8 { at: error.valid_up_to() }),
        },
    }
}

/// Takes a checked payload apart.
fn split(mut payload: Bytes) -> Frame {
    let kind = payload[0];
    if !is_binary(kind) {
        return Frame::Message(payload);
    }
    let flags = payload[1];
    let stream = StreamId((&payload[2..DATA_PREFIX]).get_u32());
    payload.advance(DATA_PREFIX);
    match kind {
        kind::DATA => Frame::Data { stream, end: flags & END != 0, bytes: payload },
        kind::CREDIT => Frame::Credit { stream, n: payload.get_u32() },
        kind::RESET => Frame::Reset { stream, code: ResetCode(flags) },
        _ => Frame::Head { stream, flags: HeadFlags(flags), bytes: payload },
    }
}
