//! What a hundred plugins cost while nobody uses them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    LIST, MANY, beside, pause,
    scene::{host_with, id},
    shown,
};
use crate::{
    Outcome, load,
    options::Common,
    report::{Report, Row, head, line},
    system::System,
};

/// How long all plugins may take until they run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the requests beside them.
const CONNECTIONS: u32 = 64;
/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(50);
/// From their start until nothing of it is left: tokio ends a thread for blocking work when it has had none for 10 s.
const SETTLE: Duration = Duration::from_secs(12);

pub(super) fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    // Two ping intervals, so that whatever goes with a ping is seen.
    let watched = Duration::from_secs(if options.quick { 2 } else { 20 });
    let few = serve(1)?;
    let many = serve(1 + MANY)?;
    pause(if options.quick { LOOK } else { SETTLE });
    let (few_before, many_before) = (Idle::of(&few)?, Idle::of(&many)?);
    pause(watched);
    let (few_after, many_after) = (Idle::of(&few)?, Idle::of(&many)?);
    let per_plugin = |few: u64, many: u64| (many as f64 - few as f64) / MANY as f64;
    let seconds = watched.as_secs_f64();
    let memory = per_plugin(few_after.rss_kib, many_after.rss_kib);
    let (few_wakes, many_wakes) =
        (few_after.host.since(&few_before.host), many_after.host.since(&many_before.host));
    let wakes = per_plugin(few_wakes.counted, many_wakes.counted) / seconds;
    let plugin_wakes = many_after.plugins.since(&many_before.plugins);
    let ended = few_wakes.ended + many_wakes.ended + plugin_wakes.ended;
    let plugin_wakes = plugin_wakes.counted as f64 / (1 + MANY) as f64 / seconds;
    println!("### {MANY} idle plugins in `toru serve`, watched for {seconds} s\n");
    println!(
        "{}",
        head([
            "each costs the host KiB",
            "host wake-ups /s each",
            "plugin wake-ups /s each",
            "threads that ended, and are not counted"
        ])
    );
    println!(
        "{}\n",
        line([
            shown(Some(memory), 1),
            shown(Some(wakes), 3),
            shown(Some(plugin_wakes), 3),
            ended.to_string()
        ])
    );
    report.add(
        Row::new("idle-100", None, "toru serve")
            .with("host_rss_kib_per_plugin", memory)
            .with("host_wakes_per_second_per_plugin", wakes)
            .with("plugin_wakes_per_second", plugin_wakes)
            .with("threads_ended", ended),
    );
    let named = format!("{MANY} idle plugins");
    beside::run([&few, &many], &named, "idle-100-request", CONNECTIONS, options, report)
}

/// The shipped host with so many plugins, which all run; the first of them is asked.
fn serve(plugins: usize) -> Outcome<System> {
    let system = host_with(plugins)?.serve(&id(0))?;
    let target = system.target_at("");
    let began = Instant::now();
    loop {
        let answer = load::probe(&target, &LIST)?;
        let answered: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let entries = answered.as_array().ok_or("the host does not answer a list")?;
        let running = entries.iter().filter(|plugin| plugin["state"] == "running").count();
        if running == plugins {
            return Ok(system);
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("only {running} of {plugins} plugins run after {PATIENCE:?}").into());
        }
        pause(LOOK);
    }
}

/// What a host and its plugins have used.
struct Idle {
    /// Of the host.
    rss_kib: u64,
    host: Wakes,
    plugins: Wakes,
}

impl Idle {
    fn of(system: &System) -> Outcome<Self> {
        let (host, plugins) = system.front_and_back();
        let rss_kib = field(&format!("/proc/{}/status", host[0]), "VmRSS:")?;
        Ok(Self { rss_kib, host: Wakes::of(&host)?, plugins: Wakes::of(&plugins)? })
    }
}

/// How often each thread has gone to sleep, and so was woken: its voluntary context switches (proc(5), `status`).
struct Wakes(BTreeMap<PathBuf, u64>);

/// What became of them in a while.
struct Woken {
    counted: u64,
    /// Threads that have ended: their counts are lost.
    ended: usize,
}

impl Wakes {
    fn of(processes: &[u32]) -> Outcome<Self> {
        let mut wakes = BTreeMap::new();
        for process in processes {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                let thread = thread?.path();
                // A thread that ends just now has ended.
                if let Ok(count) =
                    field(&thread.join("status").display().to_string(), "voluntary_ctxt_switches:")
                {
                    wakes.insert(thread, count);
                }
            }
        }
        Ok(Self(wakes))
    }

    fn since(&self, before: &Self) -> Woken {
        // A count that fell is that of a new thread with an old number.
        let woken = |(thread, now): (&PathBuf, &u64)| {
            before.0.get(thread).and_then(|before| now.checked_sub(*before)).unwrap_or(*now)
        };
        Woken {
            counted: self.0.iter().map(woken).sum(),
            ended: before.0.keys().filter(|thread| !self.0.contains_key(*thread)).count(),
        }
    }
}

fn field(path: &str, name: &str) -> Outcome<u64> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path} has no {name}").into())
}
