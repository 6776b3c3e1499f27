//! HTTP through the host into a plugin: small requests.

use crate::{
    Outcome, aims, compare,
    options::Options,
    report::{Report, Row},
    system::{self, BASE, Entrant},
    tool,
    workload::{HOP, Workload},
};

/// Few, many, and more than a plugin is given at once.
const CONNECTIONS: [u32; 3] = [1, 64, 256];

pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    println!("## The hop\n\n{}\n", about_rounds(options));
    let entrants = system::start(&options.systems(), options.common.require)?;
    run_all(&HOP, &CONNECTIONS, &entrants, options, report)?;
    aims::tell(aims::HOP, report);
    println!(
        "nginx's configuration (as root with `user root;` before it):\n\n```nginx\n{}```\n",
        system::nginx_configuration()
    );
    Ok(())
}

/// What the tables of systems under load are.
pub(crate) fn about_rounds(options: &Options) -> String {
    format!("{}; ratios to `{}`.", options.common.describe_rounds(" after a warm-up"), BASE.as_str())
}

/// All workloads that wrk asks for, one after the other.
pub(crate) fn run_all(
    workloads: &[Workload],
    connections: &[u32],
    entrants: &[Entrant],
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    if let Err(why) =
        tool::or_skipped("every row of wrk", tool::require("wrk", "wrk"), options.common.require)?
    {
        println!("SKIPPED: {why}\n");
        skip(workloads, connections, options, report, &why);
        return Ok(());
    }
    for workload in workloads {
        compare::refuse_unlike_answers(entrants, workload)?;
        for connections in options.connections(connections) {
            compare::run(entrants, workload, connections, &options.common, report);
        }
    }
    Ok(())
}

fn skip(workloads: &[Workload], connections: &[u32], options: &Options, report: &mut Report, why: &str) {
    for workload in workloads {
        for connections in options.connections(connections) {
            for name in options.systems() {
                report.add(Row::new(workload.name, Some(connections), name.as_str()).skipped(why));
            }
        }
    }
}
