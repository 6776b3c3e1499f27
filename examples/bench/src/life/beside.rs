//! What something else that a host holds costs a plain request.

use super::shown;
use crate::{
    Outcome, compare,
    figures::{Figures, Ratios},
    options::Common,
    report::{Report, Row, head, line},
    system::System,
    workload::HOP,
};

/// Measures one host by itself and one with what is named, in turn.
pub(super) fn run(
    [alone, beside]: [&System; 2],
    named: &str,
    workload_name: &'static str,
    connections: u32,
    options: &Common,
    report: &mut Report,
) -> Outcome<()> {
    let workload = &HOP[1];
    let measured = compare::in_turn(&[Some(alone), Some(beside)], workload, connections, options);
    let measured = measured.into_iter().collect::<Result<Vec<_>, String>>()?;
    let ratios = Ratios::of(&measured[1], &measured[0]).ok_or("nothing was measured")?;
    let figures = |all| Figures::of(all).ok_or("nothing was measured");
    let (alone, beside) = (figures(&measured[0])?, figures(&measured[1])?);
    println!("### A request beside {named}: `{}` with {connections} connections\n", workload.name);
    println!("{}", head(["figure", "alone", "beside them", "ratio"]));
    for (name, of, ratio) in [
        ("req/s", (|f| f.rps) as fn(&Figures) -> f64, ratios.rps),
        ("p99 us", |f| f.p99_us, ratios.p99),
        ("CPU us/req", |f| f.cpu_us, ratios.cpu),
    ] {
        let figure = |figures| {
            let value = of(figures);
            shown(Some(value), if value < 100.0 { 2 } else { 0 })
        };
        println!("{}", line([name, &figure(&alone), &figure(&beside), &shown(Some(ratio), 2)]));
    }
    println!();
    report.add(
        Row {
            rps: Some(beside.rps),
            p50_us: Some(beside.p50_us),
            p99_us: Some(beside.p99_us),
            cpu_us: Some(beside.cpu_us),
            ..Row::new(workload_name, Some(connections), "toru serve")
        }
        .with("ratio_to_alone", ratios.rps)
        .with("p99_ratio_to_alone", ratios.p99)
        .with("cpu_ratio_to_alone", ratios.cpu),
    );
    Ok(())
}
