//! What a run is made of: the limits of both ends, the bodies, and what happens in which order.

use std::time::Duration;

use proptest::prelude::*;

use super::MAX_BODY;
use crate::{frame::Limits, proto::Side};

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) host: Limits,
    pub(super) plugin: Limits,
    pub(super) features: &'static [&'static str],
    pub(super) latency: Duration,
    pub(super) split: usize,
    /// The stream numbers begin so many streams before their end.
    pub(super) before_the_wrap: Option<u32>,
    pub(super) streams: Vec<StreamPlan>,
    pub(super) steps: Vec<Step>,
}

/// A stream to be opened, with the lengths of what its opener sends and of what comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamPlan {
    pub(super) kind: Kind,
    pub(super) up: usize,
    pub(super) down: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request of this side, and its answer.
    Request(Side),
    /// An upgrade that the host offers and the plugin takes.
    Tunnel {
        /// Closes the tunnel once it has sent all, and wants no more of what comes.
        hangs_up: Option<Side>,
        /// Reads nothing until it has sent all.
        writes_first: Option<Side>,
    },
}

impl Kind {
    pub(super) fn opener(self) -> Side {
        match self {
            Self::Request(by) => by,
            Self::Tunnel { .. } => Side::Host,
        }
    }

    pub(super) fn is_tunnel(self) -> bool {
        matches!(self, Self::Tunnel { .. })
    }

    pub(super) fn hangs_up(self, side: Side) -> bool {
        matches!(self, Self::Tunnel { hangs_up: Some(by), .. } if by == side)
    }

    pub(super) fn writes_first(self, side: Side) -> bool {
        matches!(self, Self::Tunnel { writes_first: Some(by), .. } if by == side)
    }
}

/// One thing that happens while the bodies are under way.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Open,
    Give { side: Side, stream: prop::sample::Index, size: usize },
    Read { side: Side, stream: prop::sample::Index },
    Transmit { side: Side, budget: usize },
    Arrive { side: Side, bytes: usize },
    NextBuffer { side: Side },
    Drive,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Host), Just(Side::Plugin)]
}

/// Small and large alike.
fn size(max: usize) -> impl Strategy<Value = usize> {
    prop_oneof![1..=16_usize, 1..=2_000_usize, 1..=max]
}

fn limits() -> impl Strategy<Value = Limits> {
    (size(300_000), 1..=8_u32, 1_024..=300_000_u32).prop_map(|(window, max_streams, max_data)| Limits {
        window: u32::try_from(window).unwrap(),
        max_streams,
        max_message: 65_536,
        max_data,
    })
}

fn stream() -> impl Strategy<Value = StreamPlan> {
    let length = || prop_oneof![Just(0), size(5_000), size(MAX_BODY)];
    let ends = (prop::option::of(side()), prop::option::of(side()));
    // Each end waits for the other, were it not for the credit of who has closed.
    let crossed = prop_oneof![Just((Side::Host, Side::Plugin)), Just((Side::Plugin, Side::Host))]
        .prop_map(|(hangs_up, writes_first)| (Some(hangs_up), Some(writes_first)));
    let tunnel = prop_oneof![ends, crossed]
        .prop_map(|(hangs_up, writes_first)| Kind::Tunnel { hangs_up, writes_first });
    let kind = prop_oneof![side().prop_map(Kind::Request), tunnel];
    (kind, length(), length()).prop_map(|(kind, up, down)| StreamPlan { kind, up, down })
}

fn step() -> impl Strategy<Value = Step> {
    let stream = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Open),
        6 => (side(), stream(), size(100_000)).prop_map(|(side, stream, size)| Step::Give { side, stream, size }),
        6 => (side(), stream()).prop_map(|(side, stream)| Step::Read { side, stream }),
        6 => (side(), size(100_000)).prop_map(|(side, budget)| Step::Transmit { side, budget }),
        6 => (side(), size(100_000)).prop_map(|(side, bytes)| Step::Arrive { side, bytes }),
        3 => side().prop_map(|side| Step::NextBuffer { side }),
        1 => Just(Step::Drive),
    ]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let features: [&[&str]; 2] = [&["http-out", "streams"], &["heads", "http-out", "streams"]];
    (
        (limits(), limits(), prop::sample::select(features.to_vec())),
        (0..2_000_u64).prop_map(Duration::from_micros),
        prop_oneof![size(64), Just(usize::MAX)],
        prop::option::of(0..4_u32),
        prop::collection::vec(stream(), 1..6),
        prop::collection::vec(step(), 0..120),
    )
        .prop_map(|((host, plugin, features), latency, split, before_the_wrap, streams, steps)| Plan {
            host,
            plugin,
            features,
            latency,
            split,
            before_the_wrap,
            streams,
            steps,
        })
}
