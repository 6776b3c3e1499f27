//! From kill -9 to the supervisor's knowing it.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use toru_core::supervisor::StateName;

use super::{Times, scene::Scene, shown};
use crate::{
    Outcome,
    options::Common,
    report::{Report, Row, head, line},
    system::{Heads, Host, Plugin},
};

pub(super) async fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    let crashes = if options.quick { 5 } else { 200 };
    let id = Plugin::Rust.id();
    let scene = Scene::new(Host::with(Plugin::Rust, Heads::AsShipped)?)?;
    scene.supervisor.initialize().await?;
    let (mut known, mut back) = (Times::default(), Times::default());
    for _ in 0..crashes {
        let status = scene.until(id, StateName::Running).await?;
        let pid = status.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or("a plugin that runs has no process")?;
        let began = Instant::now();
        kill_process(pid, Signal::KILL)?;
        scene.until_status(id, |now| now.pid != status.pid || now.state != StateName::Running).await?;
        known.push(began.elapsed());
        scene.until_status(id, |now| now.state == StateName::Running && now.pid != status.pid).await?;
        back.push(began.elapsed());
    }
    scene.supervisor.shutdown().await;
    println!("### From kill -9 to known: {crashes} crashes\n");
    println!("{}", head(["what", "p50 us", "p99 us"]));
    tell(report, "crash-to-known", "known", &known);
    tell(report, "crash-to-ready", "ready again (1 ms of it the restart's delay)", &back);
    println!();
    Ok(())
}

fn tell(report: &mut Report, workload: &'static str, about: &str, times: &Times) {
    let (p50_us, p99_us) = (times.percentile_us(50), times.percentile_us(99));
    println!("{}", line([about, &shown(p50_us, 0), &shown(p99_us, 0)]));
    report.add(Row { p50_us, p99_us, ..Row::new(workload, None, "hello-plugin-rust") });
}
