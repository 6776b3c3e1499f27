//! HTTP through the host into a plugin: small requests.

use crate::{
    Outcome, compare,
    options::Options,
    report::Report,
    system::{self, Entrant},
    workload::{HOP, Workload},
};

/// Few, many, and more than a plugin is given at once.
const CONNECTIONS: [u32; 3] = [1, 64, 256];

pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    println!("## The hop\n");
    let entrants = system::start(&options.systems(), options.require)?;
    run_all(&HOP, &CONNECTIONS, &entrants, options, report)?;
    println!("nginx's configuration:\n\n```nginx\n{}```\n", system::nginx_configuration());
    Ok(())
}

/// All workloads, one after the other.
pub(crate) fn run_all(
    workloads: &[Workload],
    connections: &[u32],
    entrants: &[Entrant],
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    for workload in workloads {
        compare::refuse_unlike_answers(entrants, workload)?;
        for connections in options.connections(connections) {
            compare::run(entrants, workload, connections, options, report);
        }
    }
    Ok(())
}
