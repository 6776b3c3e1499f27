//! Reading what a process writes, for as long as it writes, in bounded memory.

use std::{
    future::{pending, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, sleep_until},
};

use super::{LogRecord, PluginLog, line, lock, now};

/// What is read at once, in bytes, on the stack.
const READ_BYTES: usize = 8 << 10;

impl PluginLog {
    /// Reads lines from stderr until the end of the pipe and keeps each as a record: JSON lines as they are, others as info.
    /// Never stops reading: lines past the rate are counted as dropped, long ones are cut and marked, blank ones are passed over.
    /// The last of it is remembered as the process's [`tail`](PluginLog::tail). Dropping the future loses a line that has not ended.
    pub async fn capture<R: AsyncRead + Unpin>(&self, pid: u32, pipe: R) {
        self.drain(pid, pipe, |read| lock(&self.log.tails).push(pid, read)).await;
    }

    /// As [`PluginLog::capture`], but for stdout: nothing of it is in the tail.
    pub async fn capture_stdout<R: AsyncRead + Unpin>(&self, pid: u32, pipe: R) {
        self.drain(pid, pipe, |_| ()).await;
    }

    async fn drain<R: AsyncRead + Unpin>(&self, pid: u32, mut pipe: R, mut saw: impl FnMut(&[u8])) {
        let mut lines = Lines::new(self.log.bounds.line_max);
        loop {
            let due = lock(&self.log.writing).budget.due();
            let read = tokio::select! {
                read = poll_fn(|cx| self.poll_read(pid, Pin::new(&mut pipe), &mut lines, &mut saw, cx)) => read,
                () = until(due) => {
                    self.settle();
                    continue;
                }
            };
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(plugin = %self.log.id, pid, %error, "the output of a plugin cannot be read");
                    break;
                }
            }
            // Whoever writes without end must not keep this thread from the others.
            tokio::task::consume_budget().await;
        }
        self.keep(pid, |each| lines.finish(each));
        self.settle_early();
    }

    /// Reads once and keeps what came. The memory is that of the thread: a plugin that writes nothing holds none.
    fn poll_read<R: AsyncRead>(
        &self,
        pid: u32,
        pipe: Pin<&mut R>,
        lines: &mut Lines,
        saw: &mut impl FnMut(&[u8]),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut memory = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut memory);
        ready!(pipe.poll_read(cx, &mut read))?;
        let read = read.filled();
        if !read.is_empty() {
            saw(read);
            self.keep(pid, |each| lines.push(read, each));
        }
        Poll::Ready(Ok(read.len()))
    }

    /// Writes the records of the lines that are split off, in one piece.
    fn keep(&self, pid: u32, split: impl FnOnce(&mut dyn FnMut(&[u8], bool))) {
        let log = &*self.log;
        let (now, timestamp) = (Instant::now(), now());
        let mut writing = lock(&log.writing);
        let mut kept = log.summary(writing.budget.settle(now));
        split(&mut |text, is_cut| {
            if writing.budget.admit(now) {
                let record = line::record_of(text, is_cut, &log.id, pid, &timestamp);
                kept.extend(record.iter().flat_map(LogRecord::to_line));
            }
        });
        writing.file.append(&kept);
    }

    fn settle(&self) {
        let mut writing = lock(&self.log.writing);
        let dropped = writing.budget.settle(Instant::now());
        writing.file.append(&self.log.summary(dropped));
    }

    fn settle_early(&self) {
        let mut writing = lock(&self.log.writing);
        let dropped = writing.budget.settle_early();
        writing.file.append(&self.log.summary(dropped));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// Splits bytes into lines, of which it holds one at most, up to the bound.
struct Lines {
    max: usize,
    held: Vec<u8>,
    /// The line was given out as far as it is wanted; the rest is passed over.
    is_cut: bool,
}

impl Lines {
    fn new(max: usize) -> Self {
        Self { max, held: Vec::new(), is_cut: false }
    }

    /// Gives out each line that has ended, and the beginning of one that is too long as soon as that is known.
    fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8], bool)) {
        while let Some(end) = find_newline(bytes) {
            self.hold(&bytes[..end], each);
            if !std::mem::take(&mut self.is_cut) {
                each(&self.held, false);
                self.held.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes, each);
    }

    /// Gives out the line that did not end.
    fn finish(&mut self, each: &mut dyn FnMut(&[u8], bool)) {
        if !self.held.is_empty() {
            each(&self.held, false);
            self.held.clear();
        }
    }

    fn hold(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8], bool)) {
        if self.is_cut {
            return;
        }
        let room = self.max - self.held.len();
        if bytes.len() <= room {
            self.held.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(&bytes[..room]);
        each(&self.held, true);
        self.held.clear();
        self.is_cut = true;
    }
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    // `contains` is the standard library's fast search, and most of a flood without newlines ends here.
    if !bytes.contains(&b'\n') {
        return None;
    }
    bytes.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Map, json};
    use tempfile::TempDir;
    use tokio::io::{AsyncWriteExt, duplex};
    use toru_plugin_api::message::log::Level;

    use super::*;
    use crate::{
        config::Config,
        log::{LogQuery, Logs},
    };

    const PID: u32 = 7;

    fn logs(change: impl FnOnce(&mut Config)) -> (TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("plugins"), folder.path());
        change(&mut config);
        let logs = Logs::open(&config).unwrap();
        (folder, logs)
    }

    async fn newest(log: &PluginLog, count: usize) -> Vec<LogRecord> {
        log.query(LogQuery { page: 1, page_size: count, level: Level::Trace }).await.unwrap()
    }

    async fn messages(log: &PluginLog) -> Vec<String> {
        newest(log, 1_000).await.into_iter().rev().map(|record| record.message).collect()
    }

    /// All that a process writes in pieces of this many bytes, and then its end.
    async fn split(text: &[u8], piece: usize, max: usize) -> Vec<(String, bool)> {
        let mut lines = Lines::new(max);
        let mut split = Vec::new();
        let mut each =
            |line: &[u8], is_cut: bool| split.push((String::from_utf8(line.to_vec()).unwrap(), is_cut));
        for piece in text.chunks(piece) {
            lines.push(piece, &mut each);
        }
        lines.finish(&mut each);
        split
    }

    #[tokio::test]
    async fn lines_are_the_same_wherever_the_reads_fall() {
        let text = b"one\n\n12345678\n123456789\n1234567890123456789\nlast";
        let expected = [
            ("one", false),
            ("", false),
            ("12345678", false),
            ("12345678", true),
            ("12345678", true),
            ("last", false),
        ]
        .map(|(line, is_cut)| (line.to_owned(), is_cut));
        for piece in 1..=text.len() {
            assert_eq!(split(text, piece, 8).await, expected, "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_captured_line_is_readable_at_once_by_the_api_and_by_an_outside_agent() {
        let (folder, logs) = logs(|_| ());
        let log = logs.plugin("hello");
        let (mut plugin, pipe) = duplex(64);
        let capture = tokio::spawn({
            let log = log.clone();
            async move { log.capture_stdout(PID, pipe).await }
        });
        plugin.write_all(b"{\"message\":\"up\",\"level\":\"debug\",\"port\":1}\nunfinished").await.unwrap();
        let mut records = newest(&log, 10).await;
        while records.is_empty() {
            tokio::task::yield_now().await;
            records = newest(&log, 10).await;
        }
        assert_eq!(
            (records[0].message.as_str(), records[0].level, records[0].pid),
            ("up", Level::Debug, Some(PID))
        );
        assert_eq!(records[0].fields["port"], 1);
        let file = fs::read_to_string(folder.path().join("logs/plugins/hello.log")).unwrap();
        let record: serde_json::Value = serde_json::from_str(file.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(record["plugin"], "hello");
        drop(plugin);
        capture.await.unwrap();
        assert_eq!(messages(&log).await, ["up", "unfinished"]);
    }

    #[tokio::test]
    async fn a_line_too_long_is_cut_and_marked_and_the_next_one_is_whole() {
        let (_folder, logs) = logs(|config| config.log_line_max = 10);
        let log = logs.plugin("hello");
        log.capture(PID, &b"exactly 10\nexactly 10 and more\nnext\n"[..]).await;
        assert_eq!(messages(&log).await, ["exactly 10", "exactly 10 […cut]", "next"]);
    }

    #[tokio::test]
    async fn the_tail_holds_stderr_of_that_process_alone() {
        let (_folder, logs) = logs(|_| ());
        let log = logs.plugin("hello");
        log.capture(PID, &b"Traceback:\n  line 1\nError: no \xff\n"[..]).await;
        log.capture_stdout(PID, &b"hello from stdout\n"[..]).await;
        log.capture(8, &b"another\n"[..]).await;
        assert_eq!(log.tail(PID).as_deref(), Some("Traceback:\n  line 1\nError: no \u{FFFD}"));
        assert_eq!(logs.plugin("hello").tail(8).as_deref(), Some("another"), "handles of one id are one log");
        assert_eq!(log.tail(9), None);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_past_the_rate_are_dropped_and_counted_in_one_record() {
        let (_folder, logs) = logs(|config| config.log_lines_per_second = 3);
        let log = logs.plugin("hello");
        let (mut plugin, pipe) = duplex(1 << 10);
        let capture = tokio::spawn({
            let log = log.clone();
            async move { log.capture(PID, pipe).await }
        });
        plugin.write_all("flood\n".repeat(10).as_bytes()).await.unwrap();
        // The plugin is silent from here on; the summary must not wait for its next line.
        tokio::time::sleep(std::time::Duration::from_millis(1_001)).await;
        let dropped = "7 lines were dropped: the plugin logs more than 3 a second";
        assert_eq!(messages(&log).await, ["flood", "flood", "flood", dropped]);
        log.record(Some(PID), Level::Warn, "over the link", &Map::new());
        plugin.write_all("flood\n".repeat(10).as_bytes()).await.unwrap();
        drop(plugin);
        capture.await.unwrap();
        let expected =
            ["over the link", "flood", "flood", "8 lines were dropped: the plugin logs more than 3 a second"];
        assert_eq!(messages(&log).await[4..], expected, "the link and the pipes share the rate");
        assert_eq!(newest(&log, 1).await[0].fields["dropped"], 8);
    }

    #[tokio::test]
    async fn a_record_of_the_link_is_bounded_and_keeps_its_level() {
        let (_folder, logs) = logs(|config| config.log_line_max = 100);
        let log = logs.plugin("hello");
        let fields = json!({"level": "trace", "plugin": "other", "n": 1}).as_object().unwrap().clone();
        log.record(Some(PID), Level::Error, &"m".repeat(200), &fields);
        let record = newest(&log, 1).await.remove(0);
        assert_eq!((record.level, record.plugin.as_deref()), (Level::Error, Some("hello")));
        assert_eq!(record.message, "m".repeat(100) + " […cut]");
        assert_eq!(record.fields, json!({"n": 1}).as_object().unwrap().clone());
    }

    #[tokio::test]
    async fn queries_go_over_the_rotated_files() {
        let (folder, logs) = logs(|config| {
            config.log_rotate_bytes = 1_000;
            config.log_keep = 3;
            config.log_lines_per_second = 1_000_000;
        });
        let log = logs.plugin("hello");
        let text: String = (0..500).map(|n| format!("line {n}\n")).collect();
        log.capture(PID, text.as_bytes()).await;
        let files = fs::read_dir(folder.path().join("logs/plugins")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["hello.log", "hello.log.1", "hello.log.2", "hello.log.3"]);
        let kept = messages(&log).await;
        assert!(kept.len() > 20, "{} lines", kept.len());
        let expected: Vec<String> = (500 - kept.len()..500).map(|n| format!("line {n}")).collect();
        assert_eq!(kept, expected);
    }

    #[tokio::test]
    async fn an_id_that_no_plugin_may_have_stays_in_the_folder() {
        let (folder, logs) = logs(|_| ());
        let log = logs.plugin("../../x");
        assert_eq!(log.path(), folder.path().join("logs/plugins/%2E%2E%2F%2E%2E%2Fx.log"));
    }

    /// Gives the same byte, so many times.
    struct Flood {
        left: usize,
    }

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let read = buf.remaining().min(self.left);
            buf.initialize_unfilled_to(read).fill(b'x');
            buf.advance(read);
            self.left -= read;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flood_without_a_newline_is_one_cut_line() {
        let (_folder, logs) = logs(|_| ());
        let log = logs.plugin("hello");
        log.capture(PID, Flood { left: 64 << 20 }).await;
        let kept = messages(&log).await;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].len(), (8 << 10) + " […cut]".len());
        assert_eq!(log.tail(PID).unwrap().len(), 2 << 10);
    }

    #[test]
    fn a_line_that_does_not_end_holds_no_more_than_the_bound() {
        let mut lines = Lines::new(8 << 10);
        for _ in 0..10_000 {
            lines.push(&[b'x'; 4_096], &mut |_, _| ());
            assert!(lines.held.capacity() <= 16 << 10, "{}", lines.held.capacity());
        }
    }
}
