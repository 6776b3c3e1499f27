//! The golden vectors; `vectors/README.md` says what they mean. Those of kind `trace` are run in `vectors/traces.rs`.
//!
//! A file or a vector that this runner does not understand fails it, so none is passed over.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

#[path = "vectors/expand.rs"]
mod expand;
#[path = "vectors/meaning.rs"]
mod meaning;
#[path = "vectors/trace.rs"]
mod trace;
#[path = "vectors/traces.rs"]
mod traces;

use std::{collections::HashSet, fs, path::Path};

use bytes::{Buf, BytesMut};
use expand::expand;
use serde::Deserialize;
use serde_json::Value;
use toru_plugin_api::{
    Message,
    frame::{Decoder, Frame, FrameError, Limits, TransmitBuf, encode_frame, head},
    message::{KnownNames, MessageError, parse, v1},
};

/// Vectors up to this size are split at every point.
const SPLIT_EVERYWHERE: usize = 4_096;
/// Longer ones within so many bytes of either end.
const SPLIT_NEAR_ENDS: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    version: u8,
    #[serde(rename = "about")]
    _about: String,
    vectors: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameVector {
    name: String,
    #[serde(default, rename = "simple")]
    _simple: bool,
    from: Option<String>,
    limits: Option<VectorLimits>,
    hex: Value,
    meaning: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectVector {
    name: String,
    #[serde(default, rename = "simple")]
    _simple: bool,
    limits: Option<VectorLimits>,
    at: Option<usize>,
    #[serde(default)]
    eof: bool,
    hex: Value,
    cause: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct VectorLimits {
    max_message: u32,
    max_data: u32,
}

fn files(kind: &str) -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let prefix = name.split('-').next().unwrap().to_owned();
            assert!(["frame", "reject", "trace"].contains(&&*prefix), "{name}: no runner for this kind");
            if prefix == kind {
                let file: File = serde_json::from_slice(&fs::read(&path).unwrap()).expect(&name);
                assert_eq!(file.kind, kind, "{name}: a file's name begins with its kind");
                files.push((name, file));
            }
        }
    }
    assert!(!files.is_empty(), "there are vectors of kind {kind}");
    files
}

fn decoder(version: u8, limits: Option<VectorLimits>) -> Decoder {
    match (version, limits) {
        (1, None) => Decoder::v1(),
        (2, None) => Decoder::new(Limits::DEFAULT.max_message, Limits::DEFAULT.max_data),
        (2, Some(limits)) => Decoder::new(limits.max_message, limits.max_data),
        _ => panic!("version {version} with these limits"),
    }
}

/// The points at which the bytes are cut in two, 0 being all at once.
fn splits(length: usize) -> Vec<usize> {
    if length <= SPLIT_EVERYWHERE {
        return (0..length).collect();
    }
    (0..SPLIT_NEAR_ENDS).chain(length - SPLIT_NEAR_ENDS..length).collect()
}

enum Refusal {
    Frame(FrameError),
    Message(MessageError),
}

impl Refusal {
    fn cause(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.cause(),
            Self::Message(error) => error.cause(),
        }
    }
}

/// The meaning of a frame, its content parsed as its receiver would.
fn understand(version: u8, from: &str, frame: &Frame) -> Result<Value, Refusal> {
    Ok(match frame {
        Frame::Message(text) if version == 2 => {
            let parsed = parse(text).map_err(Refusal::Message)?;
            check_message_round_trip(&parsed);
            meaning::of_message(&parsed)
        }
        Frame::Message(text) if from == "host" => {
            let message = Message::parse(text).map_err(Refusal::Message)?;
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(Message::parse(&again), Ok(message.clone()), "{message:?}");
            meaning::of_v1_message(&message)
        }
        Frame::Message(text) => meaning::of_v1_answer(v1::parse_answer(text).map_err(Refusal::Message)?),
        Frame::Head { stream, flags, bytes } if flags.is_answer() => {
            let (head, body) = head::parse_response(*flags, bytes.clone(), &mut KnownNames::default())
                .map_err(Refusal::Frame)?;
            if let Ok(head) = &head {
                let mut again = Vec::new();
                assert_eq!(head::encode_response(&mut again, head, &body), Ok(*flags));
                assert_eq!(again, *bytes, "a binary head has one encoding");
            }
            meaning::of_response(*stream, &head, &body)
        }
        Frame::Head { stream, flags, bytes } => {
            let (head, body) = head::parse_request(*flags, bytes.clone(), &mut KnownNames::default())
                .map_err(Refusal::Frame)?;
            if let Ok(head) = &head {
                let mut again = Vec::new();
                assert_eq!(head::encode_request(&mut again, head, &body), Ok(*flags));
                assert_eq!(again, *bytes, "a binary head has one encoding");
            }
            meaning::of_request(*stream, &head, &body)
        }
        other => meaning::of_binary(other),
    })
}

fn check_message_round_trip(parsed: &toru_plugin_api::message::Parsed) {
    let mut again = Vec::new();
    if parsed.encode(&mut again) {
        assert_eq!(parse(&again).as_ref(), Ok(parsed), "{}", String::from_utf8_lossy(&again));
    }
}

/// Decodes one frame from bytes that come in two pieces.
fn decode_split(decoder: &Decoder, bytes: &[u8], split: usize) -> Result<Option<Frame>, FrameError> {
    let mut decoder = decoder.clone();
    let mut input = BytesMut::from(&bytes[..split]);
    match decoder.decode(&mut input)? {
        Some(frame) => {
            assert_eq!(split, bytes.len(), "a frame came out before its last byte went in");
            Ok(Some(frame))
        }
        None => {
            input.extend_from_slice(&bytes[split..]);
            let frame = decoder.decode(&mut input)?;
            assert!(frame.is_none() || input.is_empty(), "the vector holds one frame");
            Ok(frame)
        }
    }
}

#[test]
fn frames_mean_what_their_vectors_say_at_every_split() {
    let mut names = HashSet::new();
    for (file_name, file) in files("frame") {
        let mut ran = 0;
        for vector in &file.vectors {
            let vector: FrameVector = serde_json::from_value(vector.clone()).expect(&file_name);
            let name = format!("{file_name}: {}", vector.name);
            assert!(names.insert(name.clone()), "{name}: twice");
            let bytes = expand(&vector.hex);
            let expected = meaning::normalize(&vector.meaning);
            let from = vector.from.as_deref().unwrap_or("either");
            assert!(["host", "plugin", "either"].contains(&from), "{name}: from");
            let decoder = decoder(file.version, vector.limits);
            let mut first = None;
            for split in splits(bytes.len()) {
                let frame = decode_split(&decoder, &bytes, split)
                    .unwrap_or_else(|error| panic!("{name}: split at {split}: {error}"))
                    .unwrap_or_else(|| panic!("{name}: split at {split}: no frame"));
                assert_eq!(*first.get_or_insert_with(|| frame.clone()), frame, "{name}: split at {split}");
            }
            let frame = first.unwrap();
            let meaning = understand(file.version, from, &frame)
                .unwrap_or_else(|error| panic!("{name}: refused as {}", error.cause()));
            assert_eq!(meaning, expected, "{name}");
            let mut out = TransmitBuf::new();
            encode_frame(&mut out, frame);
            assert!(out.copy_to_bytes(out.remaining()) == bytes, "{name}: a frame has one encoding");
            ran += 1;
        }
        assert_eq!(ran, file.vectors.len(), "{file_name}");
    }
}

#[test]
fn rejects_have_their_cause_at_every_split() {
    let mut names = HashSet::new();
    for (file_name, file) in files("reject") {
        let mut ran = 0;
        for vector in &file.vectors {
            let vector: RejectVector = serde_json::from_value(vector.clone()).expect(&file_name);
            let name = format!("{file_name}: {}", vector.name);
            assert!(names.insert(name.clone()), "{name}: twice");
            let bytes = expand(&vector.hex);
            let decoder = decoder(file.version, vector.limits);
            for split in splits(bytes.len()) {
                let cause = refuse(file.version, &decoder, &bytes, split, vector.eof);
                assert_eq!(cause, Some(&*vector.cause), "{name}: split at {split}");
            }
            if let Some(at) = vector.at {
                let early = decoder.clone().decode(&mut BytesMut::from(&bytes[..at]));
                let early = early.expect_err(&name);
                assert_eq!(early.cause(), vector.cause, "{name}: known after {at} bytes");
                let before = decoder.clone().decode(&mut BytesMut::from(&bytes[..at - 1]));
                assert_eq!(before, Ok(None), "{name}: not known before {at} bytes");
            }
            ran += 1;
        }
        assert_eq!(ran, file.vectors.len(), "{file_name}");
    }
}

/// The cause for which bytes that come in two pieces are refused.
fn refuse(version: u8, decoder: &Decoder, bytes: &[u8], split: usize, eof: bool) -> Option<&'static str> {
    match decode_split(decoder, bytes, split) {
        Err(error) => Some(error.cause()),
        Ok(Some(frame)) => understand(version, "plugin", &frame).err().map(|refusal| refusal.cause()),
        Ok(None) if eof => decoder.finish(bytes).err().map(|error| error.cause()),
        Ok(None) => None,
    }
}

#[test]
fn all_frames_in_one_stream_come_out_in_order_however_they_are_cut() {
    let mut stream = Vec::new();
    let mut frames = Vec::new();
    for (_, file) in files("frame").into_iter().filter(|(_, file)| file.version == 2) {
        for vector in file.vectors {
            let bytes = expand(&vector["hex"]);
            if bytes.len() <= SPLIT_EVERYWHERE {
                let frame = decode_split(&decoder(2, None), &bytes, 0).unwrap().unwrap();
                stream.extend_from_slice(&bytes);
                frames.push(frame);
            }
        }
    }
    for size in [1, 2, 3, 7, 64, 1_000, stream.len()] {
        let mut decoder = decoder(2, None);
        let mut input = BytesMut::new();
        let mut expected = frames.iter();
        for chunk in stream.chunks(size) {
            input.extend_from_slice(chunk);
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                assert_eq!(Some(&frame), expected.next(), "in chunks of {size}");
            }
        }
        assert!(expected.next().is_none() && input.is_empty(), "in chunks of {size}");
    }
}

#[test]
fn the_readme_names_every_cause_and_each_has_a_vector() {
    let readme = include_str!("vectors/README.md");
    let table = readme.split_once("| cause | of |").expect("the table of causes").1;
    let table = table.split_once("\n## ").expect("the section on traces").0;
    let named: HashSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let files = files("reject");
    let tried: HashSet<&str> = files
        .iter()
        .flat_map(|(_, file)| file.vectors.iter().map(|vector| vector["cause"].as_str().unwrap()))
        .collect();
    assert_eq!(named, tried);
}
