//! A blocking HTTP/1.1 client, little enough that it costs no more than wrk.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::Target;
use crate::{
    Outcome,
    workload::{Sends, Workload},
};

/// The longest silence of a system under load.
const SILENCE: Duration = Duration::from_secs(60);
/// What is written or read at once.
const PIECE: usize = 64 << 10;
/// The longest line of a head, and the longest answer that is kept: several times what any system sends.
const LINE_MAX: u64 = 16 << 10;
const ANSWER_MAX: usize = 16 << 20;

static DOTS: [u8; PIECE] = [b'.'; PIECE];

/// A connection to a system, kept alive.
pub(crate) struct Connection<'a> {
    target: &'a Target,
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// How an answer's body ends (RFC 9112 section 6.3).
enum Framing {
    Length(u64),
    Chunks,
    Close,
}

impl<'a> Connection<'a> {
    pub(crate) fn open(target: &'a Target) -> Outcome<Self> {
        let stream = TcpStream::connect(&target.authority)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self { target, stream: BufReader::with_capacity(PIECE, stream) })
    }

    /// One request, and its whole answer.
    pub(crate) fn ask(&mut self, workload: &Workload) -> Outcome<Answer> {
        let mut body = Vec::new();
        let status = self.ask_for_pieces(workload, |piece| {
            body.extend_from_slice(piece);
            if body.len() > ANSWER_MAX { Err("the answer does not end".into()) } else { Ok(()) }
        })?;
        Ok(Answer { status, body })
    }

    /// One request; its answer's body is given piece by piece, as it arrives.
    pub(crate) fn ask_for_pieces(
        &mut self,
        workload: &Workload,
        mut take: impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<u16> {
        self.send(workload)?;
        let (status, framing) = self.read_head()?;
        match framing {
            Framing::Length(length) => self.read_exactly(length, &mut take)?,
            Framing::Chunks => self.read_chunks(&mut take)?,
            Framing::Close => self.read_exactly(u64::MAX, &mut take)?,
        }
        Ok(status)
    }

    fn send(&mut self, workload: &Workload) -> Outcome<()> {
        let Target { authority, prefix, header } = self.target;
        let method = if workload.sends == Sends::Nothing { "GET" } else { "POST" };
        let mut head = format!("{method} {prefix}{} HTTP/1.1\r\nHost: {authority}\r\n", workload.path);
        for header in workload.headers.iter().copied().chain(header.as_deref()) {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if let Sends::Bytes(bytes) = workload.sends {
            head.push_str(&format!("Content-Length: {bytes}\r\n"));
        }
        let stream = self.stream.get_mut();
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let Sends::Bytes(mut left) = workload.sends else { return Ok(()) };
        while left > 0 {
            let piece = left.min(PIECE);
            stream.write_all(&DOTS[..piece])?;
            left -= piece;
        }
        Ok(())
    }

    fn read_head(&mut self) -> Outcome<(u16, Framing)> {
        let line = self.read_line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("the answer begins with {line:?}"))?;
        let mut framing = Framing::Close;
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok((status, framing)) };
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunks;
            }
        }
    }

    fn read_chunks(&mut self, take: &mut impl FnMut(&[u8]) -> Outcome<()>) -> Outcome<()> {
        loop {
            let line = self.read_line()?;
            let length = u64::from_str_radix(line.trim(), 16);
            let length = length.map_err(|_| format!("a chunk begins with {line:?}"))?;
            self.read_exactly(length, take)?;
            self.read_line()?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn read_exactly(&mut self, mut length: u64, take: &mut impl FnMut(&[u8]) -> Outcome<()>) -> Outcome<()> {
        let to_the_end = length == u64::MAX;
        while length > 0 {
            let arrived = self.stream.fill_buf()?;
            if arrived.is_empty() {
                return if to_the_end { Ok(()) } else { Err("the answer was cut".into()) };
            }
            let piece = arrived.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            take(&arrived[..piece])?;
            self.stream.consume(piece);
            length -= piece as u64;
        }
        Ok(())
    }

    /// A line, without its end.
    fn read_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.stream.by_ref().take(LINE_MAX).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(format!("the answer was cut after {line:?}").into()),
        }
    }
}
