//! The enabled state in `<plugins>/.metadata/config.json`: `{"plugins": {"<id>": true}}`.
//!
//! An operator may edit the file, so it is read anew each time, fields that are not known here are kept, and a file
//! that cannot be understood is an error with its line, never a reason to begin anew.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{sync::Mutex, task};

use super::{StateStore, StoreError};

/// The largest file that is read, in bytes: some 20,000 plugins.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A [`StateStore`] in a JSON file that is replaced atomically: whoever reads it sees the old or the new one, and after a crash one
/// of the two is there.
#[derive(Debug, Clone)]
pub struct JsonStateStore {
    path: Arc<Path>,
    /// Held from reading to renaming, so that of two concurrent changes none is lost.
    writing: Arc<Mutex<()>>,
}

/// All of the file.
type Fields = Map<String, Value>;

/// What must be understood of the file.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    plugins: BTreeMap<String, bool>,
}

impl JsonStateStore {
    /// The store of this plugins folder. The file and its folder are made by the first change.
    #[must_use]
    pub fn new(plugins_dir: &Path) -> Self {
        let path = plugins_dir.join(".metadata").join("config.json");
        Self { path: path.into(), writing: Arc::default() }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl StateStore for JsonStateStore {
    async fn load(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        let path = Arc::clone(&self.path);
        on_blocking_thread(move || Ok(read(&path)?.map(|(known, _)| known.plugins).unwrap_or_default())).await
    }

    async fn set_enabled(&self, plugin_id: &str, enabled: bool) -> Result<(), StoreError> {
        let path = Arc::clone(&self.path);
        let plugin_id = plugin_id.to_owned();
        // The guard goes along: a caller that stops waiting must not let another change begin before this one has ended.
        let writing = Arc::clone(&self.writing).lock_owned().await;
        on_blocking_thread(move || {
            let _writing = writing;
            change(&path, plugin_id, enabled)
        })
        .await
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    task::spawn_blocking(work).await.unwrap_or_else(|error| Err(StoreError::new(error.to_string())))
}

/// The file as far as it is understood, and all of it; `None` when there is none.
fn read(path: &Path) -> Result<Option<(Known, Fields)>, StoreError> {
    let mut text = String::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(StoreError::new(format!(
            "{} is larger than {MAX_FILE_BYTES} bytes; {REMEDY}",
            path.display()
        )));
    }
    let known = serde_json::from_str(&text).map_err(|error| damaged(path, &error))?;
    let all = serde_json::from_str(&text).map_err(|error| damaged(path, &error))?;
    Ok(Some((known, all)))
}

const REMEDY: &str =
    r#"correct it to the form {"plugins": {"<id>": true}}, or move it away to have all plugins enabled"#;

fn unreadable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(format!("{} cannot be read: {error}; let the host's user read it", path.display()))
}

fn damaged(path: &Path, error: &serde_json::Error) -> StoreError {
    // The text of the error ends with its line and column.
    StoreError::new(format!("{} is damaged: {error}; {REMEDY}", path.display()))
}

fn change(path: &Path, plugin_id: String, enabled: bool) -> Result<(), StoreError> {
    let (known, mut all) = match read(path)? {
        Some((known, all)) => (known.plugins, all),
        None => Default::default(),
    };
    if known.get(&plugin_id) == Some(&enabled) {
        return Ok(());
    }
    let plugins = all.entry("plugins").or_insert_with(|| Value::Object(Map::new()));
    plugins
        .as_object_mut()
        .expect("`plugins` was just read as a map")
        .insert(plugin_id, Value::Bool(enabled));
    let mut text = serde_json::to_vec_pretty(&all).expect("a JSON value is always written");
    text.push(b'\n');
    replace(path, &text).map_err(|error| {
        StoreError::new(format!(
            "{} cannot be written: {error}; make room, or let the host's user write its folder",
            path.display()
        ))
    })
}

/// Replaces a file so that a crash at any point leaves the old one or the new one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("the path was made by joining two names to a folder");
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // One name is enough: changes of one host do not overlap, and what a crash left behind is overwritten.
    let temporary: PathBuf = path.with_extension("json.tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::conformance;

    fn store() -> (tempfile::TempDir, JsonStateStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = JsonStateStore::new(folder.path());
        (folder, store)
    }

    fn write(store: &JsonStateStore, text: &str) {
        fs::create_dir_all(store.path().parent().unwrap()).unwrap();
        fs::write(store.path(), text).unwrap();
    }

    #[tokio::test]
    async fn json_state_passes_the_conformance_suite() {
        let (_folder, store) = store();
        conformance::state_store(&store).await;
    }

    #[tokio::test]
    async fn the_file_has_the_given_shape_place_and_mode() {
        let (folder, store) = store();
        store.set_enabled("hello", true).await.unwrap();
        let path = folder.path().join(".metadata/config.json");
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({"plugins": {"hello": true}}));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[tokio::test]
    async fn another_store_on_the_same_folder_reads_what_was_set() {
        let (folder, store) = store();
        store.set_enabled("hello", false).await.unwrap();
        let again = JsonStateStore::new(folder.path()).load().await.unwrap();
        assert_eq!(again, BTreeMap::from([("hello".to_owned(), false)]));
    }

    #[tokio::test]
    async fn unknown_fields_of_the_file_are_kept() {
        let (_folder, store) = store();
        write(&store, r#"{"comment": "by hand", "plugins": {"a": false}, "later": {"x": [1]}}"#);
        store.set_enabled("b", true).await.unwrap();
        let value: Value = serde_json::from_slice(&fs::read(store.path()).unwrap()).unwrap();
        let expected = serde_json::json!({
            "comment": "by hand", "plugins": {"a": false, "b": true}, "later": {"x": [1]}
        });
        assert_eq!(value, expected);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_with_path_line_and_remedy_and_is_left_alone() {
        let (_folder, store) = store();
        for damage in ["", "{\n  \"plugins\": {\n    \"a\": tru", "{\n\"plugins\": {\n\"a\": \"yes\"}}", "[]"]
        {
            write(&store, damage);
            for error in [store.load().await.unwrap_err(), store.set_enabled("a", true).await.unwrap_err()] {
                assert!(error.message.contains("config.json is damaged"), "{error}");
                assert!(error.message.contains("line "), "{error}");
                assert!(error.message.contains("correct it"), "{error}");
            }
            assert_eq!(fs::read_to_string(store.path()).unwrap(), damage);
        }
        write(&store, "{\n  \"plugins\": {\n    \"a\": tru");
        assert!(store.load().await.unwrap_err().message.contains("line 3"));
    }

    #[tokio::test]
    async fn a_file_above_the_bound_is_refused() {
        let (_folder, store) = store();
        write(&store, &" ".repeat(1 + MAX_FILE_BYTES as usize));
        assert!(store.load().await.unwrap_err().message.contains("larger than"));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_error_with_its_path() {
        let (folder, store) = store();
        fs::write(folder.path().join(".metadata"), "a file where the folder should be").unwrap();
        let error = store.set_enabled("a", true).await.unwrap_err();
        assert!(error.message.contains("config.json cannot be"), "{error}");
    }
}
