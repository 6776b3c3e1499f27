//! Bytes in any pieces to frames.

use bytes::{Buf, Bytes, BytesMut};
use toru_plugin_api::{
    frame::{
        Decoder, Frame, FrameError, Limits, TransmitBuf, encode_frame,
        head::{self, HeadFlags},
    },
    message::KnownNames,
};

/// What a stream of bytes came to.
type Outcome = (Vec<Frame>, Option<FrameError>, BytesMut);

/// The first byte chooses the decoder, the second says how many of the following are the sizes of the pieces,
/// taken in turn; the rest is the stream.
///
/// The frames and the error are the same in pieces and at once, and the frames encode to the bytes they came from.
pub fn decoder(input: &[u8]) {
    let [mode, sizes, rest @ ..] = input else { return };
    let (sizes, stream) = rest.split_at(rest.len().min(usize::from(sizes % 8)));
    let decoder = match mode % 3 {
        0 => Decoder::new(Limits::DEFAULT.max_message, Limits::DEFAULT.max_data),
        // Small limits, so that short inputs pass them.
        1 => Decoder::new(64, 32),
        _ => Decoder::v1(),
    };
    let whole = run(decoder.clone(), std::iter::once(stream));
    let pieces = run(decoder.clone(), Pieces { sizes: sizes.iter().cycle(), rest: stream });
    assert_eq!(pieces, whole, "the outcome depends on how the stream was cut");

    let (frames, error, left) = whole;
    let mut out = TransmitBuf::new();
    let mut names = KnownNames::default();
    for frame in frames {
        if let Frame::Head { flags, bytes, .. } = &frame {
            check_head(*flags, bytes.clone(), &mut names);
        }
        encode_frame(&mut out, frame);
    }
    let mut again = out.copy_to_bytes(out.remaining()).to_vec();
    again.extend_from_slice(&left);
    assert!(again == stream, "what was decoded encodes to other bytes");
    if error.is_none() {
        assert_eq!(decoder.finish(&left).is_ok(), left.is_empty());
    }
}

struct Pieces<'a, S> {
    sizes: S,
    rest: &'a [u8],
}

impl<'a, 'b, S: Iterator<Item = &'b u8>> Iterator for Pieces<'a, S> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let size = self.sizes.next().map_or(self.rest.len(), |size| usize::from(*size).max(1));
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

fn run<'a>(mut decoder: Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    let mut error = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        while error.is_none() {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(found) => error = Some(found),
            }
        }
    }
    (frames, error, input)
}

/// A head that can be read is written so that it reads the same again, whatever names were known before, and as long as it
/// was.
fn check_head(flags: HeadFlags, bytes: Bytes, names: &mut KnownNames) {
    let mut again = Vec::new();
    let mut none_known = KnownNames::default();
    if flags.is_answer() {
        let Ok((Ok(head), body)) = head::parse_response(flags, bytes.clone(), names) else { return };
        assert_eq!(head::encode_response(&mut again, &head, &body), Ok(flags));
        assert_eq!(again.len(), bytes.len(), "a head is written as long as it was read");
        let reread = head::parse_response(flags, again.into(), &mut none_known);
        assert_eq!(reread, Ok((Ok(head), body)));
    } else {
        let Ok((Ok(head), body)) = head::parse_request(flags, bytes.clone(), names) else { return };
        assert_eq!(head::encode_request(&mut again, &head, &body), Ok(flags));
        assert_eq!(again.len(), bytes.len(), "a head is written as long as it was read");
        let reread = head::parse_request(flags, again.into(), &mut none_known);
        assert_eq!(reread, Ok((Ok(head), body)));
    }
}
