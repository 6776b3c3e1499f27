//! The text of version 1 messages.

use toru_plugin_api::{Message, message::v1::parse_answer};

/// What parses is written and read the same again; no answer of a plugin makes the host panic.
pub fn v1(text: &[u8]) {
    drop(parse_answer(text));
    let Ok(parsed) = Message::parse(text) else { return };
    let mut again = Vec::new();
    parsed.encode(&mut again);
    let reread = Message::parse(&again).expect("what was written is a message");
    assert_eq!(sorted(reread), sorted(parsed), "{}", String::from_utf8_lossy(&again));
}

/// Headers of one name come together when they are written, so their order among others has no meaning.
fn sorted(mut message: Message) -> Message {
    use toru_plugin_api::{MessagePayload, message::v1::HttpPayload};
    if let MessagePayload::Http(http) = &mut message.payload {
        let headers = match http {
            HttpPayload::Request(request) => &mut request.headers,
            HttpPayload::Response(response) => &mut response.headers,
        };
        headers.sort_by(|one, other| one.0.cmp(&other.0));
    }
    message
}
