//! The plugin that calls, and its host: the shipped `toru serve` with its default configuration.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult, ToruPlugin,
    async_trait, message::kv::MAX_BATCH,
};

use super::{KEYS, Operation, Sample, VALUE_BYTES};
use crate::{
    Outcome, load,
    system::{Host, System},
    workload::Workload,
};

/// Its id, which is its route, too.
const ID: &str = "kv-load";

/// What is asked of the plugin, as the query.
#[derive(Debug, Clone, Copy)]
struct Task {
    operation: Operation,
    callers: usize,
    seconds: u64,
}

/// What the plugin answers.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    calls: usize,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Starts a host with the plugin.
pub(super) fn start() -> Outcome<System> {
    let host = Host::empty_on_disk()?;
    let folder = host.plugins().join(ID);
    fs::create_dir(&folder)?;
    fs::write(
        folder.join("plugin.toml"),
        format!(
            "id = \"{ID}\"\nname = \"KV load\"\nversion = \"0.1.0\"\nroute = \"/{ID}\"\nprotocol = 2\n\
             exec = [\"./toru-bench\", \"server\", \"kv-plugin\"]\n"
        ),
    )?;
    fs::copy(std::env::current_exe()?, folder.join("toru-bench"))?;
    host.serve(ID)
}

/// Has the plugin call for so many seconds.
pub(super) fn load(toru: &System, operation: Operation, callers: usize, seconds: u32) -> Outcome<Sample> {
    let load = format!("/load?{}&{callers}&{seconds}", operation.name());
    let target = toru.target_at(&(toru.target.prefix.clone() + &load));
    let answer = load::probe(&target, &Workload::GET)?;
    let done: Done = serde_json::from_slice(&answer.body).map_err(|error| {
        format!("the plugin answers {}: {error}: {}", answer.status, String::from_utf8_lossy(&answer.body))
    })?;
    Ok(Sample { per_second: done.calls as f64 / done.seconds, p50_us: done.p50_us, p99_us: done.p99_us })
}

/// Is the plugin.
pub(crate) fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(toru_plugin_api::serve(KvLoad))?)
}

struct KvLoad;

#[async_trait]
impl ToruPlugin for KvLoad {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new(ID, "KV load", "0.1.0", "/kv-load").expect("these keep the rules")
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        let query = request.query().unwrap_or_default();
        let task = read_task(query)
            .ok_or_else(|| PluginError::BadRequest(format!("`{query}` is not OPERATION&CALLERS&SECONDS")))?;
        HttpResponse::json(&task.run(context).await?)
    }
}

fn read_task(query: &str) -> Option<Task> {
    let mut words = query.split('&');
    let word = words.next()?;
    let operation = Operation::ALL.into_iter().find(|operation| operation.name() == word)?;
    let mut number = || words.next()?.parse().ok();
    let (callers, seconds): (u64, u64) = (number()?, number()?);
    Some(Task { operation, callers: usize::try_from(callers).ok()?, seconds })
}

impl Task {
    async fn run(self, context: &PluginContext) -> PluginResult<Done> {
        for first in (0..KEYS).step_by(MAX_BATCH) {
            let keys = first..KEYS.min(first + MAX_BATCH);
            keys.fold(context.kv().batch(), |batch, n| batch.set(key(n), value(n, 0))).commit().await?;
        }
        let began = Instant::now();
        let callers: Vec<_> =
            (0..self.callers).map(|caller| tokio::spawn(self.call(context.clone(), caller, began))).collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await.map_err(PluginError::internal)??);
        }
        let seconds = began.elapsed().as_secs_f64();
        all.sort_unstable();
        let percentile =
            |part: usize| all.get(all.len() * part / 100).map_or(0.0, |nanos| f64::from(*nanos) / 1e3);
        Ok(Done { calls: all.len(), seconds, p50_us: percentile(50), p99_us: percentile(99) })
    }

    /// One caller: the nanoseconds that each of its calls took.
    async fn call(self, context: PluginContext, caller: usize, began: Instant) -> PluginResult<Vec<u32>> {
        let until = began + Duration::from_secs(self.seconds);
        let mut took = Vec::new();
        let mut random = caller as u64 + 1;
        let mut now = Instant::now();
        while now < until {
            // A linear congruential generator (Knuth, MMIX): any spread over the keys will do.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = key((random >> 33) as usize % KEYS);
            match self.operation {
                Operation::Set => context.kv().set(&key, value(caller, took.len() + 1)).await?,
                Operation::Get => {
                    let value = context.kv().get(&key).await?;
                    if value.is_none_or(|value| value.len() != VALUE_BYTES) {
                        return Err(PluginError::internal(format!(
                            "{key} does not hold {VALUE_BYTES} bytes"
                        )));
                    }
                }
            }
            let then = std::mem::replace(&mut now, Instant::now());
            took.push(u32::try_from((now - then).as_nanos()).unwrap_or(u32::MAX));
        }
        Ok(took)
    }
}

fn key(n: usize) -> String {
    format!("key:{n:012}")
}

/// A value that no other call has written.
fn value(caller: usize, n: usize) -> String {
    format!("{caller:08}{n:0width$}", width = VALUE_BYTES - 8)
}
