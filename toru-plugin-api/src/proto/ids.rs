//! Stream numbers: who opens which, which comes next, and what a number without a stream means
//! (protocol section 3, serial-number arithmetic of RFC 1982).

use super::Side;
use crate::frame::StreamId;

/// The distance between two numbers of one opener: the parity tells who opened.
const STEP: u32 = 2;

/// Whether `number` comes after `last` (RFC 1982, 3.2). At the distance of exactly 2^31, which the RFC leaves
/// undefined, it does not.
fn is_after(number: u32, last: u32) -> bool {
    (1..1 << 31).contains(&number.wrapping_sub(last))
}

/// What a number says that has no open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// Its stream has ended, or was passed over.
    Forgotten,
    /// Its opener has not come to it yet.
    NotOpened,
}

/// The last numbers that both sides have opened.
#[derive(Debug)]
pub(super) struct Ids {
    side: Side,
    own_last: Option<u32>,
    peer_last: Option<u32>,
}

impl Ids {
    /// Of a side before its first stream.
    pub(super) fn new(side: Side) -> Self {
        Self { side, own_last: None, peer_last: None }
    }

    /// Goes on after these numbers, whatever their parity.
    pub(super) fn jump(&mut self, own_last: Option<u32>, peer_last: Option<u32>) {
        let parity = u32::from(self.side == Side::Host);
        self.own_last = own_last.map(|number| number & !1 | parity);
        self.peer_last = peer_last.map(|number| number & !1 | (parity ^ 1));
    }

    /// Whether this side opens streams of this number: odd ones are the host's.
    pub(super) fn is_own(&self, id: StreamId) -> bool {
        (id.0 % STEP == 1) == (self.side == Side::Host)
    }

    /// The number of the next stream that this side opens; those that are open, and 0, are skipped.
    pub(super) fn next(&self, is_open: impl Fn(StreamId) -> bool) -> StreamId {
        let first = if self.side == Side::Host { 1 } else { STEP };
        let mut number = self.own_last.map_or(first, |last| last.wrapping_add(STEP));
        while number == 0 || is_open(StreamId(number)) {
            number = number.wrapping_add(STEP);
        }
        StreamId(number)
    }

    /// Records that `id` was opened, by whoever opens its parity.
    pub(super) fn opened(&mut self, id: StreamId) {
        let last = if self.is_own(id) { &mut self.own_last } else { &mut self.peer_last };
        *last = Some(id.0);
    }

    /// What `id` says, given that no stream of this number is open.
    pub(super) fn absent(&self, id: StreamId) -> Absent {
        let last = if self.is_own(id) { self.own_last } else { self.peer_last };
        match last {
            Some(last) if !is_after(id.0, last) => Absent::Forgotten,
            _ => Absent::NotOpened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none_open(_: StreamId) -> bool {
        false
    }

    #[test]
    fn first_numbers_are_one_and_two() {
        assert_eq!(Ids::new(Side::Host).next(none_open), StreamId(1));
        assert_eq!(Ids::new(Side::Plugin).next(none_open), StreamId(2));
    }

    #[test]
    fn numbers_wrap_without_zero() {
        let mut host = Ids::new(Side::Host);
        host.jump(Some(u32::MAX), None);
        assert_eq!(host.next(none_open), StreamId(1));
        let mut plugin = Ids::new(Side::Plugin);
        plugin.jump(Some(u32::MAX - 1), None);
        assert_eq!(plugin.next(none_open), StreamId(2));
    }

    #[test]
    fn a_side_goes_on_after_a_number_with_those_of_its_parity() {
        for last in [u32::MAX - 1, u32::MAX] {
            for (side, next) in [(Side::Host, 1), (Side::Plugin, 2)] {
                let mut ids = Ids::new(side);
                ids.jump(Some(last), None);
                assert_eq!(ids.next(none_open), StreamId(next));
            }
        }
        let mut host = Ids::new(Side::Host);
        host.jump(Some(6), Some(7));
        assert_eq!(host.next(none_open), StreamId(9));
        assert_eq!([6, 8].map(|id| host.absent(StreamId(id))), [Absent::Forgotten, Absent::NotOpened]);
    }

    #[test]
    fn open_numbers_are_skipped() {
        let mut host = Ids::new(Side::Host);
        host.jump(Some(u32::MAX), None);
        assert_eq!(host.next(|id| id.0 < 5), StreamId(5));
    }

    #[test]
    fn numbers_up_to_the_last_are_forgotten_and_later_ones_not_opened() {
        let mut host = Ids::new(Side::Host);
        assert_eq!(host.absent(StreamId(2)), Absent::NotOpened);
        host.opened(StreamId(0xFFFF_FFFE));
        assert_eq!(host.absent(StreamId(0xFFFF_FFFE)), Absent::Forgotten);
        assert_eq!(host.absent(StreamId(0xFFFF_FFF0)), Absent::Forgotten);
        assert_eq!(host.absent(StreamId(2)), Absent::NotOpened);
        assert_eq!(host.absent(StreamId(1)), Absent::NotOpened, "this side has opened nothing");
    }

    #[test]
    fn the_undefined_distance_is_not_after() {
        assert!(is_after(1 << 31, 1));
        assert!(!is_after((1 << 31) + 2, 2));
        assert!(!is_after(2, (1 << 31) + 2));
        assert!(!is_after(7, 7));
    }
}
