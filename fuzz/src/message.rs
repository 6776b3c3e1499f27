//! The text of version 2 messages.

use serde::de::IgnoredAny;
use toru_plugin_api::message::{Parsed, parse};

/// What parses is JSON for others too, and what is a whole message is written and read the same again.
pub fn message(text: &[u8]) {
    let Ok(parsed) = parse(text) else { return };
    serde_json::from_slice::<IgnoredAny>(text).expect("what parses is JSON");
    let mut again = Vec::new();
    // An event may grow past its bound when its numbers are written out.
    let whole = !matches!(&parsed, Parsed::Event(event) if !event.is_valid());
    if whole && parsed.encode(&mut again) {
        assert_eq!(parse(&again).as_ref(), Ok(&parsed), "{}", String::from_utf8_lossy(&again));
    }
}
