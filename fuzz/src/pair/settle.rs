//! The end of a run: both applications do their part, each only when it was told that it can. So everything that was not
//! given up comes to its end, without a timer.

use toru_plugin_api::proto::Side;

use super::{MOST_MOVES, Pair, model::peer_of, plan::AnswerForm};

impl Pair {
    pub(super) fn settle(mut self) {
        for _ in 0..MOST_MOVES {
            self.rest();
            if !self.go_on() {
                self.check_settled();
                return;
            }
            self.check();
        }
        panic!("the applications never come to an end: {:?}", self.model);
    }

    /// Whatever may be done now. False: nothing.
    fn go_on(&mut self) -> bool {
        let mut went_on = false;
        for side in [Side::Host, Side::Plugin] {
            for at in self.unanswered_calls(side) {
                self.answer_call(at, 10);
                went_on = true;
            }
            let readable = self.model.streams(|exchange| exchange.is_readable_by(side));
            for id in readable {
                if self.model.exchange(id).receiving(side).readable {
                    self.read(side, id);
                    went_on = true;
                }
            }
        }
        // The callee has read the whole request before it ends its answer, so that nothing of it is unwanted.
        let answerable = self.model.streams(|exchange| {
            let read = exchange.up.ended || exchange.up.discarded || exchange.offered;
            exchange.is_known_to(peer_of(exchange.by)) && read && exchange.answered.is_none()
        });
        for id in answerable {
            self.respond(id, AnswerForm::Full, 5_000);
            went_on = true;
        }
        for side in [Side::Host, Side::Plugin] {
            for id in self.open_flows(side) {
                let exchange = self.model.exchange(id);
                let up = &exchange.up;
                if exchange.by == side || up.ended || up.discarded || up.disturbed {
                    self.finish(side, id);
                    went_on = true;
                }
            }
        }
        went_on
    }

    fn check_settled(&mut self) {
        for exchange in &self.model.exchanges {
            assert!(exchange.arrived, "a request that was made has arrived: {exchange:?}");
            if exchange.may_be_cut() {
                continue;
            }
            assert!(exchange.answer_arrived, "a request that nobody gave up has its answer: {exchange:?}");
            for flow in [&exchange.up, &exchange.down] {
                assert!(
                    flow.ended || flow.discarded || flow.disturbed,
                    "a body that nobody cut is whole: {exchange:?}"
                );
            }
        }
        for call in &self.model.calls {
            assert!(call.told, "each call has its outcome: {call:?}");
        }
        assert!(self.model.notices.is_empty(), "each record has arrived");
        assert_eq!((self.host.open_streams(), self.plugin.open_streams()), (0, 0), "streams stay behind");
        assert_eq!(
            (self.host.next_timeout(), self.plugin.next_timeout()),
            (None, None),
            "timers stay behind"
        );
    }
}
