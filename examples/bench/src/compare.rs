//! Systems against each other: the same load for each, in turn, round after round.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    Outcome, cpu,
    figures::{Figures, Measured, Ratios},
    load::{self, Answer},
    memory::Peak,
    options::Common,
    report::{Report, Row, head, line},
    system::{BASE, Entrant, System},
    workload::{Client, Workload},
};

/// Systems that do not answer the same are not compared.
pub(crate) fn refuse_unlike_answers(entrants: &[Entrant], workload: &Workload) -> Outcome<()> {
    let mut first: Option<(&str, Answer)> = None;
    for (name, system) in asked(entrants, workload) {
        let answer = load::probe(&system.target, workload)
            .map_err(|error| format!("{name} does not answer {}: {error}", workload.name))?;
        if answer.status != 200 || answer.body.is_empty() {
            let (status, length) = (answer.status, answer.body.len());
            return Err(format!("{name} answers {} with {status} and {length} bytes", workload.name).into());
        }
        let Some((other, expected)) = &first else {
            first = Some((name, answer));
            continue;
        };
        let alike = answer.body.len() == expected.body.len()
            && (workload.names_itself || answer.body == expected.body);
        if !alike {
            return Err(format!(
                "{name} answers {} with {} bytes, {other} with {} that are not the same: these cannot be compared",
                workload.name,
                answer.body.len(),
                expected.body.len()
            )
            .into());
        }
    }
    Ok(())
}

/// Those that run and can be asked for this.
fn asked<'a>(
    entrants: &'a [Entrant],
    workload: &Workload,
) -> impl Iterator<Item = (&'static str, &'a System)> {
    entrants
        .iter()
        .filter(|(name, _)| name.cannot_carry(workload).is_none())
        .filter_map(|(name, system)| Some((name.as_str(), system.as_ref().ok()?)))
}

/// Measures all systems, prints their table, and adds their rows.
pub(crate) fn run(
    entrants: &[Entrant],
    workload: &Workload,
    connections: u32,
    options: &Common,
    report: &mut Report,
) {
    let systems: Vec<_> = entrants
        .iter()
        .map(|(name, system)| system.as_ref().ok().filter(|_| name.cannot_carry(workload).is_none()))
        .collect();
    let measured = in_turn(&systems, workload, connections, options);
    tell(entrants, workload, connections, &measured, report);
}

/// What was measured of each system, or why it failed. A round asks each once; one that is not there has no measurement.
pub(crate) fn in_turn(
    systems: &[Option<&System>],
    workload: &Workload,
    connections: u32,
    options: &Common,
) -> Vec<Result<Vec<Measured>, String>> {
    let mut measured: Vec<_> = systems.iter().map(|_| Ok(Vec::new())).collect();
    // The first round warms caches, connections and allocators up, and is thrown away.
    let rounds = if options.quick { 1..=options.rounds() } else { 0..=options.rounds() };
    for round in rounds {
        for (system, measured) in systems.iter().zip(&mut measured) {
            let (Some(system), Ok(all)) = (system, &mut *measured) else { continue };
            // Over one connection the median is all that is wanted.
            let short = round == 0 || (connections == 1 && workload.client == Client::Wrk);
            let seconds = if short { 1 } else { options.seconds() };
            match measure(system, workload, connections, seconds) {
                Ok(_) if round == 0 => {}
                Ok(one) => all.push(one),
                Err(error) => *measured = Err(error.to_string()),
            }
        }
    }
    measured
}

fn measure(system: &System, workload: &Workload, connections: u32, seconds: u32) -> Outcome<Measured> {
    let cpu_of = |system: &System| system.roots().map(cpu::of_tree).sum::<Outcome<Duration>>();
    let (front, back) = system.front_and_back();
    let (front, back) = (Peak::from_now(front)?, Peak::from_now(back)?);
    let before = cpu_of(system)?;
    let load = load::run(&system.target, workload, connections, seconds)?;
    let used = cpu_of(system)?.checked_sub(before).ok_or("a process of the system has ended")?;
    Ok(Measured {
        load,
        cpu_per_request: used / u32::try_from(load.requests)?,
        front_growth: front.growth()?,
        back_growth: back.growth()?,
    })
}

/// The table of one load.
fn tell(
    entrants: &[Entrant],
    workload: &Workload,
    connections: u32,
    measured: &[Result<Vec<Measured>, String>],
    report: &mut Report,
) {
    println!("### `{}`, {connections} connections: {}\n", workload.name, workload.about);
    println!(
        "{}",
        head([
            "system",
            "req/s",
            "spread",
            "ratio",
            "p50 us",
            "ratio p50",
            "p99 us",
            "ratio p99",
            "CPU us/req",
            "ratio CPU",
            "front +MiB",
            "back +MiB",
        ])
    );
    let base = entrants.iter().position(|(name, _)| *name == BASE);
    let base = base.and_then(|base| measured[base].as_ref().ok());
    for ((name, system), own) in entrants.iter().zip(measured) {
        let row = Row::new(workload.name, Some(connections), name.as_str());
        let skipped = system.as_ref().err().map(String::as_str).or(name.cannot_carry(workload));
        match (skipped, own) {
            (Some(why), _) => {
                println!("{}", line([name.as_str(), "SKIPPED", "", "null"]) + &" |".repeat(8));
                report.add(row.skipped(why));
            }
            (None, Err(why)) => {
                println!("{}", line([name.as_str(), "FAILED", "", "null"]) + &" |".repeat(8));
                report.add_failed(row, why);
            }
            (None, Ok(all)) => {
                let figures = Figures::of(all).expect("every system is measured in every round");
                let ratios = base.and_then(|base| Ratios::of(all, base));
                println!("{}", figures.line(name.as_str(), ratios.as_ref()));
                report.add(
                    figures.row(row, ratios.as_ref()).with("ratio_to", by_system(all, entrants, measured)),
                );
            }
        }
    }
    println!();
}

/// The requests per second of one system by those of each.
fn by_system(
    all: &[Measured],
    entrants: &[Entrant],
    measured: &[Result<Vec<Measured>, String>],
) -> Map<String, Value> {
    let each = entrants.iter().zip(measured);
    each.filter_map(|((name, _), other)| {
        let ratios = Ratios::of(all, other.as_ref().ok()?)?;
        Some((name.as_str().to_owned(), ratios.rps.into()))
    })
    .collect()
}
