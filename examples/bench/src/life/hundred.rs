//! A hundred plugins started at once, beside the work that their own starts are.

use std::{
    process::{self, Command},
    time::{Duration, Instant},
};

use toru_core::supervisor::StateName;

use super::{
    MANY, bare,
    scene::{Scene, host_with, id},
    shown,
};
use crate::{
    Outcome, cpu,
    options::Common,
    report::{Report, Row, head, line, median},
};

/// What the start of all plugins cost.
struct Started {
    time: Duration,
    /// The CPU of this process and of all plugins.
    cpu: Duration,
    /// The CPU that the starts need by themselves, one by one and with no supervisor.
    own: Duration,
}

pub(super) async fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    let rounds = if options.quick { 1 } else { 5 };
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(start().await?);
    }
    let middle = |of: fn(&Started) -> f64| median(all.iter().map(of));
    let time = middle(|started| started.time.as_secs_f64() * 1e3);
    let cpu = middle(|started| started.cpu.as_secs_f64() * 1e3);
    let own = middle(|started| started.own.as_secs_f64() * 1e3);
    let to_own = middle(|started| started.time.as_secs_f64() / started.own.as_secs_f64());
    let cpu_to_own = middle(|started| started.cpu.as_secs_f64() / started.own.as_secs_f64());
    println!("### {MANY} plugins started at once: {rounds} times\n");
    println!(
        "{}",
        head([
            "time ms",
            "CPU of host and plugins ms",
            "their own CPU ms",
            "time / own CPU",
            "CPU / own CPU"
        ])
    );
    println!(
        "{}\n",
        line([shown(time, 0), shown(cpu, 0), shown(own, 0), shown(to_own, 2), shown(cpu_to_own, 2)])
    );
    report.add(
        Row::new("start-100", None, "hello-plugin-rust")
            .with("time_ms", time)
            .with("cpu_ms", cpu)
            .with("own_cpu_ms", own)
            .with("ratio_to_own", to_own)
            .with("cpu_ratio_to_own", cpu_to_own),
    );
    Ok(())
}

async fn start() -> Outcome<Started> {
    let host = host_with(MANY)?;
    let plugins = host.plugins();
    // As many starts as there will be, so that what differs is the supervisor.
    let mut own = Duration::ZERO;
    for copy in 0..MANY {
        let folder = plugins.join(id(copy));
        let mut command = Command::new(folder.join("hello-plugin-rust"));
        own += bare::start(command.current_dir(&folder), &id(copy))?.cpu;
    }
    let scene = Scene::new(host)?;
    let before = cpu::of_tree(process::id())?;
    let began = Instant::now();
    scene.supervisor.initialize().await?;
    for copy in 0..MANY {
        scene.until(&id(copy), StateName::Running).await?;
    }
    let time = began.elapsed();
    let cpu = cpu::of_tree(process::id())?.checked_sub(before).ok_or("a plugin has ended")?;
    scene.supervisor.shutdown().await;
    Ok(Started { time, cpu, own })
}
