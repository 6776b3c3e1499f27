//! Window arithmetic (protocol section 3, credit): the only place where credit is added and subtracted.

use crate::frame::limits::MAX_WINDOW;

/// How far the window of a stream that is read fast is raised: enough for a bandwidth-delay product far beyond
/// a Unix socket's.
const RAISED_WINDOW: u32 = 256 << 10;
/// What all raises of a connection may add up to, so that they cannot multiply its memory.
const RAISES_PER_CONNECTION: u32 = 4 << 20;

/// More bytes than the window allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed;

/// More credit than a window can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow;

/// The bytes that a sender may still send. Never above 2^31 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(u32);

impl Window {
    pub(super) fn new(bytes: u32) -> Self {
        Self(bytes.min(MAX_WINDOW))
    }

    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Passed> {
        let bytes = u32::try_from(bytes).map_err(|_| Passed)?;
        self.0 = self.0.checked_sub(bytes).ok_or(Passed)?;
        Ok(())
    }

    pub(super) fn grant(&mut self, credit: u32) -> Result<(), Overflow> {
        self.0 = self.0.checked_add(credit).filter(|&sum| sum <= MAX_WINDOW).ok_or(Overflow)?;
        Ok(())
    }
}

/// What is left of a connection's raises.
#[derive(Debug)]
pub(super) struct Raises(u32);

impl Raises {
    pub(super) fn new() -> Self {
        Self(RAISES_PER_CONNECTION)
    }

    fn take(&mut self, wanted: u32) -> u32 {
        let taken = wanted.min(self.0);
        self.0 -= taken;
        taken
    }

    fn give_back(&mut self, raised: u32) {
        self.0 += raised;
    }
}

/// The receiver's end of a window: what the peer may still send, and what the reader has consumed of it.
#[derive(Debug)]
pub(super) struct RecvWindow {
    /// The most bytes that may lie here unread.
    size: u32,
    /// How much of `size` came out of the connection's raises.
    raised: u32,
    /// What the peer may still send.
    open: Window,
    /// Consumed, and not yet returned as credit.
    consumed: u32,
    /// Consumed since the window was last raised.
    since_raise: u32,
}

impl RecvWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { size, raised: 0, open: Window::new(size), consumed: 0, since_raise: 0 }
    }

    /// Bytes arrived.
    pub(super) fn receive(&mut self, bytes: usize) -> Result<(), Passed> {
        self.open.take(bytes)
    }

    /// The reader took `bytes`. Gives the credit that is due: none before half the window is consumed, so that
    /// credit does not travel byte by byte. `caught_up`: the reader has taken all that came; who has done so for a whole
    /// window is fast, and its window is doubled.
    pub(super) fn consume(&mut self, bytes: usize, caught_up: bool, raises: &mut Raises) -> Option<u32> {
        let bytes = u32::try_from(bytes).expect("no more is consumed than a window held");
        self.consumed += bytes;
        self.since_raise = self.since_raise.saturating_add(bytes);
        if self.consumed < self.size.div_ceil(2) {
            return None;
        }
        let mut credit = std::mem::take(&mut self.consumed);
        if caught_up && self.since_raise >= self.size && self.size < RAISED_WINDOW {
            let raise = raises.take(self.size.min(RAISED_WINDOW - self.size));
            self.since_raise = 0;
            self.size += raise;
            self.raised += raise;
            credit += raise;
        }
        self.open
            .grant(credit)
            .expect("what was consumed had been granted, and a raise stays below the limit");
        Some(credit)
    }

    /// The direction has ended: its raise goes back to the connection.
    pub(super) fn close(&mut self, raises: &mut Raises) {
        raises.give_back(std::mem::take(&mut self.raised));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_at_its_limits() {
        let mut window = Window::new(10);
        assert_eq!(window.take(11), Err(Passed));
        assert_eq!(window.take(10), Ok(()));
        assert_eq!(window.grant(MAX_WINDOW), Ok(()));
        assert_eq!(window.grant(1), Err(Overflow));
        assert_eq!(window.available(), MAX_WINDOW as usize);
    }

    #[test]
    fn credit_goes_back_when_half_the_window_is_consumed() {
        let mut raises = Raises(0);
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        assert_eq!(window.consume(49, false, &mut raises), None);
        assert_eq!(window.consume(1, false, &mut raises), Some(50));
        assert_eq!(window.receive(51), Err(Passed));
    }

    #[test]
    fn a_window_of_one_byte_gets_its_byte_back() {
        let mut window = RecvWindow::new(1);
        window.receive(1).unwrap();
        assert_eq!(window.consume(1, false, &mut Raises(0)), Some(1));
    }

    #[test]
    fn a_fast_reader_raises_its_window_up_to_256_kib() {
        let mut raises = Raises::new();
        let mut window = RecvWindow::new(65_536);
        let mut granted = 65_536_usize;
        for _ in 0..100 {
            let bytes = granted.min(16_384);
            window.receive(bytes).unwrap();
            granted -= bytes;
            granted += window.consume(bytes, true, &mut raises).unwrap_or(0) as usize;
        }
        assert_eq!(window.size, RAISED_WINDOW);
        assert_eq!(raises.0, RAISES_PER_CONNECTION - (RAISED_WINDOW - 65_536));
        window.close(&mut raises);
        assert_eq!(raises.0, RAISES_PER_CONNECTION);
    }

    #[test]
    fn raises_end_with_what_the_connection_has() {
        let mut raises = Raises(10);
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        assert_eq!(window.consume(100, true, &mut raises), Some(110));
        window.receive(110).unwrap();
        assert_eq!(window.consume(110, true, &mut raises), Some(110));
    }
}
