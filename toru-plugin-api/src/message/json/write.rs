//! Appending JSON text.

use std::io::Write;

use serde_json::{Map, Value};

use super::read::plain_len;

/// Appends a string in quotes.
pub(in crate::message) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_quoted(out, text.as_bytes());
}

/// Appends a string in quotes, each byte as the code point of the same number.
pub(in crate::message) fn put_latin1(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_ascii() {
        put_quoted(out, bytes);
    } else {
        put_string(out, &bytes.iter().copied().map(char::from).collect::<String>());
    }
}

fn put_quoted(out: &mut Vec<u8>, mut utf8: &[u8]) {
    out.push(b'"');
    loop {
        let (plain, rest) = utf8.split_at(plain_len(utf8));
        out.extend_from_slice(plain);
        let Some((&special, rest)) = rest.split_first() else { break };
        put_escape(out, special);
        utf8 = rest;
    }
    out.push(b'"');
}

/// Appends a number in decimal.
pub(in crate::message) fn put_number(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").expect("writing to memory cannot fail");
}

/// Appends a free-form object.
pub(in crate::message) fn put_map(out: &mut Vec<u8>, map: &Map<String, Value>) {
    serde_json::to_writer(out, map).expect("a map of JSON values with string keys is JSON");
}

/// The bytes that `put_string` appends, quotes included.
pub(in crate::message) fn escaped_len(text: &str) -> usize {
    2 + text.bytes().map(|byte| usize::from(ESCAPED_LEN[usize::from(byte)])).sum::<usize>()
}

/// The bytes that each byte takes in a string.
static ESCAPED_LEN: [u8; 256] = {
    let mut table = [1; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = 6;
        byte += 1;
    }
    table[b'"' as usize] = 2;
    table[b'\\' as usize] = 2;
    table[b'\n' as usize] = 2;
    table[b'\r' as usize] = 2;
    table[b'\t' as usize] = 2;
    table
};

fn put_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        // With `seeded_bug` it becomes another character: the fuzzer's prey.
        b'\r' if cfg!(seeded_bug) => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => write!(out, "\\u{byte:04x}").expect("writing to memory cannot fail"),
    }
}
