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
