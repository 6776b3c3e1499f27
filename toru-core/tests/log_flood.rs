//! A plugin that writes 1 GiB to stdout without a newline costs the host a few pages. Alone in its process, so that the memory
//! that is measured is its own.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    fs, io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};
use toru_core::{
    Config,
    api::message::log::Level,
    log::{LogQuery, Logs},
};

const FLOOD: usize = 1 << 30;

/// What the flood may add to the resident memory, in KiB (reliability, processes).
const MAX_GROWTH_KIB: u64 = 8 << 10;

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

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn one_gib_without_a_newline_adds_at_most_eight_mib() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(folder.path().join("plugins"), folder.path());
    let log = Logs::open(&config).unwrap().plugin("flood");
    let before = status_kib("VmRSS:");
    log.capture_stdout(1, Flood { left: FLOOD }).await;
    let growth = status_kib("VmHWM:").saturating_sub(before);
    assert!(growth <= MAX_GROWTH_KIB, "{growth} KiB");
    let page = log.query(LogQuery { page: 1, page_size: 10, level: Level::Trace }).await.unwrap();
    assert_eq!(page.len(), 1, "the line is kept, cut");
}
