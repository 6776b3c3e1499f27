//! Reading and writing JSON by the rules of protocol section 1.
//!
//! A reader of our own, because `serde_json` alone cannot hold them: at most 64 deep, no lone surrogate even in
//! what is ignored, no repeated key of the protocol's own, and one stable name for each cause. It goes over
//! the text once, borrows what it can, and allocates for nothing that it ignores. Free-form maps (settings, log
//! fields) are checked here and then built by `serde_json`.

mod read;
mod write;

pub(super) use read::{Reader, Value, once};
pub(super) use write::{escaped_len, put_latin1, put_map, put_number, put_string};
