use std::io::IoSlice;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::{Buf, Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::{head::HeadFlags, limits::V1_MAX_MESSAGE, *};
use crate::message::{
    KnownNames,
    http::{Framing, RequestHead, ResponseHead},
};

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut out = TransmitBuf::new();
    frames.iter().cloned().for_each(|frame| encode_frame(&mut out, frame));
    out.copy_to_bytes(out.remaining()).to_vec()
}

fn decoder() -> Decoder {
    Decoder::new(Limits::DEFAULT.max_message, Limits::DEFAULT.max_data)
}

#[test]
fn large_data_is_referenced_and_small_frames_are_joined() {
    let large = Bytes::from(vec![7; 4 << 10]);
    let mut out = TransmitBuf::new();
    encode_message(&mut out, b"{}");
    encode_data(&mut out, StreamId(1), Bytes::from_static(b"small"), false);
    encode_data(&mut out, StreamId(1), large.clone(), true);
    encode_credit(&mut out, StreamId(1), 5);
    encode_reset(&mut out, StreamId(2), ResetCode::DONE);
    let mut slices = [IoSlice::new(&[]); 8];
    assert_eq!(out.chunks_vectored(&mut slices), 3);
    assert_eq!(slices[1].as_ptr(), large.as_ptr(), "the bytes lie where they were");
    assert_eq!(out.len(), 6 + 15 + 10 + large.len() + 14 + 10);
}

#[test]
fn what_was_written_is_taken_from_the_front() {
    let frame =
        |byte: u8, size| Frame::Data { stream: StreamId(1), end: false, bytes: vec![byte; size].into() };
    let frames = [frame(1, 10), frame(2, 9_000), frame(3, 8_000), frame(4, 1)];
    let whole = encoded(&frames);
    for step in [1, 7, 4_096, 8_999, whole.len()] {
        let mut out = TransmitBuf::new();
        frames.iter().cloned().for_each(|frame| encode_frame(&mut out, frame));
        let mut written = Vec::new();
        while !out.is_empty() {
            let count = step.min(out.chunk().len());
            written.extend_from_slice(&out.chunk()[..count]);
            out.advance(count);
            assert_eq!(out.len(), whole.len() - written.len());
        }
        assert!(written == whole, "in steps of {step}");
    }
}

#[test]
fn a_declared_length_reserves_nothing() {
    let mut input = BytesMut::with_capacity(64);
    input.extend_from_slice(&[0, 0x0f, 0xff, 0xff, b'{']);
    let capacity = input.capacity();
    assert_eq!(decoder().decode(&mut input), Ok(None));
    assert_eq!(input.capacity(), capacity);
}

#[test]
fn data_is_taken_out_of_the_buffer_without_a_copy() {
    let mut input = BytesMut::from(&[0, 0, 0, 8, 1, 1, 0, 0, 0, 1, b'h', b'i'][..]);
    let at = input[10..].as_ptr();
    let Ok(Some(Frame::Data { bytes, .. })) = decoder().decode(&mut input) else { panic!("no DATA") };
    assert_eq!(bytes.as_ptr(), at);
}

#[test]
fn an_error_leaves_the_input_as_it_was() {
    let mut input = BytesMut::from(&[0, 0, 0, 3, b'{', 0xff, b'}'][..]);
    let before = input.clone();
    let error = decoder().decode(&mut input).unwrap_err();
    assert_eq!(error, FrameError::NotUtf8 { at: 1 });
    assert_eq!(input, before);
    assert_eq!(decoder().decode(&mut input), Err(error), "asked again, it says the same");
}

#[test]
fn a_version_1_message_may_have_16_mib() {
    let mut text = vec![b' '; V1_MAX_MESSAGE as usize];
    text[0] = b'{';
    let mut input = BytesMut::from(&encoded(&[Frame::Message(text.into())])[..]);
    assert!(matches!(Decoder::v1().decode(&mut input), Ok(Some(Frame::Message(_)))));
}

#[test]
fn new_limits_hold_from_the_next_frame_on() {
    let mut decoder = Decoder::new(65_536, 1_024);
    let bytes = encoded(&[Frame::Data { stream: StreamId(1), end: false, bytes: vec![0; 2_000].into() }]);
    let mut input = BytesMut::from(&bytes[..]);
    assert_eq!(decoder.decode(&mut input).unwrap_err().cause(), "too_long");
    decoder.set_limits(65_536, 2_000);
    assert!(decoder.decode(&mut input).unwrap().is_some());
}

#[test]
fn a_head_of_the_other_direction_is_refused() {
    let request = head::parse_request(HeadFlags(HeadFlags::ANSWER), Bytes::new(), &mut KnownNames::default());
    assert_eq!(request.unwrap_err().cause(), "head_direction");
    let response = head::parse_response(HeadFlags(0), Bytes::new(), &mut KnownNames::default());
    assert_eq!(response.unwrap_err().cause(), "head_direction");
}

#[test]
fn a_head_above_64_kib_is_left_to_json() {
    let mut headers = HeaderMap::new();
    for name in ["a", "b"] {
        headers.insert(name, HeaderValue::from_bytes(&vec![b'x'; 40 << 10]).unwrap());
    }
    let head = ResponseHead { status: StatusCode::OK, headers };
    assert_eq!(head::encode_response(&mut Vec::new(), &head, &Framing::Empty), Err(head::HeadTooLarge));
}

fn stream() -> impl Strategy<Value = StreamId> {
    (1..=u32::MAX).prop_map(StreamId)
}

fn frame() -> impl Strategy<Value = Frame> {
    let flags = prop::sample::select(vec![0, 1, 2, 3, 4, 6, 8, 10]);
    prop_oneof![
        "\\PC{0,40}".prop_map(|text| Frame::Message(format!("{{{text}").into())),
        (stream(), any::<bool>(), vec(any::<u8>(), 1..6_000)).prop_map(|(stream, end, bytes)| Frame::Data {
            stream,
            end,
            bytes: bytes.into()
        }),
        stream().prop_map(|stream| Frame::Data { stream, end: true, bytes: Bytes::new() }),
        (stream(), 1..=u32::MAX).prop_map(|(stream, n)| Frame::Credit { stream, n }),
        (stream(), any::<u8>()).prop_map(|(stream, code)| Frame::Reset { stream, code: ResetCode(code) }),
        (stream(), flags, vec(any::<u8>(), 0..100)).prop_map(|(stream, flags, bytes)| Frame::Head {
            stream,
            flags: HeadFlags(flags),
            bytes: bytes.into(),
        }),
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    vec(("[a-z0-9-]{1,12}", "[\\t -~\u{80}-\u{ff}]{0,20}"), 0..6).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value: Vec<u8> = value.chars().map(|c| u8::try_from(c).unwrap()).collect();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        headers
    })
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Empty),
        Just(Framing::Stream),
        vec(any::<u8>(), 0..50).prop_map(|body| Framing::Inline(body.into())),
    ]
}

proptest! {
    #[test]
    fn frames_come_back_however_the_stream_is_cut(
        frames in vec(frame(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = encoded(&frames);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut decoder = decoder();
        let mut input = BytesMut::new();
        let mut decoded = Vec::new();
        let mut start = 0;
        for cut in cuts {
            input.extend_from_slice(&bytes[start..cut]);
            start = cut;
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert_eq!(decoder.finish(&input), Ok(()));
    }

    #[test]
    fn any_bytes_end_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![any::<u8>(), 0..8_u8], 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let outcome = |cut: usize| {
            let mut decoder = decoder();
            let mut input = BytesMut::new();
            let mut frames = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                input.extend_from_slice(piece);
                loop {
                    match decoder.decode(&mut input) {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(error) => return (frames, Some(error)),
                    }
                }
            }
            (frames, None)
        };
        prop_assert_eq!(outcome(cut.index(bytes.len())), outcome(0));
    }

    #[test]
    fn binary_requests_come_back(
        method in "[A-Z]{1,10}",
        path in "/[a-z0-9%?&=/.-]{0,40}",
        headers in headers(),
        body in framing(),
    ) {
        let head = RequestHead {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            path: path.parse().unwrap(),
            headers,
        };
        let mut bytes = Vec::new();
        let flags = head::encode_request(&mut bytes, &head, &body).unwrap();
        prop_assert_eq!(head::parse_request(flags, bytes.into(), &mut KnownNames::default()), Ok((Ok(head), body)));
    }

    #[test]
    fn binary_answers_come_back(status in 200..=599_u16, headers in headers(), body in framing()) {
        let head = ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers };
        let mut bytes = Vec::new();
        let flags = head::encode_response(&mut bytes, &head, &body).unwrap();
        prop_assert_eq!(head::parse_response(flags, bytes.into(), &mut KnownNames::default()), Ok((Ok(head), body)));
    }

    #[test]
    fn binary_heads_of_any_bytes_do_not_panic(flags in any::<u8>(), bytes in vec(any::<u8>(), 0..200)) {
        let (flags, bytes) = (HeadFlags(flags), Bytes::from(bytes));
        if flags.is_answer() {
            drop(head::parse_response(flags, bytes, &mut KnownNames::default()));
        } else {
            drop(head::parse_request(flags, bytes, &mut KnownNames::default()));
        }
    }
}
