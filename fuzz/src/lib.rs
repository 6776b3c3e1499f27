//! The bodies of the fuzz targets. Each takes any bytes and panics when a promise is broken.
//!
//! A new target is a function here and in [`TARGETS`], a file in `fuzz_targets/` with its `[[bin]]`, and a
//! folder in `corpus/`; a test fails when one of them is missing.

mod connection;
mod decoder;
mod ends;
mod manifest;
mod message;
mod pair;
mod supervisor;
mod v1;

pub use connection::connection;
pub use decoder::decoder;
pub use manifest::manifest;
pub use message::message;
pub use pair::pair;
pub use supervisor::supervisor;
pub use v1::v1;

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("connection", connection),
    ("decoder", decoder),
    ("manifest", manifest),
    ("message", message),
    ("pair", pair),
    ("supervisor", supervisor),
    ("v1", v1),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn names(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_target_has_its_file_and_its_corpus() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz_targets"), targets);
        assert_eq!(names("corpus"), targets);
    }

    /// A fuzzer learns what reaches far; a machine without one tries some noise at least.
    #[test]
    fn noise_breaks_no_promise() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for (_, target) in TARGETS {
            for _ in 0..1_000 {
                let length = next() % 600;
                let input: Vec<u8> = (0..length).map(|_| (next() >> 32) as u8).collect();
                target(&input);
            }
        }
    }

    #[test]
    fn the_committed_corpus_breaks_no_promise() {
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let mut seeds = 0;
            for entry in fs::read_dir(folder).unwrap() {
                target(&fs::read(entry.unwrap().path()).unwrap());
                seeds += 1;
            }
            assert!(seeds > 0, "{name} has seeds");
        }
    }
}
