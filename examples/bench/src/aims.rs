//! What is to be reached: each aim beside what a run has reached.

use serde_json::Value;

use crate::report::{Report, head, line};

/// One aim: where its figure stands among the rows, and what it should be.
pub(crate) struct Aim {
    workload: &'static str,
    connections: Option<u32>,
    system: &'static str,
    /// A JSON pointer (RFC 6901) into the row.
    figure: &'static str,
    about: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

const RPS: &str = "/ratio_to_nginx";
const P50: &str = "/p50_ratio_to_nginx";
const P99: &str = "/p99_ratio_to_nginx";
const CPU: &str = "/cpu_ratio_to_nginx";

/// A row of `hop` or `bodies`.
const fn http(
    workload: &'static str,
    connections: u32,
    system: &'static str,
    figure: &'static str,
    about: &'static str,
    bound: Bound,
) -> Aim {
    Aim { workload, connections: Some(connections), system, figure, about, bound }
}

/// Differences below this are noise on a machine that is shared.
const NOISE: f64 = 0.08;

pub(crate) const HOP: &[Aim] = &[
    http("h", 64, "toru-heads", RPS, "req/s of nginx", AtLeast(1.5)),
    http("h", 256, "toru-heads", RPS, "req/s of nginx", AtLeast(1.5)),
    http("h", 64, "toru-json", RPS, "req/s of nginx", AtLeast(1.3)),
    http("h", 256, "toru-json", RPS, "req/s of nginx", AtLeast(1.3)),
    http("g", 64, "toru-heads", RPS, "req/s of nginx", AtLeast(1.8)),
    http("g", 256, "toru-heads", RPS, "req/s of nginx", AtLeast(1.8)),
    http("g", 64, "toru-json", RPS, "req/s of nginx", AtLeast(1.6)),
    http("g", 256, "toru-json", RPS, "req/s of nginx", AtLeast(1.6)),
    http("h", 64, "toru-embedded", RPS, "req/s of nginx", AtLeast(1.0)),
    http("h", 64, "toru-heads", CPU, "CPU per request of nginx", AtMost(0.55)),
    http("h", 64, "toru-heads", P99, "p99 of nginx", AtMost(0.5)),
    http("h", 256, "toru-heads", P99, "p99 of nginx", AtMost(0.5)),
    http("g", 1, "toru-heads", P50, "p50 of nginx", AtMost(0.7)),
    http("h", 1, "toru-heads", P50, "p50 of nginx", AtMost(0.7)),
    http("h", 64, "toru-heads", "/ratio_to/axum-direct", "req/s of the application itself", AtLeast(0.85)),
    http("h", 64, "toru-heads", "/ratio_to/tonic-unix", "req/s of tonic", AtLeast(4.0)),
    http("h", 64, "toru-heads", "/ratio_to/go-plugin", "req/s of go-plugin", AtLeast(5.0)),
    http("h", 64, "toru-python", "/ratio_to/nginx-uvicorn", "req/s of nginx before uvicorn", AtLeast(1.6)),
];

pub(crate) const BODIES: &[Aim] = &[
    http("p", 64, "toru-heads", RPS, "req/s of nginx", AtLeast(1.4)),
    http("d", 64, "toru-heads", RPS, "req/s of nginx", AtLeast(1.5)),
    http("d", 64, "toru-heads", "/ratio_to/hyper-unix", "req/s of the hyper proxy", AtLeast(1.1)),
    http("u", 1, "toru-heads", RPS, "req/s of nginx", AtLeast(1.2)),
    http("u", 1, "toru-heads", "/front_growth_mib", "MiB that the host grows by", AtMost(8.0)),
    http("e-paced", 1, "toru-heads", "/held_back", "events held back", AtMost(0.0)),
];

/// A row of `kv`.
const fn kv(
    workload: &'static str,
    callers: u32,
    figure: &'static str,
    about: &'static str,
    least: f64,
) -> Aim {
    http(workload, callers, "toru", figure, about, AtLeast(least))
}

pub(crate) const KV: &[Aim] = &[
    kv("set", 64, "/ratio_to_redis", "sets of Redis", 1.0),
    kv("get", 64, "/ratio_to_redis", "gets of Redis", 1.3),
    kv("set", 1, "/ratio_to_disk", "syncs of the disk", 0.75),
    kv("get", 1, "/ratio_to_redis", "gets of Redis", 1.0),
];

/// A row of `life`.
const fn life(
    workload: &'static str,
    system: &'static str,
    figure: &'static str,
    about: &'static str,
    most: f64,
) -> Aim {
    Aim { workload, connections: None, system, figure, about, bound: AtMost(most) }
}

/// A row of requests beside something else.
const fn beside(
    workload: &'static str,
    connections: u32,
    figure: &'static str,
    about: &'static str,
    bound: Bound,
) -> Aim {
    http(workload, connections, "toru serve", figure, about, bound)
}

const START: &str = "spawn-to-ready";

pub(crate) const LIFE: &[Aim] = &[
    life(START, "hello-plugin-rust", "/over_own_us", "us over its own start", 1_000.0),
    life(START, "hello-plugin-python with -S -E", "/p50_us", "us to ready", 12_000.0),
    life(START, "hello-plugin-python", "/ratio_to_own", "of the interpreter's start", 1.2),
    life("crash-to-known", "hello-plugin-rust", "/p50_us", "us until it is known", 1_000.0),
    life("start-100", "hello-plugin-rust", "/ratio_to_own", "of their own CPU work", 1.5),
    life("host-serving", "toru serve with 100 plugins", "/p50_us", "us to the first answer", 50_000.0),
    life("idle-100", "toru serve", "/host_rss_kib_per_plugin", "KiB of the host for each plugin", 100.0),
    // A ping every 10 s wakes the host to send it, and to read its answer.
    life("idle-100", "toru serve", "/host_wakes_per_second_per_plugin", "wake-ups /s for each plugin", 0.2),
    beside("idle-100-request", 64, "/ratio_to_alone", "req/s of the host without them", AtLeast(1.0 - NOISE)),
    beside(
        "websockets-1000-request",
        8,
        "/ratio_to_alone",
        "req/s of the host without them",
        AtLeast(1.0 - NOISE),
    ),
    beside(
        "websockets-1000-request",
        8,
        "/p99_ratio_to_alone",
        "p99 of the host without them",
        AtMost(1.0 + NOISE),
    ),
];

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            AtLeast(least) => figure >= least,
            AtMost(most) => figure <= most,
        }
    }
}

/// The table of aims against what this run has reached; an aim whose row was not measured says so.
pub(crate) fn tell(aims: &[Aim], report: &Report) {
    println!("### What was to be reached\n");
    println!("{}", head(["load", "system", "figure", "aim", "reached", ""]));
    for aim in aims {
        let reached = report
            .row(aim.workload, aim.connections, aim.system)
            .and_then(|row| row.pointer(aim.figure).and_then(Value::as_f64));
        let load = aim.connections.map_or(aim.workload.to_owned(), |n| format!("{}, {n}", aim.workload));
        let bound = match aim.bound {
            AtLeast(least) => format!("at least {least}"),
            AtMost(most) => format!("at most {most}"),
        };
        let verdict = reached.map_or("not measured", |r| if aim.bound.holds(r) { "yes" } else { "no" });
        let reached = reached.map_or("-".to_owned(), |r| format!("{r:.*}", if r < 100.0 { 2 } else { 0 }));
        let cells = [load.as_str(), aim.system, aim.about, &bound, &reached, verdict];
        println!("{}", line(cells));
    }
    println!();
}
