//! HTTP through the host into a plugin: bodies, and what they cost in memory.

use crate::{
    Outcome, aims, compare,
    hop::{about_rounds, run_all},
    load::{self, Paced},
    options::Options,
    report::{Report, Row, head, line},
    system::{self, Entrant},
    workload::{BODIES, Client, PACED},
};

/// Of the workloads that wrk asks for.
const CONNECTIONS: [u32; 2] = [1, 64];

pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    println!("## Bodies\n\n{}\n", about_rounds(options));
    let entrants = system::start(&options.systems(), options.common.require)?;
    let (small, large): (Vec<_>, Vec<_>) =
        BODIES.into_iter().partition(|workload| workload.client == Client::Wrk);
    run_all(&small, &CONNECTIONS, &entrants, options, report)?;
    for workload in &large {
        compare::refuse_unlike_answers(&entrants, workload)?;
        // One is enough to fill the way; more would only share it.
        compare::run(&entrants, workload, 1, &options.common, report);
    }
    run_paced(&entrants, report);
    aims::tell(aims::BODIES, report);
    Ok(())
}

/// Events that are sent one by one must arrive one by one.
fn run_paced(entrants: &[Entrant], report: &mut Report) {
    println!("### `{}`: {}\n", PACED.name, PACED.about);
    println!("{}", head(["system", "events/s", "between two: p50 us", "p99 us", "held back"]));
    for (name, system) in entrants {
        let row = Row::new(PACED.name, Some(1), name.as_str());
        let skipped = system.as_ref().err().map(String::as_str).or(name.cannot_carry(&PACED));
        match (skipped, system) {
            (None, Ok(system)) => match load::paced(&system.target) {
                Ok(paced) => {
                    println!("{}", paced_line(name.as_str(), &paced));
                    report.add(paced_row(row, &paced));
                }
                Err(error) => {
                    println!("{}", line([name.as_str(), "FAILED", "", "", ""]));
                    report.add_failed(row, &error.to_string());
                }
            },
            (why, _) => {
                println!("{}", line([name.as_str(), "SKIPPED", "", "", ""]));
                report.add(row.skipped(why.unwrap_or_default()));
            }
        }
    }
    println!();
}

fn paced_line(name: &str, paced: &Paced) -> String {
    line([
        name.to_owned(),
        format!("{:.1}", paced.per_second),
        paced.p50.as_micros().to_string(),
        paced.p99.as_micros().to_string(),
        paced.held_back.to_string(),
    ])
}

fn paced_row(row: Row, paced: &Paced) -> Row {
    let row = Row {
        rps: Some(paced.per_second),
        p50_us: Some(paced.p50.as_secs_f64() * 1e6),
        p99_us: Some(paced.p99.as_secs_f64() * 1e6),
        ..row
    };
    row.with("held_back", paced.held_back)
}
