//! Reading a log from its end.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{LogQuery, LogRecord};

/// What is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// The longest line that is looked at, in bytes: a record of 8 KiB whose every byte is escaped, and its fields, are well below it.
const MAX_LINE: usize = 256 << 10;

/// The most records of one page.
const MAX_PAGE: usize = 1_000;

/// A page of the records in these files, of which the newest comes first. Lines that are no records are passed over.
pub(super) fn newest(files: Vec<File>, query: LogQuery) -> io::Result<Vec<LogRecord>> {
    let page_size = query.page_size.clamp(1, MAX_PAGE);
    let mut to_skip = query.page.max(1).saturating_sub(1).saturating_mul(page_size);
    let mut page = Vec::new();
    for file in files {
        let mut lines = LinesFromEnd::new(file)?;
        while let Some(line) = lines.next()? {
            let Ok(record) = serde_json::from_slice::<LogRecord>(&line) else { continue };
            if record.level < query.level {
                continue;
            }
            if to_skip > 0 {
                to_skip -= 1;
                continue;
            }
            page.push(record);
            if page.len() == page_size {
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The lines of a file, the last one first. What is appended after it was made is not seen.
struct LinesFromEnd {
    file: File,
    /// Where in the file what is held begins.
    at: u64,
    /// Read and not given out yet.
    held: Vec<u8>,
    /// The end of the line that is held was longer than the bound and is forgotten.
    is_too_long: bool,
}

impl LinesFromEnd {
    fn new(file: File) -> io::Result<Self> {
        let at = file.metadata()?.len();
        Ok(Self { file, at, held: Vec::new(), is_too_long: false })
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let line = match self.held.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = self.held.split_off(end + 1);
                    self.held.pop();
                    line
                }
                None if self.at > 0 => {
                    self.read_block()?;
                    continue;
                }
                None if self.held.is_empty() => return Ok(None),
                None => std::mem::take(&mut self.held),
            };
            if !std::mem::take(&mut self.is_too_long) && !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Reads the block before what is held.
    fn read_block(&mut self) -> io::Result<()> {
        if self.held.len() > MAX_LINE {
            self.held.clear();
            self.is_too_long = true;
        }
        let len = usize::try_from(self.at).map_or(BLOCK, |at| at.min(BLOCK));
        let mut block = vec![0; len];
        self.at -= len as u64;
        self.file.read_exact_at(&mut block, self.at)?;
        block.append(&mut self.held);
        self.held = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::Map;
    use toru_plugin_api::message::log::Level;

    use super::*;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = LinesFromEnd::new(file(text)).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(String::from_utf8(line).unwrap());
        }
        all
    }

    #[test]
    fn lines_come_from_the_end_over_blocks_of_any_alignment() {
        let forward: Vec<String> = (0..30_000).map(|n| format!("line {n} {}", "x".repeat(n % 17))).collect();
        let mut backward = lines((forward.join("\n") + "\n").as_bytes());
        backward.reverse();
        assert_eq!(backward, forward);
    }

    #[test]
    fn a_line_longer_than_the_bound_is_passed_over() {
        let long = "x".repeat(MAX_LINE + 3 * BLOCK);
        assert_eq!(lines(format!("a\n{long}\nb\n").as_bytes()), ["b", "a"]);
        assert_eq!(lines(format!("{long}\nb\n").as_bytes()), ["b"]);
    }

    #[test]
    fn an_empty_file_and_blank_lines_hold_nothing() {
        assert!(lines(b"").is_empty());
        assert!(lines(b"\n\n").is_empty());
        assert_eq!(lines(b"\na\n\nb"), ["b", "a"]);
    }

    fn records(range: std::ops::Range<usize>) -> File {
        let text: Vec<u8> = range
            .flat_map(|n| {
                let level = if n % 10 == 0 { Level::Error } else { Level::Info };
                let (timestamp, message) = (super::super::now(), n.to_string());
                LogRecord {
                    timestamp,
                    level,
                    message,
                    plugin: None,
                    error: None,
                    pid: None,
                    fields: Map::new(),
                }
                .to_line()
            })
            .collect();
        file(&text)
    }

    fn page(page: usize, page_size: usize, level: Level) -> Vec<String> {
        let files = vec![records(60..100), file(b"torn\n{\"level\":\n"), records(0..60)];
        let page = newest(files, LogQuery { page, page_size, level }).unwrap();
        page.into_iter().map(|record| record.message).collect()
    }

    #[test]
    fn pages_are_newest_first_and_go_over_the_files() {
        assert_eq!(page(1, 3, Level::Trace), ["99", "98", "97"]);
        assert_eq!(page(2, 39, Level::Trace)[..3], ["60", "59", "58"]);
        assert_eq!(page(10, 11, Level::Trace), ["0"]);
        assert!(page(11, 11, Level::Trace).is_empty());
        assert!(page(usize::MAX, usize::MAX, Level::Trace).is_empty());
    }

    #[test]
    fn only_the_wanted_levels_and_above_are_counted() {
        assert_eq!(page(2, 3, Level::Error), ["60", "50", "40"]);
    }
}
