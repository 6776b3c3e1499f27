//! Where requests begin and end (RFC 9112), read more strictly than hyper does, so that whatever passes here hyper reads the same way.
//!
//! ```text
//!            ┌──────────────── no body ◀───────────────┐
//!            ▼                                         │
//!    RequestLine ──▶ Fields ── empty line ─────────────┼──▶ Data(n) ──▶ RequestLine
//!      (empty lines                                    ├──▶ Offered: the caller decides what follows
//!       before it)                                     └──▶ ChunkSize ──▶ ChunkData ─┐
//!                                                           │    ▲                   │
//!                                                           │    └───────────────────┘
//!                                                           └─ 0 ─▶ Trailers ──▶ RequestLine
//!    anywhere ──▶ Refused: what follows is not looked at
//! ```

use std::mem;

/// What stands in place of a line's end to have it refused: no parser takes it in a head, and in a body it is the last byte.
const REFUSAL: u8 = 0;

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Scan {
    state: State,
    /// The most bytes of a line that are kept until its end comes: past it hyper has refused the head.
    max_line: usize,
    framing: Framing,
    /// The beginning of a line whose end has not come; empty while each read brings whole lines.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RequestLine,
    Fields,
    /// Behind a head that offers an upgrade.
    Offered,
    Data(u64),
    ChunkSize,
    /// With the CRLF behind them.
    ChunkData(u64),
    Trailers,
    Refused,
}

/// What the fields of a head say of its body.
#[derive(Debug, Default, Clone, Copy)]
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
    offers_upgrade: bool,
}

/// How far bytes were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// To their end.
    All,
    /// To the end of a head that offers an upgrade, so many bytes before theirs: the caller decides what the rest is.
    Offered { rest: usize },
    /// Past the refusal: the rest is not to be read by anyone, nor is what comes later.
    Refused { kept: usize },
}

/// What can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ambiguous;

impl Scan {
    /// For a server that takes heads of at most this size.
    pub(super) fn new(max_head: usize) -> Self {
        Self { state: State::RequestLine, max_line: max_head, framing: Framing::default(), line: Vec::new() }
    }

    /// Follows these bytes. Where they are ambiguous a refusal is put into them, and nothing behind it counts.
    pub(super) fn feed(&mut self, bytes: &mut [u8]) -> Seen {
        let mut at = 0;
        loop {
            match self.state {
                State::Refused => return Seen::Refused { kept: at },
                State::Offered => {
                    self.state = State::RequestLine;
                    return Seen::Offered { rest: bytes.len() - at };
                }
                _ if at == bytes.len() => return Seen::All,
                State::Data(left) => at += self.skip(left, bytes.len() - at, State::Data, State::RequestLine),
                State::ChunkData(left) => {
                    at += self.skip(left, bytes.len() - at, State::ChunkData, State::ChunkSize);
                }
                _ => at += self.read_line(&mut bytes[at..]),
            }
        }
    }

    pub(super) fn has_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Takes a line, or the beginning of one; how many bytes there were.
    fn read_line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            return bytes.len();
        };
        if self.whole_line(&bytes[..end]).is_err() {
            bytes[end] = REFUSAL;
            self.state = State::Refused;
        }
        end + 1
    }

    /// Passes over the bytes of a body; how many there were.
    fn skip(&mut self, left: u64, here: usize, more: fn(u64) -> State, done: State) -> usize {
        let skipped = left.min(here as u64);
        self.state = if skipped == left { done } else { more(left - skipped) };
        // Not more than there is here.
        skipped as usize
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > self.max_line {
            self.state = State::Refused;
        } else {
            self.line.extend_from_slice(part);
        }
    }

    /// A line, but for its LF, of which a beginning may have come before.
    fn whole_line(&mut self, end: &[u8]) -> Result<(), Ambiguous> {
        if self.line.is_empty() {
            return self.line(end);
        }
        let mut line = mem::take(&mut self.line);
        line.extend_from_slice(end);
        self.line(&line)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        // Section 2.2: a lone LF may end a line for one reader and not for another.
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        match self.state {
            State::RequestLine if line.is_empty() => {}
            State::RequestLine => {
                self.framing = Framing::default();
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => self.state = self.framing.body()?,
            State::Fields => self.framing.field(line)?,
            State::ChunkSize => self.state = chunk(line)?,
            State::Trailers if line.is_empty() => self.state = State::RequestLine,
            // A trailer, which goes no further; the others have no lines.
            _ => {}
        }
        Ok(())
    }
}

impl Framing {
    fn field(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        match line[0] {
            // Section 5.2: a folded line.
            b' ' | b'\t' => return Err(Ambiguous),
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length")? {
                    // Section 6.3: two lengths, even of one value, are two opinions.
                    if self.length.replace(length(value)?).is_some() {
                        return Err(Ambiguous);
                    }
                }
            }
            b't' | b'T' => {
                if let Some(value) = value_of(line, b"transfer-encoding")? {
                    let last = value.rsplit(|byte| *byte == b',').next().unwrap_or(value);
                    if mem::replace(&mut self.is_chunked, true)
                        || !last.trim_ascii().eq_ignore_ascii_case(b"chunked")
                    {
                        return Err(Ambiguous);
                    }
                }
            }
            b'u' | b'U' => self.offers_upgrade |= value_of(line, b"upgrade")?.is_some(),
            _ => {}
        }
        Ok(())
    }

    /// What follows the head (section 6.3).
    fn body(self) -> Result<State, Ambiguous> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Ambiguous),
            (None, true) => Ok(State::ChunkSize),
            (None | Some(0), false) if self.offers_upgrade => Ok(State::Offered),
            (None | Some(0), false) => Ok(State::RequestLine),
            (Some(length), false) => Ok(State::Data(length)),
        }
    }
}

/// The value of a line that is a field of this name. A space before its colon hides the field from some readers (section 5.1).
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Result<Option<&'l [u8]>, Ambiguous> {
    let Some((begin, rest)) = line.split_at_checked(name.len()) else { return Ok(None) };
    if !begin.eq_ignore_ascii_case(name) {
        return Ok(None);
    }
    match rest.split_first() {
        Some((b':', value)) => Ok(Some(value.trim_ascii())),
        Some((b' ' | b'\t', _)) => Err(Ambiguous),
        _ => Ok(None),
    }
}

/// Digits only: no sign, no list.
fn length(value: &[u8]) -> Result<u64, Ambiguous> {
    let digits = std::str::from_utf8(value).map_err(|_| Ambiguous)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Ambiguous);
    }
    digits.parse().map_err(|_| Ambiguous)
}

/// What follows the line with a chunk's size (section 7.1): hex digits, and an extension or nothing.
fn chunk(line: &[u8]) -> Result<State, Ambiguous> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    if extension.contains(&b'\r') || digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Ambiguous);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    match u64::from_str_radix(digits, 16).map_err(|_| Ambiguous)? {
        0 => Ok(State::Trailers),
        size => size.checked_add(2).map(State::ChunkData).ok_or(Ambiguous),
    }
}

#[cfg(test)]
mod tests;
