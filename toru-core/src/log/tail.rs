//! The end of what a process wrote, kept for the reason of its failure.

use std::collections::VecDeque;

/// What is kept of a process, in bytes: the last message of a panic or a traceback.
const TAIL_BYTES: usize = 2 << 10;

/// The processes of one plugin that are remembered: the one that runs, its successor, and the last that failed.
const PROCESSES: usize = 4;

/// The tails of the last processes of a plugin, the newest at the back.
#[derive(Debug, Default)]
pub(super) struct Tails {
    tails: VecDeque<Tail>,
}

#[derive(Debug)]
struct Tail {
    pid: u32,
    bytes: VecDeque<u8>,
}

impl Tails {
    /// Takes what was read, whole lines or not.
    pub(super) fn push(&mut self, pid: u32, read: &[u8]) {
        let tail = self.of(pid);
        let read = &read[read.len().saturating_sub(TAIL_BYTES)..];
        let excess = (tail.len() + read.len()).saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
        tail.extend(read);
    }

    fn of(&mut self, pid: u32) -> &mut VecDeque<u8> {
        let at = match self.tails.iter().position(|tail| tail.pid == pid) {
            Some(at) => at,
            None => {
                if self.tails.len() == PROCESSES {
                    self.tails.pop_front();
                }
                self.tails.push_back(Tail { pid, bytes: VecDeque::new() });
                self.tails.len() - 1
            }
        };
        &mut self.tails[at].bytes
    }

    /// The text, without blank ends; `None` when nothing was written.
    pub(super) fn text(&self, pid: u32) -> Option<String> {
        let tail = self.tails.iter().find(|tail| tail.pid == pid)?;
        let bytes: Vec<u8> = tail.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // The replacement character is longer than the byte that it stands for.
        let from = text.len().saturating_sub(TAIL_BYTES);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).expect("the end is a boundary");
        let text = text[from..].trim_start_matches(char::REPLACEMENT_CHARACTER).trim();
        if text.is_empty() { None } else { Some(text.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_two_kib() {
        let mut tails = Tails::default();
        for n in 0..1_000 {
            tails.push(7, format!("line {n}\n").as_bytes());
        }
        let text = tails.text(7).unwrap();
        assert!(text.ends_with("line 998\nline 999"), "{text}");
        assert!(text.len() <= TAIL_BYTES);
        tails.push(7, &vec![b'x'; 3 * TAIL_BYTES]);
        assert_eq!(tails.text(7).unwrap(), "x".repeat(TAIL_BYTES));
    }

    #[test]
    fn bytes_that_are_no_text_keep_the_bound() {
        let mut tails = Tails::default();
        tails.push(7, &[0xFF; TAIL_BYTES]);
        tails.push(7, b"end");
        let text = tails.text(7).unwrap();
        assert!(text.len() <= TAIL_BYTES && text.ends_with("end"));
    }

    #[test]
    fn only_the_last_processes_are_remembered() {
        let mut tails = Tails::default();
        for pid in 1..=5 {
            tails.push(pid, format!("from {pid}").as_bytes());
        }
        assert_eq!(tails.text(1), None);
        assert_eq!(tails.text(5).as_deref(), Some("from 5"));
        assert_eq!(tails.text(9), None);
    }
}
