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
    /// Of a side whose streams have all numbers after this one still before them.
    pub(super) fn after(side: Side, number: Option<u32>) -> Self {
        let parity = u32::from(side == Side::Host);
        Self { side, own_last: number.map(|number| number & !1 | parity), peer_last: None }
    }

    /// Goes on after these numbers.
    pub(super) fn jump(&mut self, own_last: Option<u32>, peer_last: Option<u32>) {
        (self.own_last, self.peer_last) = (own_last, peer_last);
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
        assert_eq!(Ids::after(Side::Host, None).next(none_open), StreamId(1));
        assert_eq!(Ids::after(Side::Plugin, None).next(none_open), StreamId(2));
    }

    #[test]
    fn numbers_wrap_without_zero() {
        let mut host = Ids::after(Side::Host, None);
        host.jump(Some(u32::MAX), None);
        assert_eq!(host.next(none_open), StreamId(1));
        let mut plugin = Ids::after(Side::Plugin, None);
        plugin.jump(Some(u32::MAX - 1), None);
        assert_eq!(plugin.next(none_open), StreamId(2));
    }

    #[test]
    fn a_side_goes_on_after_a_number_with_those_of_its_parity() {
        for last in [u32::MAX - 1, u32::MAX] {
            assert_eq!(Ids::after(Side::Host, Some(last)).next(none_open), StreamId(1));
            assert_eq!(Ids::after(Side::Plugin, Some(last)).next(none_open), StreamId(2));
        }
        assert_eq!(Ids::after(Side::Host, Some(6)).next(none_open), StreamId(9));
    }

    #[test]
    fn open_numbers_are_skipped() {
        let mut host = Ids::after(Side::Host, None);
        host.jump(Some(u32::MAX), None);
        assert_eq!(host.next(|id| id.0 < 5), StreamId(5));
    }

    #[test]
    fn numbers_up_to_the_last_are_forgotten_and_later_ones_not_opened() {
        let mut host = Ids::after(Side::Host, None);
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
