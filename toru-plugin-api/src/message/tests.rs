use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};

use super::{
    event::EventMessage,
    http::{Framing, RequestHead, ResponseHead},
    json::Reader,
    kv::{KvAnswer, KvCall, KvError, KvErrorCode, KvWrite},
    lifecycle::{Draining, Failed, Features, Init, Pong, Ready, Shutdown},
    log::{Level, LogMessage},
    *,
};
use crate::frame::Limits;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/]{0,12}", any::<String>()]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/:]{1,12}", "\\PC{1,8}", Just("\u{0}\"\\\n".to_owned())]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![text().prop_map(Bytes::from), vec(any::<u8>(), 0..60).prop_map(Bytes::from)]
}

fn map() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((text(), inner), 0..3).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    vec((text(), value), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

fn limits() -> impl Strategy<Value = Limits> {
    let window = 1..=crate::frame::limits::MAX_WINDOW;
    (window.clone(), window, 65_536..=u32::MAX, 1_024..=u32::MAX).prop_map(
        |(window, max_streams, max_message, max_data)| Limits { window, max_streams, max_message, max_data },
    )
}

fn features() -> impl Strategy<Value = Features> {
    vec("[a-z0-9-]{1,32}", 0..4).prop_map(Features::new)
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
    prop_oneof![Just(Framing::Empty), Just(Framing::Stream), bytes().prop_map(Framing::Inline)]
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    option::of(1..=kv::MAX_TTL_MS)
}

fn call() -> impl Strategy<Value = KvCall> {
    let set = || (key(), bytes(), ttl());
    let write = prop_oneof![
        set().prop_map(|(key, value, ttl_ms)| KvWrite::Set { key, value, ttl_ms }),
        key().prop_map(|key| KvWrite::Delete { key }),
    ];
    prop_oneof![
        key().prop_map(|key| KvCall::Get { key }),
        set().prop_map(|(key, value, ttl_ms)| KvCall::Set { key, value, ttl_ms }),
        key().prop_map(|key| KvCall::Delete { key }),
        (text(), option::of(text()), 1..=kv::MAX_LIST).prop_map(|(prefix, after, limit)| KvCall::List {
            prefix,
            after,
            limit
        }),
        (key(), option::of(bytes()), option::of(bytes()), ttl()).prop_map(
            |(key, expected, value, ttl_ms)| KvCall::CompareAndSet { key, expected, value, ttl_ms }
        ),
        vec(write, 0..4).prop_map(|ops| KvCall::Batch { ops }),
    ]
    .prop_filter("a call that breaks no bound", |call| call.check().is_ok())
}

fn answer() -> impl Strategy<Value = Result<KvAnswer, KvError>> {
    let code =
        prop::sample::select(vec![KvErrorCode::Invalid, KvErrorCode::StorageFull, KvErrorCode::Denied]);
    prop_oneof![
        option::of(bytes()).prop_map(|value| Ok(KvAnswer::Value(value))),
        Just(Ok(KvAnswer::Ok)),
        any::<bool>().prop_map(|deleted| Ok(KvAnswer::Deleted(deleted))),
        any::<bool>().prop_map(|swapped| Ok(KvAnswer::Swapped(swapped))),
        (vec(key(), 0..4), option::of(key())).prop_map(|(keys, next)| Ok(KvAnswer::Keys { keys, next })),
        (code, text()).prop_map(|(code, message)| Err(KvError::new(code, message))),
    ]
}

fn lifecycle() -> impl Strategy<Value = Parsed> {
    let init = (vec(text(), 5), map(), option::of(any::<u32>()), features(), limits());
    prop_oneof![
        init.prop_map(|(texts, config, link, features, limits)| {
            let [instance_id, plugin_id, plugin_socket, log_path, data_dir] = texts.try_into().unwrap();
            let config = if link.is_some() { Map::new() } else { config };
            Parsed::Init(Box::new(Init {
                protocol: 2,
                instance_id,
                plugin_id,
                plugin_socket,
                log_path,
                data_dir,
                config,
                link,
                features,
                limits,
            }))
        }),
        (any::<u32>(), features(), limits()).prop_map(|(protocol, features, limits)| Parsed::Ready(Ready {
            protocol,
            features,
            limits
        })),
        (text(), text()).prop_map(|(code, message)| Parsed::Failed(Failed { code, message })),
        Just(Parsed::Ping),
        (any::<bool>(), option::of(text()))
            .prop_map(|(degraded, detail)| Parsed::Pong(Pong { degraded, detail })),
        text().prop_map(|reason| Parsed::Draining(Draining { reason })),
        any::<u64>()
            .prop_map(|ms| { Parsed::Shutdown(Shutdown { grace: std::time::Duration::from_millis(ms) }) }),
    ]
}

fn message() -> impl Strategy<Value = Parsed> {
    let id = (1..=u32::MAX).prop_map(StreamId);
    let level =
        prop::sample::select(vec![Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error]);
    prop_oneof![
        lifecycle(),
        (level, text(), map()).prop_map(|(level, message, fields)| Parsed::Log(LogMessage {
            level,
            message,
            fields
        })),
        ("[a-z0-9_.-]{1,64}", map())
            .prop_map(|(name, details)| Parsed::Event(EventMessage { name, details })),
        (id.clone(), "[A-Z]{1,10}", "/[a-z0-9%?&=/.-]{0,40}", headers(), framing()).prop_map(
            |(id, method, path, headers, body)| {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let head = RequestHead { method, path: path.parse().unwrap(), headers };
                Parsed::Request { id, head: Ok(head), body }
            }
        ),
        (id.clone(), 200..=599_u16, headers(), framing()).prop_map(|(id, status, headers, body)| {
            let head = ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers };
            Parsed::Response { id, head: Ok(head), body }
        }),
        (id.clone(), call()).prop_map(|(id, call)| Parsed::KvCall { id, call: Ok(call) }),
        (id, answer()).prop_map(|(id, answer)| Parsed::KvAnswer { id, answer }),
    ]
}

#[test]
fn an_upgrade_names_its_token_beside_the_header() {
    let mut headers = HeaderMap::new();
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    let head = RequestHead { method: Method::GET, path: "/".parse().unwrap(), headers };
    let mut out = Vec::new();
    http::encode_request(&mut out, StreamId(1), &head, &Framing::Tunnel);
    assert!(String::from_utf8_lossy(&out).ends_with(r#","upgrade":"websocket"}}"#));
    let parsed = Parsed::Request { id: StreamId(1), head: Ok(head), body: Framing::Tunnel };
    assert_eq!(parse(&out), Ok(parsed));
}

#[test]
fn inline_bytes_take_the_shorter_form() {
    let form = |value: &'static [u8]| {
        let mut out = Vec::new();
        kv::encode_answer(&mut out, StreamId(2), &KvAnswer::Value(Some(Bytes::from_static(value))));
        String::from_utf8(out).unwrap()
    };
    assert!(form(b"text").ends_with(r#"{"value":"text"}}"#));
    assert!(form(b"\xff").ends_with(r#"{"value_base64":"/w=="}}"#));
    assert!(form(&[0; 30]).contains("base64"), "six bytes for each control character are too many");
}

#[test]
fn more_headers_than_a_map_holds_cost_the_stream() {
    let headers: Vec<String> = (0..40_000).map(|index| format!(r#"["h{index}",""]"#)).collect();
    let text = format!(
        r#"{{"type":"http","request_id":"1","payload":{{"action":"response","status":200,"headers":[{}]}}}}"#,
        headers.join(",")
    );
    let Ok(Parsed::Response { head, .. }) = parse(text.as_bytes()) else { panic!("no answer") };
    assert_eq!(head, Err(http::HeadError::TooManyHeaders));
}

proptest! {
    #[test]
    fn messages_come_back(message in message()) {
        let mut out = Vec::new();
        prop_assert!(message.encode(&mut out));
        prop_assert_eq!(parse(&out), Ok(message));
    }

    #[test]
    fn messages_are_json_for_others_too(message in message()) {
        let mut out = Vec::new();
        prop_assert!(message.encode(&mut out));
        let value: Value = serde_json::from_slice(&out).unwrap();
        // A map of serde_json sorts its keys, so this is another order than ours.
        prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(message));
    }

    #[test]
    fn inline_len_is_what_a_body_adds(body in bytes()) {
        let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        let encode = |body| {
            let mut out = Vec::new();
            http::encode_response(&mut out, StreamId(1), &head, &body);
            out.len()
        };
        let added = encode(Framing::Inline(body.clone())) - encode(Framing::Empty);
        prop_assert_eq!(added, http::inline_len(&body));
    }

    #[test]
    fn the_reader_takes_what_serde_json_takes(
        parts in vec(prop::sample::select(PIECES.to_vec()), 0..12),
    ) {
        let text = parts.concat();
        let mut reader = Reader::new(&text);
        let ours = reader.skip().and_then(|_| reader.end());
        if matches!(ours, Err(MessageError::LoneSurrogate { .. })) {
            // What serde_json ignores may hold one; what it reads may not.
            prop_assert!(serde_json::from_str::<Value>(&text).is_err());
        } else {
            // Ignored rather than read: a number that no f64 holds is JSON all the same.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {:?} {:?}", text, ours, theirs);
        }
    }

    #[test]
    fn strings_are_read_as_serde_json_reads_them(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(&*Reader::new(&quoted).string().unwrap(), &text);
        let mut own = Vec::new();
        json::put_string(&mut own, &text);
        prop_assert_eq!(own.len(), json::escaped_len(&text));
        prop_assert_eq!(serde_json::from_slice::<String>(&own).unwrap(), text);
    }

    #[test]
    fn version_1_parsers_survive_any_json(message in message(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut out = Vec::new();
        prop_assert!(message.encode(&mut out));
        let at = at.index(out.len());
        out[at] = byte;
        drop((parse(&out), v1::Message::parse(&out), v1::parse_answer(&out)));
    }
}

/// Pieces of JSON, whole and broken.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\"",
    "\"a\":",
    "\"\\n\"",
    "\"\\u00e9\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00\"",
    "\"\\x\"",
    "\"é\"",
    "\\",
    "0",
    "-0",
    "-",
    "12",
    "1.5",
    "1e5",
    "1E-5",
    ".5",
    "5.",
    "01",
    "+1",
    "true",
    "false",
    "null",
    "nul",
    "tru",
    " ",
    "\n",
    "\t",
    "\u{1}",
    "\"\u{1}\"",
    "[]",
    "{}",
];

#[test]
fn a_head_makes_room_for_what_it_has() {
    let room = |headers: &str| {
        let text = format!(
            r#"{{"type":"http","request_id":"1","payload":{{"action":"response","status":200,"headers":{headers}}}}}"#
        );
        match parse(text.as_bytes()).unwrap() {
            Parsed::Response { head, .. } => head.unwrap().headers.capacity(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(room("[]"), 0);
    assert!(room(r#"[["a","b"]]"#) < super::http::USUAL_HEADERS);
}
