//! The bytes of a vector.

use serde_json::Value;

/// The bytes that a `hex` stands for: hex digits with any space between them, or an array of parts.
pub(crate) fn expand(parts: &Value) -> Vec<u8> {
    match parts {
        Value::String(hex) => {
            let digits: Vec<u32> =
                hex.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect(hex)).collect();
            let pairs = digits.chunks_exact(2);
            assert!(pairs.remainder().is_empty(), "half a byte: {hex}");
            pairs.map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
        }
        Value::Array(parts) => parts.iter().flat_map(expand_part).collect(),
        other => panic!("neither hex nor parts: {other}"),
    }
}

fn expand_part(part: &Value) -> Vec<u8> {
    let Value::Object(fields) = part else { return expand(part) };
    let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    match keys[..] {
        ["text"] => fields["text"].as_str().unwrap().as_bytes().to_vec(),
        ["repeat", "times"] => {
            expand(&fields["repeat"]).repeat(usize::try_from(fields["times"].as_u64().unwrap()).unwrap())
        }
        ["frame"] => {
            let payload = expand(&fields["frame"]);
            let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(payload);
            frame
        }
        _ => panic!("no part of a hex: {part}"),
    }
}
