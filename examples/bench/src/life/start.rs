//! From the wish to a plugin that is ready, beside the program's own start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use toru_core::supervisor::StateName;

use super::{Times, bare, ratio, scene::Scene, shown};
use crate::{
    Outcome,
    options::Common,
    report::{Report, Row, head, line},
    system::{Heads, Host, Plugin, require_python},
    tool::{self, NotStarted},
};

pub(super) async fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    let rounds = if options.quick { 3 } else { 50 };
    println!("### From a start to ready: {rounds} starts each, in turn\n");
    println!("{}", head(["what", "p50 us", "p99 us", "over its own start, us", "ratio"]));
    rust(rounds, report).await?;
    python(rounds, options, report).await?;
    println!();
    Ok(())
}

async fn rust(rounds: u32, report: &mut Report) -> Outcome<()> {
    let host = Host::with(Plugin::Rust, Heads::AsShipped)?;
    let folder = host.plugins().join(Plugin::Rust.id());
    let scene = Scene::new(host)?;
    let program = folder.join("hello-plugin-rust");
    let (mut own, mut supervised) = (Times::default(), Times::default());
    begin(&scene, Plugin::Rust).await?;
    for _ in 0..rounds {
        own.push(bare::start(Command::new(&program).current_dir(&folder), Plugin::Rust.id())?.time);
        supervised.push(enable(&scene, Plugin::Rust).await?);
    }
    scene.supervisor.shutdown().await;
    tell(report, "hello-plugin-rust, bare", &own, None);
    tell(report, "hello-plugin-rust", &supervised, Some(&own));
    Ok(())
}

async fn python(rounds: u32, options: &Common, report: &mut Report) -> Outcome<()> {
    let what = "hello-plugin-python";
    let interpreter = match tool::or_skipped(what, interpreter(), options.require)? {
        Ok(interpreter) => interpreter,
        Err(why) => {
            println!("{}", line([what, "SKIPPED", "", "", "null"]));
            report.add(Row::new("spawn-to-ready", None, what).skipped(&why));
            return Ok(());
        }
    };
    for (flags, own_name, name) in [
        (&[][..], "python3 -c pass", "hello-plugin-python"),
        (&["-S", "-E"], "python3 -S -E -c pass", "hello-plugin-python with -S -E"),
    ] {
        let scene = Scene::from_source(Host::empty()?, |folder| {
            Plugin::Python.install(folder, Plugin::Python.id(), Heads::AsShipped)?;
            run_by(&folder.join("plugin.toml"), &interpreter, flags)
        })?;
        let (mut own, mut supervised) = (Times::default(), Times::default());
        begin(&scene, Plugin::Python).await?;
        for _ in 0..rounds {
            own.push(bare::run(&interpreter, &[flags, &["-c", "pass"]].concat())?);
            supervised.push(enable(&scene, Plugin::Python).await?);
        }
        scene.supervisor.shutdown().await;
        tell(report, own_name, &own, None);
        tell(report, name, &supervised, Some(&own));
    }
    Ok(())
}

/// Names the interpreter itself in a manifest: `python3` may be a script that looks for it, and slower than all that is measured.
fn run_by(manifest: &Path, interpreter: &Path, flags: &[&str]) -> Outcome<()> {
    let mut words = vec![interpreter.to_str().ok_or("the interpreter's path is not UTF-8")?];
    words.extend(flags);
    words.push("main.py");
    let exec = serde_json::to_string(&words)?;
    let text = fs::read_to_string(manifest)?;
    Ok(fs::write(manifest, format!("{text}\n[dev]\nexec = {exec}\n"))?)
}

/// Discovers the plugin, and waits for its first start: after it, all files are in memory.
async fn begin(scene: &Scene, plugin: Plugin) -> Outcome<()> {
    scene.supervisor.initialize().await?;
    scene.until(plugin.id(), StateName::Running).await?;
    Ok(())
}

/// One start of a plugin that runs: it is stopped before.
async fn enable(scene: &Scene, plugin: Plugin) -> Outcome<Duration> {
    scene.supervisor.disable(plugin.id()).await?;
    scene.until(plugin.id(), StateName::Stopped).await?;
    let began = Instant::now();
    scene.supervisor.enable(plugin.id()).await?;
    scene.until(plugin.id(), StateName::Running).await?;
    Ok(began.elapsed())
}

/// The path of the interpreter itself.
fn interpreter() -> Result<PathBuf, NotStarted> {
    require_python()?;
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    if !output.status.success() {
        return Err(format!("python3 ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

fn tell(report: &mut Report, what: &'static str, times: &Times, own: Option<&Times>) {
    let (p50, p99) = (times.percentile_us(50), times.percentile_us(99));
    let own = own.and_then(|own| own.percentile_us(50));
    let over = own.and_then(|own| Some(p50? - own));
    println!(
        "{}",
        line([what.to_owned(), shown(p50, 0), shown(p99, 0), shown(over, 0), shown(ratio(p50, own), 2)])
    );
    let row = Row { p50_us: p50, p99_us: p99, ..Row::new("spawn-to-ready", None, what) };
    report.add(row.with("over_own_us", over).with("ratio_to_own", ratio(p50, own)));
}
