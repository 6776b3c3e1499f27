//! Bytes inside a message: as text or as base64, whichever is shorter and valid (protocol sections 4 and 5).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::json::{escaped_len, put_string};

/// What tells the base64 form of a field from its text form.
const BASE64_SUFFIX: &str = "_base64";

/// How bytes stand in a message.
enum Form<'a> {
    Text(&'a str),
    Base64,
}

/// The shorter form, and its size with its key `name`, the colon and a comma.
fn shorter<'a>(name: &str, bytes: &'a [u8]) -> (Form<'a>, usize) {
    let key = ",\"\":".len() + name.len();
    let base64 = key + BASE64_SUFFIX.len() + 2 + bytes.len().div_ceil(3) * 4;
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let plain = key + escaped_len(text);
            if plain <= base64 { (Form::Text(text), plain) } else { (Form::Base64, base64) }
        }
        Err(_) => (Form::Base64, base64),
    }
}

/// The bytes that [`put_field`] appends, and the comma before them.
pub(super) fn field_len(name: &str, bytes: &[u8]) -> usize {
    shorter(name, bytes).1
}

/// Appends `"name":"text"` or `"name_base64":"…"`.
pub(super) fn put_field(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let (form, size) = shorter(name, bytes);
    out.reserve(size);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    match form {
        Form::Text(text) => {
            out.extend_from_slice(b"\":");
            put_string(out, text);
        }
        Form::Base64 => {
            out.extend_from_slice(BASE64_SUFFIX.as_bytes());
            out.extend_from_slice(b"\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// The bytes of the text form.
pub(super) fn from_text(text: Cow<'_, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    }
}

/// The bytes of the base64 form: RFC 4648 section 4 with padding, and nothing else. `None`: it is not that.
pub(super) fn from_base64(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}
