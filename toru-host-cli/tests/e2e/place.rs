//! A folder for one host, and what is put into it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The folders of one host: `plugins` and `data`.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.plugins()).unwrap();
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Installs an example of the repository, a folder with a `plugin.toml`.
    pub(crate) fn install(&self, name: &str, id: &str) -> PathBuf {
        let folder = self.plugins().join(id);
        copy_folder(&examples().join(name), &folder);
        folder
    }

    /// Installs an example of the repository in Rust, which cargo built for this test.
    pub(crate) fn install_rust(&self, name: &str, id: &str) {
        let folder = self.install(name, id);
        fs::copy(built(name), folder.join(name)).unwrap();
    }

    /// Installs a plugin as a folder: its manifest has these lines beside the usual ones.
    pub(crate) fn folder(&self, id: &str, lines: &str) -> PathBuf {
        let folder = self.plugins().join(id);
        fs::create_dir(&folder).unwrap();
        write_manifest(&folder, lines);
        folder
    }

    /// Installs an example of this package as a folder.
    pub(crate) fn rust_plugin(&self, name: &str, id: &str) {
        let folder = self.folder(id, &format!("route = \"/{id}\"\nexec = [\"./{name}\"]\n"));
        fs::copy(built(name), folder.join(name)).unwrap();
    }

    /// Installs a script as `<id>.binary`.
    pub(crate) fn binary(&self, id: &str, script: &str) {
        let path = self.plugins().join(format!("{id}.binary"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Writes the manifest of the plugin in this folder: these lines beside the usual ones.
pub(crate) fn write_manifest(folder: &Path, lines: &str) {
    let id = folder.file_name().unwrap().to_str().unwrap();
    let manifest =
        format!("id = \"{id}\"\nname = \"{id}\"\nversion = \"0.1.0\"\nicon = \"x\"\nprotocol = 2\n{lines}");
    fs::write(folder.join("plugin.toml"), manifest).unwrap();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, copy) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// The examples of the repository.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The example of protocol version 1.
pub(crate) fn version_1_plugin() -> String {
    fs::read_to_string(examples().join("hello-plugin-v1-python/hello-v1.binary")).unwrap()
}

/// An example of this package, which cargo built beside this test.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{}: `cargo test` builds it, `cargo test --test` needs `cargo build --examples`",
        path.display()
    );
    path
}
