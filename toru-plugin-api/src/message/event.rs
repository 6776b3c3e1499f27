//! Events from the plugin.

use serde_json::{Map, Value};

use super::{
    MessageError, Parsed,
    envelope::{close, open_payload, put_key},
    fields::Fields,
    json::{self, Reader, put_map, put_string},
};

/// The longest name of an event.
pub const MAX_EVENT_NAME: usize = 64;

/// The most bytes of an event's details, as JSON text.
pub const MAX_EVENT_DETAILS: usize = 8 << 10;

/// An event that the plugin reports; the host stores it as `plugin.<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventMessage {
    /// `[a-z0-9_.-]{1,64}`.
    pub name: String,
    /// More, by name; at most 8 KiB as JSON.
    pub details: Map<String, Value>,
}

impl EventMessage {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open_payload(out, "event", None);
        out.extend_from_slice(b"\"name\":");
        put_string(out, &self.name);
        put_key(out, "details");
        put_map(out, &self.details);
        close(out);
    }

    /// Whether a host takes it: the name is well formed and the details fit.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut text = Vec::new();
        put_map(&mut text, &self.details);
        is_name(&self.name) && text.len() <= MAX_EVENT_DETAILS
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    (1..=MAX_EVENT_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// Reads a payload of type `event`. One that the host does not take is no offence: it counts as unknown.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Parsed, MessageError> {
    let mut fields = Fields::read(reader, &["name", "details"])?;
    let name = fields.required_string("name")?;
    let refused = |why: &str| Parsed::Unknown { id: None, what: format!("event {why}") };
    if !is_name(&name) {
        return Ok(refused("with a malformed name"));
    }
    let details = match fields.take("details") {
        None | Some(json::Value::Null) => Map::new(),
        Some(json::Value::Object(text)) if text.len() > MAX_EVENT_DETAILS => {
            return Ok(refused("with details above 8 KiB"));
        }
        Some(json::Value::Object(text)) => serde_json::from_str(text)
            .map_err(|_| MessageError::WrongType { field: "details", expected: "an object" })?,
        Some(_) => return Err(MessageError::WrongType { field: "details", expected: "an object" }),
    };
    Ok(Parsed::Event(EventMessage { name, details }))
}
