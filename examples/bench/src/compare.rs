//! Systems against each other: the same load for each, in turn, round after round.

use std::time::Duration;

use crate::{
    Outcome, cpu,
    load::{self, Answer, Sample},
    memory::Peak,
    options::Options,
    report::{Report, Row, head, line, median},
    system::{BASE, Entrant, System},
    workload::Workload,
};

/// One measurement of one system.
#[derive(Debug, Clone, Copy)]
struct Measured {
    load: Sample,
    cpu_per_request: Duration,
    /// How far the peak of memory rose, in bytes: of the processes that clients connect to, and of those behind them.
    front_growth: u64,
    back_growth: u64,
}

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
    options: &Options,
    report: &mut Report,
) {
    let mut measured: Vec<_> = entrants.iter().map(|_| Ok(Vec::new())).collect();
    // The first round warms caches, connections and allocators up, and is thrown away.
    let rounds = if options.quick { 1..=options.rounds() } else { 0..=options.rounds() };
    for round in rounds {
        for ((name, system), measured) in entrants.iter().zip(&mut measured) {
            let (Ok(system), None) = (system, name.cannot_carry(workload)) else { continue };
            let Ok(all) = measured else { continue };
            let seconds = if round == 0 { 1 } else { options.seconds() };
            match measure(system, workload, connections, seconds) {
                Ok(_) if round == 0 => {}
                Ok(one) => all.push(one),
                Err(error) => *measured = Err(error.to_string()),
            }
        }
    }
    tell(entrants, workload, connections, &measured, report);
}

fn measure(system: &System, workload: &Workload, connections: u32, seconds: u32) -> Outcome<Measured> {
    let cpu_of = |system: &System| system.roots().map(cpu::of_tree).sum::<Duration>();
    let (front, back) = system.front_and_back();
    let (front, back) = (Peak::from_now(front)?, Peak::from_now(back)?);
    let before = cpu_of(system);
    let load = load::run(&system.target, workload, connections, seconds)?;
    let used = cpu_of(system).saturating_sub(before);
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
            "p99 us",
            "ratio p99",
            "CPU us/req",
            "ratio CPU",
            "front +MiB",
            "back +MiB",
        ])
    );
    let base = entrants.iter().position(|(name, _)| *name == BASE);
    let base = base.and_then(|base| measured[base].as_ref().ok()).and_then(|all| Figures::of(all));
    for ((name, system), measured) in entrants.iter().zip(measured) {
        let row = Row::new(workload.name, Some(connections), name.as_str());
        let skipped = system.as_ref().err().map(String::as_str).or(name.cannot_carry(workload));
        match (skipped, measured) {
            (Some(why), _) => {
                println!("{}", line([name.as_str(), "SKIPPED", "", "null"]) + &" |".repeat(7));
                report.add(row.skipped(why));
            }
            (None, Err(why)) => {
                println!("{}", line([name.as_str(), "FAILED", "", "null"]) + &" |".repeat(7));
                report.add_failed(row, why);
            }
            (None, Ok(all)) => {
                let figures = Figures::of(all).expect("every system is measured in every round");
                println!("{}", figures.line(name.as_str(), base.as_ref()));
                report.add(figures.row(row, base.as_ref()));
            }
        }
    }
    println!();
}

/// The medians of all rounds.
struct Figures {
    rps: f64,
    /// From the slowest to the fastest round, as a part of the median.
    spread: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    /// The most of all rounds, in MiB.
    front_growth: f64,
    back_growth: f64,
}

impl Figures {
    fn of(all: &[Measured]) -> Option<Self> {
        let of = |value: fn(&Measured) -> f64| median(all.iter().map(value));
        let most = |value: fn(&Measured) -> u64| all.iter().map(value).max();
        let rps = of(|m| m.load.per_second)?;
        let all_rps = all.iter().map(|m| m.load.per_second);
        let (slowest, fastest) = (all_rps.clone().fold(rps, f64::min), all_rps.fold(rps, f64::max));
        Some(Self {
            rps,
            spread: (fastest - slowest) / rps,
            p50_us: of(|m| micros(m.load.p50))?,
            p99_us: of(|m| micros(m.load.p99))?,
            cpu_us: of(|m| micros(m.cpu_per_request))?,
            front_growth: mebibytes(most(|m| m.front_growth)?),
            back_growth: mebibytes(most(|m| m.back_growth)?),
        })
    }

    fn line(&self, system: &str, base: Option<&Self>) -> String {
        let ratio = |of: fn(&Self) -> f64| match base {
            Some(base) => format!("{:.2}", of(self) / of(base)),
            None => "null".to_owned(),
        };
        line([
            system.to_owned(),
            short(self.rps),
            format!("{:.0} %", self.spread * 100.0),
            ratio(|f| f.rps),
            format!("{:.0}", self.p50_us),
            format!("{:.0}", self.p99_us),
            ratio(|f| f.p99_us),
            short(self.cpu_us),
            ratio(|f| f.cpu_us),
            format!("{:.1}", self.front_growth),
            format!("{:.1}", self.back_growth),
        ])
    }

    fn row(&self, row: Row, base: Option<&Self>) -> Row {
        let row = Row {
            rps: Some(self.rps),
            p50_us: Some(self.p50_us),
            p99_us: Some(self.p99_us),
            cpu_us: Some(self.cpu_us),
            ratio_to_nginx: base.map(|base| self.rps / base.rps),
            ..row
        };
        row.with("spread", self.spread)
            .with("front_growth_mib", self.front_growth)
            .with("back_growth_mib", self.back_growth)
    }
}

/// Three digits, as far as a figure is worth.
fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn mebibytes(bytes: u64) -> f64 {
    crate::size::mebibytes(bytes)
}
