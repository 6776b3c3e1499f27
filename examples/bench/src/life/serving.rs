//! From the start of the shipped host to its first answer.

use std::time::{Duration, Instant};

use super::{LIST, MANY, Times, scene::host_with, shown};
use crate::{
    Outcome, load,
    options::Common,
    report::{Report, Row, head, line},
};

pub(super) fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    let rounds = if options.quick { 1 } else { 10 };
    println!("### From the start of `toru serve` to its first answer: {rounds} times\n");
    println!("{}", head(["plugins installed", "p50 ms", "most ms"]));
    for (plugins, system) in [(0, "toru serve"), (MANY, "toru serve with 100 plugins")] {
        let mut times = Times::default();
        for _ in 0..rounds {
            times.push(first_answer(plugins)?);
        }
        let (p50, most) = (times.percentile_us(50), times.percentile_us(100));
        let ms = |time: Option<f64>| shown(time.map(|us| us / 1e3), 1);
        println!("{}", line([plugins.to_string(), ms(p50), ms(most)]));
        report.add(Row { p50_us: p50, p99_us: most, ..Row::new("host-serving", None, system) });
    }
    println!();
    Ok(())
}

fn first_answer(plugins: usize) -> Outcome<Duration> {
    let host = host_with(plugins)?;
    let began = Instant::now();
    let system = host.serve("")?;
    let answer = load::probe(&system.target_at(""), &LIST)?;
    let time = began.elapsed();
    if answer.status == 200 { Ok(time) } else { Err(format!("the host answers {}", answer.status).into()) }
}
