//! Load by our own client: uploads, and streams of events.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Connection, Sample, Target};
use crate::{
    Outcome,
    workload::{PACED, PACED_EVENTS, PACED_PAUSE, Workload},
};

/// Asks again and again until the time is up; each answer must be the first one's.
pub(super) fn run(target: &Target, workload: &Workload, connections: u32, time: Duration) -> Outcome<Sample> {
    let began = Instant::now();
    let taken = thread::scope(|scope| {
        let asking: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| ask_until(target, workload, began + time).map_err(|error| error.to_string()))
            })
            .collect();
        let joined =
            asking.into_iter().map(|asking| asking.join().expect("a client's thread does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    let elapsed = began.elapsed();
    let mut taken = taken.concat();
    taken.sort_unstable();
    Ok(Sample {
        requests: taken.len() as u64,
        per_second: taken.len() as f64 / elapsed.as_secs_f64(),
        p50: percentile(&taken, 50),
        p99: percentile(&taken, 99),
    })
}

/// What each request took.
fn ask_until(target: &Target, workload: &Workload, end: Instant) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(target)?;
    let mut taken = Vec::new();
    let mut first = None;
    // At least one, however long it takes.
    while taken.is_empty() || Instant::now() < end {
        let began = Instant::now();
        let answer = connection.ask(workload)?;
        taken.push(began.elapsed());
        if answer.status != 200 || *first.get_or_insert_with(|| answer.clone()) != answer {
            return Err(format!("an answer was {} with {} bytes", answer.status, answer.body.len()).into());
        }
    }
    Ok(taken)
}

/// The value that so many percent are at most; of a sorted list that is not empty.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// What became of events that a system sends one by one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paced {
    /// Those that arrived just before the next one, which was sent so much later.
    pub(crate) held_back: usize,
    pub(crate) per_second: f64,
    /// Between two arrivals.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Reads the events of [`PACED`].
pub(crate) fn paced(target: &Target) -> Outcome<Paced> {
    let mut arrivals = Vec::new();
    let status = Connection::open(target)?.ask_for_pieces(&PACED, |piece| {
        let now = Instant::now();
        // An event ends with an empty line; how a system cuts its pieces is its own affair.
        let ends = piece.windows(2).filter(|pair| pair == b"\n\n").count();
        arrivals.extend(std::iter::repeat_n(now, ends));
        Ok(())
    })?;
    if status != 200 || arrivals.len() != PACED_EVENTS {
        let arrived = arrivals.len();
        return Err(format!("{arrived} of {PACED_EVENTS} events came, with status {status}").into());
    }
    let mut gaps: Vec<Duration> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let all = arrivals[PACED_EVENTS - 1] - arrivals[0];
    Ok(Paced {
        held_back: gaps.partition_point(|gap| *gap < PACED_PAUSE / 4),
        per_second: gaps.len() as f64 / all.as_secs_f64(),
        p50: percentile(&gaps, 50),
        p99: percentile(&gaps, 99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
    }
}
