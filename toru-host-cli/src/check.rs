//! `toru check`

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tower_service::Service;

use toru_core::event::EventType;

use crate::{args::Check, build::Source, failure::Failure, signals::Signals, solo::Solo, speak::say};

/// One start and stop make fewer events.
const RECENT: usize = 100;
const SIGKILL: i64 = 9;

pub(crate) async fn run(args: Check) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    signals.unless(steps(args)).await
}

async fn steps(args: Check) -> Result<(), Failure> {
    let source = step("manifest", Source::read(&args.dir))?;
    let metadata = &source.metadata;
    passed("manifest", &format!("{} {}, route {}", metadata.id(), metadata.version(), metadata.route()));
    if source.has_build() {
        step("build", source.build().await)?;
        passed("build", "done");
    }
    if source.metadata.frontend().is_some() {
        passed("frontend", &step("frontend", source.frontend())?);
    }
    let solo = step("start", Solo::start(&source, args.start.timeout).await)?;
    let protocol = solo
        .status()
        .protocol
        .map_or_else(|| "an unknown version".into(), |version| format!("version {version}"));
    passed("start", &format!("ready, speaks {protocol} of the protocol"));
    let asked = ask(&solo, &source).await;
    let stopped = stop(&solo).await;
    passed("GET /", &step("GET /", asked)?.to_string());
    passed("stop", &step("stop", stopped)?);
    Ok(())
}

/// Stops the plugin: how it ended. To be killed is not well: its last writes may be lost.
async fn stop(solo: &Solo) -> Result<String, Failure> {
    solo.supervisor().shutdown().await;
    let events = solo.supervisor().events(&solo.status().id, RECENT).await.map_err(Failure::new)?;
    let stopped = events.iter().find(|stored| stored.event.event_type == EventType::Stopped);
    let details = stopped.map(|stored| &stored.event.details);
    match details.and_then(|details| details.iter().next()) {
        Some((how, number)) if how == "signal" && *number == SIGKILL => {
            Err(Failure::new("it ended neither when asked nor by SIGTERM, and was killed"))
        }
        Some((how, number)) => Ok(format!("it has ended, {} {number}", how.replace('_', " "))),
        None => Ok("it has ended".into()),
    }
}

/// `GET /` of the plugin, body and all.
async fn ask(solo: &Solo, source: &Source) -> Result<StatusCode, Failure> {
    let request = Request::get(format!("{}/", source.metadata.route()))
        .header(header::HOST, HeaderValue::from_static("localhost"))
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| Failure::new(format!("the route makes no path: {error}")))?;
    let Ok(response) = solo.supervisor().service().call(request).await;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| Failure::new(format!("the answer was cut: {error}")))?;
    }
    if status.is_server_error() {
        return Err(Failure::new(format!(
            "the answer is {status}, and a plugin that is well answers below 500"
        )));
    }
    Ok(status)
}

fn passed(step: &str, detail: &str) {
    say(format_args!("✓ {step}: {detail}"));
}

/// Names the step that failed. The exit code is 1 whatever the build's was: `check` says well or not well.
fn step<T>(name: &str, done: Result<T, Failure>) -> Result<T, Failure> {
    done.map_err(|failure| Failure::new(format!("✗ {name}: {}", failure.message())))
}
