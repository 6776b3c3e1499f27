//! The instance id: a UUID v4 made on first start and kept. Licences are locked to it, so it is never made anew
//! where there was one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use uuid::Uuid;

/// The file in the data folder.
const FILE: &str = "instance-id";

/// Reads `<data_dir>/instance-id`, or makes it (mode 0600, synced before this returns), and the folder too (mode 0700).
/// Blocking.
///
/// # Errors
/// The file cannot be read or written, or holds no UUID: the message names the path and the remedy.
pub fn load_or_create(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::new_v4().hyphenated().to_string();
            create(data_dir, &path, &id).map_err(|error| named(&path, "cannot be written", &error))?;
            Ok(id)
        }
        Err(error) => Err(named(&path, "cannot be read", &error)),
    }
}

fn named(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{} {what}: {error}; check its permissions and its disk", path.display()),
    )
}

fn parse(path: &Path, text: &str) -> io::Result<String> {
    let id = Uuid::try_parse(text.trim()).map_err(|_| {
        let message = format!(
            "{} holds no UUID: restore it from a backup, or remove it to get a new instance id, which ends the licences that are locked to the old one",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(id.hyphenated().to_string())
}

/// Whole or not at all: written beside, synced, renamed, and the folder synced.
fn create(data_dir: &Path, path: &Path, id: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let beside = data_dir.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{id}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_id_is_made_once_and_kept() {
        let base = tempfile::tempdir().unwrap();
        let data = base.path().join("a/data");
        let id = load_or_create(&data).unwrap();
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 4);
        assert_eq!(load_or_create(&data).unwrap(), id);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join(FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_is_told_and_never_replaced() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join(FILE);
        for damage in ["", "not-a-uuid", "6f2c1a9e-4a73-4c7e-9a"] {
            fs::write(&path, damage).unwrap();
            let error = load_or_create(base.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(
                error.to_string().contains("instance-id holds no UUID: restore it from a backup"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), damage);
        }
    }

    #[test]
    fn an_id_in_another_spelling_is_the_same_id() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(FILE), " 6F2C1A9E-4A73-4C7E-9A1B-0123456789AB\r\n").unwrap();
        assert_eq!(load_or_create(base.path()).unwrap(), "6f2c1a9e-4a73-4c7e-9a1b-0123456789ab");
    }

    #[test]
    fn a_data_folder_that_is_a_file_is_named() {
        let base = tempfile::tempdir().unwrap();
        let data = base.path().join("data");
        fs::write(&data, "").unwrap();
        let error = load_or_create(&data).unwrap_err();
        assert!(error.to_string().contains("data/instance-id cannot be read: Not a directory"), "{error}");
    }
}
