//! The instance id: a UUID v4 made on first start and kept.

use std::path::Path;

/// Reads `<data_dir>/instance-id`, or makes it.
///
/// # Errors
/// The file cannot be read or written, or holds no UUID: the message names the path and the remedy.
#[allow(clippy::todo)]
pub fn load_or_create(data_dir: &Path) -> std::io::Result<String> {
    let _ = data_dir;
    todo!("instance")
}
