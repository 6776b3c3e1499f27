//! Which header fields pass between a client and a plugin. Maps are edited in place; where nothing is to be removed nothing is allocated.

mod answer;
mod cookies;
mod request;

use http::{HeaderMap, HeaderName, header};

pub(super) use answer::{clean, remove_hop_by_hop, take_upgrade};
pub(super) use request::{Context, Unacceptable, prepare, remove_foreign};

/// Whether a field belongs to one connection (RFC 9110, 7.6.1) and so never passes by itself. `connection: upgrade` and `upgrade` are set anew
/// with an upgrade that is offered or taken.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether an element of a list is this word, whatever its case.
pub(super) fn names(headers: &HeaderMap, list: HeaderName, word: &str) -> bool {
    let elements =
        headers.get_all(list).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
}

/// The fields that `connection` names and that it is not itself enough to know of: they belong to this connection too. Not `host`, which
/// is of the request, whatever a client says: what is asked for would be lost.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // Something that is no token names no field.
            let Ok(name) = HeaderName::from_bytes(token) else { continue };
            if !matches!(name.as_str(), "close" | "host") && !is_hop_by_hop(name.as_str()) {
                named.push(name);
            }
        }
    }
    named
}
