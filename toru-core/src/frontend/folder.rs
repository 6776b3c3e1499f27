//! Where a frontend's files lie, and how one is opened so that what was checked is what is served.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::FrontendError;

/// The permission bit of writing by anybody (inode(7)).
const OTHERS_WRITE: u32 = 0o002;

/// The folder of a plugin's frontend. It need not be there yet: a build may make it, or make it anew, at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendFolder {
    /// The plugin's own folder, with all links resolved.
    pub(crate) plugin: PathBuf,
    /// The frontend's, relative to it.
    pub(crate) name: PathBuf,
    /// Whoever develops a plugin owns its folder, so that permissions are looked at in the plugins folder only.
    pub(crate) refuses_writable: bool,
}

impl FrontendFolder {
    /// Where it is, or would be.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.plugin.join(&self.name)
    }

    /// Opens something in the folder; the way to it may lead over links, but not out of the folder. Blocking.
    pub(super) fn open(&self, name: &str) -> Result<File, FrontendError> {
        let name = Path::new(if name.is_empty() { "." } else { name });
        let file = self.folder().and_then(|folder| {
            // A pipe of that name must not hold the reader.
            open_beneath(&folder, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
        });
        let file = File::from(file.map_err(|error| self.failure(name, error))?);
        self.check_permissions(&file, name)?;
        Ok(file)
    }

    fn folder(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let plugin = openat(CWD, &self.plugin, flags, Mode::empty())?;
        open_beneath(&plugin, &self.name, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn check_permissions(&self, file: &File, name: &Path) -> Result<(), FrontendError> {
        let metadata = file.metadata().map_err(|error| self.unreadable(name, &error))?;
        if self.refuses_writable && metadata.permissions().mode() & OTHERS_WRITE != 0 {
            let path = self.path().join(name);
            tracing::warn!(path = %path.display(), "a frontend's file is writable by others and is not served: run chmod o-w");
            return Err(FrontendError::NotFound);
        }
        Ok(())
    }

    fn failure(&self, name: &Path, error: Errno) -> FrontendError {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => FrontendError::NotFound,
            // What openat2 and O_NOFOLLOW say of a link that is not followed.
            Errno::XDEV | Errno::LOOP => {
                let path = self.path().join(name);
                tracing::warn!(path = %path.display(), "a link leads out of a frontend's folder and is not served: put the file itself there");
                FrontendError::NotFound
            }
            error => self.unreadable(name, &error.into()),
        }
    }

    pub(super) fn unreadable(&self, name: &Path, error: &io::Error) -> FrontendError {
        let path = self.path().join(name);
        tracing::error!(path = %path.display(), %error, "a frontend's file cannot be read");
        FrontendError::Unreadable
    }
}

/// Opens a path that cannot leave the folder, whatever is moved or linked meanwhile (openat2(2), `RESOLVE_BENEATH`).
fn open_beneath(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(&folder, path, flags, Mode::empty(), resolve) {
            // Something was renamed on the way: it can be asked again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS) => return walk(folder, path, flags),
            opened => return opened,
        }
    }
}

/// The same step by step, where no link is followed at all.
fn walk(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = openat(folder, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut parts = path.iter().filter(|part| *part != ".").peekable();
    if parts.peek().is_none() {
        return openat(&at, ".", flags | OFlags::NOFOLLOW, Mode::empty());
    }
    while let Some(part) = parts.next() {
        if part == ".." {
            return Err(Errno::XDEV);
        }
        let is_last = parts.peek().is_none();
        let step = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        at = openat(&at, part, step | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    type Open = fn(&File, &Path) -> Result<OwnedFd, Errno>;

    /// By the kernel, and step by step.
    const WAYS: [Open; 2] = [
        |folder, path| open_beneath(folder, path, OFlags::RDONLY),
        |folder, path| walk(folder, path, OFlags::RDONLY | OFlags::CLOEXEC),
    ];

    fn read(file: OwnedFd) -> String {
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn nothing_outside_is_opened_by_either_way() {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("dist");
        fs::create_dir_all(inside.join("assets")).unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        fs::write(inside.join("assets/app.js"), "app").unwrap();
        symlink("../secret", inside.join("relative")).unwrap();
        symlink(place.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let folder = File::open(&inside).unwrap();
        for open in WAYS {
            assert_eq!(read(open(&folder, Path::new("assets/app.js")).unwrap()), "app");
            for path in
                ["relative", "absolute", "up/secret", "magic/etc/passwd", "../secret", "assets/../../secret"]
            {
                assert!(open(&folder, Path::new(path)).is_err(), "{path}");
            }
        }
    }

    #[test]
    fn a_link_that_stays_inside_is_followed_where_the_kernel_can_tell() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("app.1.js"), "app").unwrap();
        symlink("app.1.js", place.path().join("app.js")).unwrap();
        let folder = File::open(place.path()).unwrap();
        let [by_kernel, step_by_step] = WAYS;
        assert_eq!(read(by_kernel(&folder, Path::new("app.js")).unwrap()), "app");
        assert_eq!(step_by_step(&folder, Path::new("app.js")).unwrap_err(), Errno::LOOP);
    }
}
