//! Writes the seeds that are made of what is known: the golden vectors, the manifests of the examples, and some lives of a
//! plugin. `cargo run --no-default-features --example seed`. What stands in `corpus/` beside them, a fuzzer has found.

#[path = "../../toru-plugin-api/tests/vectors/expand.rs"]
mod expand;

use std::{error::Error, fs, path::Path};

use serde_json::Value;
use toru_plugin_api::PluginMetadata;

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
    write_manifests(root)?;
    write_lives(&root.join("corpus/supervisor"))
}

/// Writes manifests, the metadata in them, and settings over settings, for the target `manifest`.
fn write_manifests(root: &Path) -> Result<(), Box<dyn Error>> {
    let folder = root.join("corpus/manifest");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(root.join("../examples"))? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let Ok(text) = fs::read_to_string(path.join("plugin.toml")) else { continue };
        let name = name.to_string_lossy();
        fs::write(folder.join(format!("manifest-{name}")), format!("0{text}"))?;
        let metadata = PluginMetadata::from_manifest(&text)?;
        fs::write(folder.join(format!("metadata-{name}")), format!("1{}", metadata.to_json()))?;
    }
    for (name, text) in MANIFESTS {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// What the examples do not have.
const MANIFESTS: [(&str, &str); 6] = [
    (
        "manifest-all-keys",
        "0id = \"a-1\"\nname = \"A\"\nversion = \"1.0.0\"\nauthor = \"B\"\nicon = \"x\"\nroute = \"/a/b\"\nprotocol = 2\nprotocol_min = 1\ntransport = \"path\"\nfrontend = \"b.js\"\nraw_paths = true\nexec = [\"./a\", \"-b\"]\n[env]\nA = \"b\"\n[config]\nn = 1\nf = 1.5\nd = 2020-01-01\nt = { a = [1, { b = \"c\" }] }\n[dev]\nbuild = \"make\"\nexec = [\"/bin/a\"]\n",
    ),
    (
        "manifest-route-with-dots",
        "0id=\"a\"\nname=\"A\"\nversion=\"1\"\nroute=\"/a.b.c.d.e\"\nexec=[\"a\"]\n",
    ),
    (
        "metadata-of-version-1",
        r#"1{"id":"a","name":"A","version":"1","author":null,"icon":"x","route":"/a","more":1}"#,
    ),
    (
        "metadata-with-a-key-twice",
        r#"1{"id":"a","id":"b","name":"A","version":"1","route":"/a","protocol":2}"#,
    ),
    (
        "settings-over-settings",
        "2a = 1\n[t]\nb = 2\nc = 3\n[u]\nd = 4\n\0a = \"x\"\nu = 5\n[t]\nc = { e = 6 }\n",
    ),
    ("settings-over-none", "2\0[a.b.c]\nd = [[1], [2]]\n"),
];

/// Writes lives of a plugin for the target `supervisor`: how it ends, then one thing that happens after the other.
fn write_lives(folder: &Path) -> Result<(), Box<dyn Error>> {
    const UP: u8 = 0;
    const DOWN: u8 = 1;
    const HOST_ENDS: u8 = 2;
    const WANT_UP: u8 = 0;
    const WANT_DOWN: u8 = 1;
    const EVICT: u8 = 2;
    const OLD_EXIT: u8 = 3;
    const TIMEOUT: u8 = 4;
    /// The next step of its start: prepared, spawned, ready.
    const GO_ON: u8 = 13;
    const PINGS_MISSED: u8 = 15;
    const HANDOVER: u8 = 16;
    const LINK_LOST: u8 = 17;
    const REFUSE: u8 = 19;
    const EXIT: u8 = 20;
    const START: [u8; 3] = [GO_ON; 3];
    let crash = [START.as_slice(), &[EXIT, TIMEOUT]].concat();
    let lives: [(&str, u8, Vec<u8>); 9] = [
        ("runs", UP, START.to_vec()),
        (
            "is-stopped-and-ignores-it",
            DOWN,
            [START.as_slice(), &[WANT_DOWN, TIMEOUT, TIMEOUT, EXIT]].concat(),
        ),
        ("crashes-until-it-is-disabled", UP, crash.repeat(11)),
        ("an-old-exit-comes-late", UP, [crash.as_slice(), &START, &[OLD_EXIT, EXIT]].concat()),
        ("hands-over", UP, [START.as_slice(), &[HANDOVER, EXIT], &START].concat()),
        ("misses-pings", UP, [START.as_slice(), &[PINGS_MISSED, 3, PINGS_MISSED, 6, EXIT]].concat()),
        ("refuses", DOWN, vec![GO_ON, GO_ON, REFUSE, TIMEOUT, EXIT, WANT_UP]),
        ("loses-its-link", UP, [START.as_slice(), &[LINK_LOST, 0, TIMEOUT, EXIT, TIMEOUT]].concat()),
        (
            "is-evicted-and-the-host-ends",
            HOST_ENDS,
            [START.as_slice(), &[EVICT, EXIT, WANT_UP], &START].concat(),
        ),
    ];
    fs::create_dir_all(folder)?;
    for (name, end, life) in lives {
        fs::write(folder.join(name), [&[end], life.as_slice()].concat())?;
    }
    Ok(())
}

/// Writes the traces as operations of the target `connection`.
fn write_traces(path: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let file: Value = serde_json::from_slice(&fs::read(path)?)?;
    for vector in file["vectors"].as_array().ok_or("no vectors")? {
        let own = |feature: &str| {
            vector["own"]["features"].as_array().is_some_and(|own| own.iter().any(|name| name == feature))
        };
        let plugin = vector["side"] == "plugin";
        let setup = [own("heads"), plugin, own("http-out")];
        let setup = setup.iter().enumerate().map(|(bit, on)| u8::from(*on) << bit).sum();
        let mut seed: Vec<u8> = vec![setup];
        for step in vector["steps"].as_array().ok_or("no steps")? {
            if let Some(hex) = step.get("in") {
                let bytes = expand::expand(hex);
                seed.push(0);
                seed.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
                seed.extend_from_slice(&bytes);
            } else if let Some(act) = step.get("do") {
                seed.extend(operation(act, plugin));
            }
        }
        if seed.len() <= MAX_SEED {
            fs::write(folder.join(vector["name"].as_str().ok_or("no name")?), seed)?;
        }
    }
    Ok(())
}

/// An act as the target reads it: what, on which stream, how much.
fn operation(act: &Value, plugin: bool) -> Vec<u8> {
    const SIZE: [u8; 2] = [0, 100];
    let stream = act["stream"].as_u64().and_then(|stream| u8::try_from(stream).ok()).unwrap_or(u8::MAX);
    let body = match act["body"].as_str() {
        Some("none") => 0,
        Some("stream") => 20,
        Some("tunnel") => 30,
        _ => 10,
    };
    let kind = match act["act"].as_str() {
        // From 128 on it is a request at the plugin too; 160 stands for no body, as 0 does.
        Some("request") if plugin => 160 + body,
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
