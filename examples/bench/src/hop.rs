//! HTTP through the host into a plugin.

use std::{fmt::Write as _, process::Command, time::Duration};

use clap::Args;

use crate::{
    Outcome, cpu,
    load::{self, Sample, WORKLOADS, Workload},
    system::{self, System},
};

/// All ratios are to this one.
const BASE: &str = "nginx-unix";

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures every system once, in turn. The median is shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load per measurement.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    connections: Vec<u32>,
    /// A missing tool is an error, not a row SKIPPED.
    #[arg(long)]
    require: bool,
}

/// One measurement of one system.
#[derive(Clone, Copy)]
struct Measured {
    load: Sample,
    cpu_per_request: Duration,
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    if !is_installed("wrk", "-v") {
        if options.require {
            return Err("wrk is not installed (Debian's package wrk)".into());
        }
        println!("SKIPPED: every row, for wrk is not installed (Debian's package wrk)");
        return Ok(());
    }
    system::build()?;
    let mut systems = vec![system::axum_direct()?];
    let mut skipped = Vec::new();
    if is_installed("nginx", "-v") {
        systems.push(system::nginx_unix()?);
    } else if options.require {
        return Err("nginx is not installed (Debian's package nginx-light)".into());
    } else {
        skipped.push("nginx-unix");
    }
    systems.push(system::toru_json()?);

    println!("## The hop\n");
    println!(
        "{} rounds of {} s each, in turn; median; ratios to `{BASE}`.\n",
        options.rounds, options.seconds
    );
    for workload in &WORKLOADS {
        refuse_unlike_answers(&systems, workload)?;
        for &connections in &options.connections {
            let measured = measure(&systems, workload, connections, options)?;
            print!("{}", table(workload, connections, &systems, &measured, &skipped));
        }
    }
    println!("nginx's configuration:\n\n```nginx\n{}```", system::nginx_configuration());
    Ok(())
}

fn is_installed(program: &str, harmless: &str) -> bool {
    Command::new(program).arg(harmless).output().is_ok()
}

/// Systems that do not answer the same are not compared.
fn refuse_unlike_answers(systems: &[System], workload: &Workload) -> Outcome<()> {
    let mut first = None;
    for system in systems {
        let answer = load::probe(&system.target, workload)?;
        let (name, expected) = *first.get_or_insert((system.name, answer));
        if answer != expected {
            return Err(format!(
                "{} answers {} with {} bytes, {name} answers {} with {} bytes: these cannot be compared",
                system.name, answer.0, answer.1, expected.0, expected.1
            )
            .into());
        }
    }
    match first {
        Some((_, (200, 100))) => Ok(()),
        Some((name, (status, length))) => Err(format!("{name} answers {status} with {length} bytes").into()),
        None => Err("there is nothing to measure".into()),
    }
}

/// The measurements of each system, all rounds.
fn measure(
    systems: &[System],
    workload: &Workload,
    connections: u32,
    options: &Options,
) -> Outcome<Vec<Vec<Measured>>> {
    let mut measured = vec![Vec::new(); systems.len()];
    for _ in 0..options.rounds {
        for (system, measured) in systems.iter().zip(&mut measured) {
            let cpu_of = |system: &System| system.pids().map(cpu::of_tree).sum::<Duration>();
            let before = cpu_of(system);
            let load = load::wrk(&system.target, workload, connections, options.seconds)?;
            let requests = u32::try_from(load.requests.max(1))?;
            measured.push(Measured { load, cpu_per_request: (cpu_of(system) - before) / requests });
        }
    }
    Ok(measured)
}

fn median<T: Copy + PartialOrd>(all: &[Measured], of: impl Fn(&Measured) -> T) -> T {
    let mut values: Vec<T> = all.iter().map(of).collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("measured numbers can be compared"));
    values[values.len() / 2]
}

fn table(
    workload: &Workload,
    connections: u32,
    systems: &[System],
    measured: &[Vec<Measured>],
    skipped: &[&str],
) -> String {
    let base = systems.iter().position(|system| system.name == BASE).map(|base| &measured[base]);
    let mut text = format!("### `{}`, {connections} connections: {}\n\n", workload.name, workload.about);
    text.push_str("| system | req/s | ratio | p50 us | p99 us | ratio p99 | CPU us/req | ratio CPU |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (system, all) in systems.iter().zip(measured) {
        let of_base = |value: &dyn Fn(&Measured) -> f64| match base {
            Some(base) => format!("{:.2}", median(all, value) / median(base, value)),
            None => "null".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {} | {} | {:.1} | {} |",
            system.name,
            median(all, |m| m.load.per_second),
            of_base(&|m| m.load.per_second),
            median(all, |m| m.load.p50).as_micros(),
            median(all, |m| m.load.p99).as_micros(),
            of_base(&|m| m.load.p99.as_secs_f64()),
            median(all, |m| m.cpu_per_request).as_secs_f64() * 1e6,
            of_base(&|m| m.cpu_per_request.as_secs_f64()),
        );
    }
    for name in skipped {
        let _ = writeln!(text, "| {name} | SKIPPED | null | | | | | |");
    }
    text.push('\n');
    text
}
