//! Writes the corpus from the golden vectors: `cargo run --example seed`.

#[path = "../../toru-plugin-api/tests/vectors/expand.rs"]
mod expand;

use std::{error::Error, fs, path::Path};

use serde_json::Value;

/// Longer vectors try limits, which a fuzzer only slows down on.
const MAX_SEED: usize = 400;
/// The bytes of a frame before its payload.
const LENGTH_PREFIX: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join("../toru-plugin-api/tests/vectors"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let (target, binary) = match name {
            "frame-binary" | "frame-head" | "reject-frame" => ("decoder", true),
            "frame-http" | "frame-kv" | "frame-lifecycle" | "reject-message" => ("message", false),
            "frame-v1" | "reject-v1" => ("v1", false),
            _ if name.starts_with("trace-") => {
                write_traces(&path, &root.join("corpus/connection"))?;
                continue;
            }
            _ => continue,
        };
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        let file: Value = serde_json::from_slice(&fs::read(&path)?)?;
        for vector in file["vectors"].as_array().ok_or("no vectors")? {
            let bytes = expand::expand(&vector["hex"]);
            let seed = if binary {
                // The default limits, in pieces of 1, 3 and 2 bytes.
                [&[0, 3, 1, 3, 2], &bytes[..]].concat()
            } else {
                bytes.get(LENGTH_PREFIX..).unwrap_or_default().to_vec()
            };
            if !seed.is_empty() && seed.len() <= MAX_SEED {
                let prefix = if name.starts_with("reject") { "reject" } else { "frame" };
                fs::write(
                    folder.join(format!("{prefix}-{}", vector["name"].as_str().ok_or("no name")?)),
                    seed,
                )?;
            }
        }
    }
    Ok(())
}

/// Writes the traces as operations of the target `connection`.
fn write_traces(path: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let file: Value = serde_json::from_slice(&fs::read(path)?)?;
    for vector in file["vectors"].as_array().ok_or("no vectors")? {
        let heads =
            vector["own"]["features"].as_array().is_some_and(|own| own.iter().any(|name| name == "heads"));
        let mut seed = vec![u8::from(heads) | if vector["side"] == "plugin" { 2 } else { 0 }];
        for step in vector["steps"].as_array().ok_or("no steps")? {
            if let Some(hex) = step.get("in") {
                let bytes = expand::expand(hex);
                seed.push(0);
                seed.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
                seed.extend_from_slice(&bytes);
            } else if let Some(act) = step.get("do") {
                seed.extend(operation(act));
            }
        }
        if seed.len() <= MAX_SEED {
            fs::write(folder.join(vector["name"].as_str().ok_or("no name")?), seed)?;
        }
    }
    Ok(())
}

/// An act as the target reads it: what, on which stream, how much.
fn operation(act: &Value) -> Vec<u8> {
    const SIZE: [u8; 2] = [0, 100];
    let stream = act["stream"].as_u64().and_then(|stream| u8::try_from(stream).ok()).unwrap_or(u8::MAX);
    let body = match act["body"].as_str() {
        Some("none") => 0,
        Some("stream") => 20,
        Some("tunnel") => 30,
        _ => 10,
    };
    let kind = match act["act"].as_str() {
        Some("request" | "respond") => body,
        Some("call_kv") => 1,
        Some("answer_kv") => 2,
        Some("send") => 3,
        Some("finish") => 5,
        Some("read") => 6,
        Some("reset") => 9,
        Some("wait") => return vec![5, u8::MAX, u8::MAX],
        _ => return Vec::new(),
    };
    vec![6, kind, stream, SIZE[0], SIZE[1]]
}
