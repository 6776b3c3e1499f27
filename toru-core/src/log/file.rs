//! A file of lines that is rotated at a size: `<name>`, then `<name>.1`, the youngest of the old ones, and so on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Bounds;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    keep: usize,
    opened: Option<Opened>,
    /// Lines lost since writing began to fail.
    lost: u64,
}

#[derive(Debug)]
struct Opened {
    file: File,
    len: u64,
}

impl LogFile {
    /// A file that is opened, and made (mode 0600), by its first line.
    pub(super) fn new(path: PathBuf, bounds: Bounds) -> Self {
        Self { path, rotate_bytes: bounds.rotate_bytes, keep: bounds.keep, opened: None, lost: 0 }
    }

    /// Appends whole lines; each file ends with a whole one. A failure is told once, with the lines that it cost.
    pub(super) fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        match self.try_append(lines) {
            Ok(()) if self.lost > 0 => {
                tracing::warn!(path = %self.path.display(), lost = self.lost, "the log can be written again");
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    tracing::error!(path = %self.path.display(), %error, "the log cannot be written");
                }
                self.lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                // It may end in a part of a line now, which opening it again mends.
                self.opened = None;
            }
        }
    }

    fn try_append(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let rotate_bytes = self.rotate_bytes;
            let opened = self.opened()?;
            let fits = whole_lines(lines, rotate_bytes.saturating_sub(opened.len));
            let fits = match fits {
                0 if opened.len > 0 => {
                    self.rotate()?;
                    continue;
                }
                // A line longer than a file has one to itself.
                0 => lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1),
                fits => fits,
            };
            opened.file.write_all(&lines[..fits])?;
            opened.len += fits as u64;
            lines = &lines[fits..];
        }
        Ok(())
    }

    /// Opens the file if it is not open.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.opened().map(|_| ())
    }

    fn opened(&mut self) -> io::Result<&mut Opened> {
        let opened = match self.opened.take() {
            Some(opened) => opened.if_still_there()?,
            None => None,
        };
        let opened = match opened {
            Some(opened) => opened,
            None => Opened::at(&self.path)?,
        };
        Ok(self.opened.insert(opened))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.opened = None;
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for age in (1..self.keep).rev() {
            match fs::rename(self.rotated(age), self.rotated(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.rotated(1))
    }

    fn rotated(&self, age: usize) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{age}"));
        name.into()
    }

    /// All files that there are, the newest first, for reading.
    pub(super) fn open_all(&self) -> io::Result<Vec<File>> {
        let mut files = Vec::with_capacity(self.keep + 1);
        let paths = std::iter::once(self.path.clone()).chain((1..=self.keep).map(|age| self.rotated(age)));
        for path in paths {
            match File::open(path) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

impl Opened {
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut len = file.metadata()?.len();
        if len > 0 {
            let mut last = [0];
            file.read_exact_at(&mut last, len - 1)?;
            if last != *b"\n" {
                // A crash or a full disk left a part of a line; the next one must not be glued to it.
                file.write_all(b"\n")?;
                len += 1;
            }
        }
        Ok(Self { file, len })
    }

    /// Itself with its length of now, unless an operator has deleted the file: then what is appended would be lost.
    fn if_still_there(mut self) -> io::Result<Option<Self>> {
        let file = self.file.metadata()?;
        self.len = file.len();
        Ok(if file.nlink() == 0 { None } else { Some(self) })
    }
}

/// The bytes of as many whole lines as there is room for.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn log(keep: usize) -> (tempfile::TempDir, LogFile) {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { line_max: 100, lines_per_second: 1, rotate_bytes: 10, keep };
        let file = LogFile::new(folder.path().join("a.log"), bounds);
        (folder, file)
    }

    fn files(folder: &tempfile::TempDir) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn named<const N: usize>(files: [(&str, &str); N]) -> Vec<(String, String)> {
        files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec()
    }

    #[test]
    fn a_file_is_rotated_before_it_would_pass_its_size_and_the_oldest_goes() {
        let (folder, mut log) = log(2);
        for n in 0..8 {
            log.append(format!("{n:04}\n").as_bytes());
        }
        let expected = [("a.log", "0006\n0007\n"), ("a.log.1", "0004\n0005\n"), ("a.log.2", "0002\n0003\n")];
        assert_eq!(files(&folder), named(expected));
    }

    #[test]
    fn lines_that_come_together_are_rotated_as_if_they_came_one_by_one() {
        let (folder, mut log) = log(5);
        log.append(b"0000\n0001\n0002\n");
        assert_eq!(files(&folder), named([("a.log", "0002\n"), ("a.log.1", "0000\n0001\n")]));
    }

    #[test]
    fn a_line_longer_than_a_file_has_one_to_itself() {
        let (folder, mut log) = log(5);
        log.append(b"a\nbbbbbbbbbbbbbbb\nc\n");
        let expected = [("a.log", "c\n"), ("a.log.1", "bbbbbbbbbbbbbbb\n"), ("a.log.2", "a\n")];
        assert_eq!(files(&folder), named(expected));
    }

    #[test]
    fn a_file_is_of_its_owner_alone_and_goes_on_where_it_ended() {
        let (folder, mut log) = log(5);
        log.append(b"one\n");
        let path = folder.path().join("a.log");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        log.opened = None;
        log.append(b"two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_file_that_an_operator_deletes_or_empties_goes_on() {
        let (folder, mut log) = log(5);
        let path = folder.path().join("a.log");
        log.append(b"one\n");
        fs::remove_file(&path).unwrap();
        log.append(b"two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::write(&path, "").unwrap();
        log.append(b"3\n4\n5\n6\n");
        assert_eq!(files(&folder), named([("a.log", "3\n4\n5\n6\n")]));
    }

    #[test]
    fn a_line_torn_by_a_crash_is_not_glued_to_the_next() {
        let (folder, mut log) = log(5);
        fs::write(folder.path().join("a.log"), "tor").unwrap();
        log.append(b"next\n");
        assert_eq!(files(&folder), named([("a.log", "tor\nnext\n")]));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_writing_goes_on_when_it_can() {
        let (folder, mut log) = log(5);
        let path = folder.path().join("a.log");
        fs::create_dir(&path).unwrap();
        log.append(b"lost\nlost\n");
        assert_eq!(log.lost, 2);
        fs::remove_dir(&path).unwrap();
        log.append(b"kept\n");
        assert_eq!(log.lost, 0);
        assert_eq!(files(&folder), named([("a.log", "kept\n")]));
    }
}
