//! Reading what a process writes, for as long as it writes, in bounded memory.

use std::{future::pending, io};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until},
};

use super::{PluginLog, line, lock, now};

/// What is read at once, in bytes. Held for each pipe of each plugin, so it is small.
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
        let mut buffer = vec![0; READ_BYTES];
        let mut lines = Lines::new(self.log.bounds.line_max);
        loop {
            let due = lock(&self.log.writing).budget.due();
            let read = tokio::select! {
                read = pipe.read(&mut buffer) => read,
                () = until(due) => {
                    self.settle();
                    continue;
                }
            };
            match read {
                Ok(0) => break,
                Ok(read) => {
                    saw(&buffer[..read]);
                    self.keep(pid, |each| lines.push(&buffer[..read], each));
                }
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

    /// Writes the records of the lines that are split off, in one piece.
    fn keep(&self, pid: u32, split: impl FnOnce(&mut dyn FnMut(&[u8], bool))) {
        let log = &*self.log;
        let (now, timestamp) = (Instant::now(), now());
        let mut writing = lock(&log.writing);
        let mut kept = log.summary(writing.budget.settle(now));
        split(&mut |text, is_cut| {
            if writing.budget.admit(now)
                && let Some(record) = line::record_of(text, is_cut, &log.id, pid, &timestamp)
            {
                kept.extend(record.to_line());
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
