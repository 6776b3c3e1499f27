//! All that must be known before a plugin is spawned: its definition, its version of the protocol, its route, its settings.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};
use toru_plugin_api::PluginMetadata;

use super::{claims::Lease, folders, host::Host, state::Failure};
use crate::{
    discovery::{self, Definition, Found, Problem},
    routes::{Endpoint, EndpointSettings},
};

/// The versions of the protocol that this host speaks.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 1..=2;

/// Plugins whose files are looked at at once. A thread for each of a hundred that start together would cost more than it wins.
pub(super) const PREPARED_AT_ONCE: usize = 8;

/// The id that the API uses itself: `/api/plugins/route/…`.
const RESERVED_ID: &str = "route";

/// Where a plugin is found again.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The plugins folder.
    Folder,
    /// A source folder of its own (`toru dev`).
    Source(PathBuf),
}

/// A plugin that may be spawned.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) definition: Arc<Definition>,
    /// The version in force.
    pub(super) protocol: u32,
    /// The settings in force.
    pub(super) config: Map<String, Value>,
    pub(super) data_dir: PathBuf,
    /// The plugin's lease on its route, where the one it has does not fit.
    pub(super) lease: Option<Lease>,
}

/// A plugin that may not be spawned as it is.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) why: Failure,
    /// What is known of it all the same.
    pub(super) definition: Option<Arc<Definition>>,
    /// The route that it got all the same: requests on it are told that the plugin has failed.
    pub(super) lease: Option<Lease>,
}

/// Prepares a plugin. `known` is what a scan has found of it lately, `held` the endpoint that it holds already. Dropping
/// the future ends a probe that it runs.
pub(super) async fn prepare(
    host: Arc<Host>,
    id: Arc<str>,
    origin: Origin,
    known: Option<Found>,
    held: Option<Arc<Endpoint>>,
) -> Result<Box<Prepared>, Unfit> {
    let definition = match define(&host, &id, origin, known).await {
        Ok(definition) => definition,
        Err(why) => return Err(Unfit { why, definition: None, lease: None }),
    };
    let unfit = |why, lease| Unfit { why, definition: Some(definition.clone()), lease };
    let protocol = common_version(&definition.metadata).map_err(|why| unfit(why, None))?;
    if protocol == 1 && host.attached.contains_key(&*id) {
        let what = "it speaks version 1 of the protocol, and only a plugin of version 2 can be attached";
        return Err(unfit(Failure::new("attach_unsupported", what), None));
    }
    let lease = match held {
        Some(endpoint) if fits(&endpoint, &definition.metadata) => None,
        _ => Some(claim(&host, &definition.metadata).await.map_err(|why| unfit(why, None))?),
    };
    match equip(&host, &id, definition.metadata.clone()).await {
        Ok((config, data_dir)) => Ok(Box::new(Prepared { definition, protocol, config, data_dir, lease })),
        Err(why) => Err(unfit(why, lease)),
    }
}

/// What the plugin is.
async fn define(
    host: &Host,
    id: &Arc<str>,
    origin: Origin,
    known: Option<Found>,
) -> Result<Arc<Definition>, Failure> {
    if **id == *RESERVED_ID {
        return Err(Failure::new(
            "id_reserved",
            format!("the id {RESERVED_ID:?} is part of the API's paths: rename the plugin"),
        ));
    }
    let found = match known {
        Some(found) => found,
        None => find_again(host, id, origin).await?,
    };
    match found {
        Found::Plugin(definition) => Ok(definition),
        Found::Binary(path) => {
            host.prober.probe(&host.spawner, &host.config, id, &path).await.map_err(failure)
        }
        Found::Problem(problem) => Err(failure(problem)),
    }
}

/// What the plugin gets of this host: its settings in force, and its data folder.
async fn equip(
    host: &Host,
    id: &str,
    metadata: PluginMetadata,
) -> Result<(Map<String, Value>, PathBuf), Failure> {
    let (own_dir, host_dir) = (host.plugin_data_dir(id), host.config.data_dir.clone());
    blocking(host, move || {
        folders::make_private(&own_dir).map_err(|error| {
            let path = own_dir.display();
            Failure::new("data_dir", format!("{path}: the plugin's data folder cannot be made: {error}"))
        })?;
        let config = discovery::config_for(&host_dir, metadata.id(), metadata.config()).map_err(failure)?;
        Ok((config, own_dir))
    })
    .await
}

/// Claims the route of a plugin.
pub(super) async fn claim(host: &Host, metadata: &PluginMetadata) -> Result<Lease, Failure> {
    let endpoint = Endpoint::new(EndpointSettings {
        id: metadata.id().into(),
        route: metadata.route().into(),
        raw_paths: metadata.raw_paths(),
        is_timed: !host.attached.contains_key(metadata.id()),
        max_in_flight: host.config.max_in_flight,
        queue_len: host.config.queue_len,
        queue_wait: host.config.queue_wait,
    });
    host.registrar.claim(endpoint).await.map_err(|by| route_taken(metadata.route(), &by))
}

pub(super) fn route_taken(route: &str, by: &str) -> Failure {
    Failure::new(
        "route_taken",
        format!(
            "the route {route:?} is held by the plugin {by:?}: change one of the two routes, then enable this one"
        ),
    )
}

pub(super) fn failure(problem: Problem) -> Failure {
    Failure { code: problem.code.to_owned(), message: problem.message, stderr_tail: problem.stderr_tail }
}

fn fits(endpoint: &Endpoint, metadata: &PluginMetadata) -> bool {
    endpoint.route() == metadata.route() && endpoint.raw_paths() == metadata.raw_paths()
}

/// How an operator is told of a range of versions.
fn versions(lowest: u32, highest: u32) -> String {
    if lowest == highest { format!("version {lowest}") } else { format!("versions {lowest} to {highest}") }
}

/// The highest version that both sides speak.
fn common_version(metadata: &PluginMetadata) -> Result<u32, Failure> {
    let protocol = metadata.protocol().min(*PROTOCOLS.end());
    if protocol < metadata.protocol_min() || !PROTOCOLS.contains(&protocol) {
        return Err(Failure::new(
            "incompatible",
            format!(
                "it speaks {} of the protocol, this host {}: update the older one",
                versions(metadata.protocol_min(), metadata.protocol()),
                versions(*PROTOCOLS.start(), *PROTOCOLS.end())
            ),
        ));
    }
    Ok(protocol)
}

async fn find_again(host: &Host, id: &Arc<str>, origin: Origin) -> Result<Found, Failure> {
    let plugins_dir = host.config.plugins_dir.clone();
    let id = id.clone();
    blocking(host, move || match origin {
        Origin::Source(dir) => {
            let (definition, _) = discovery::read_source_dir(&dir).map_err(failure)?;
            Ok(Found::Plugin(Arc::new(definition)))
        }
        Origin::Folder => {
            let candidates = discovery::scan(&plugins_dir).map_err(|error| {
                Failure::new("plugins_unreadable", format!("{}: {error}", plugins_dir.display()))
            })?;
            candidates
                .into_iter()
                .find(|candidate| *candidate.id == *id)
                .map(|candidate| candidate.found)
                .ok_or_else(|| {
                    let dir = plugins_dir.display();
                    Failure::new("missing", format!("{dir} holds no plugin {id:?} any more: put it back"))
                })
        }
    })
    .await
}

/// Runs file operations where they delay no other task, for so many plugins at once.
async fn blocking<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let _place = host.preparing.acquire().await.expect("it is never closed");
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // Only a runtime that ends cancels it.
        Err(error) => Err(Failure::new("internal", format!("the preparation was ended: {error}"))),
    }
}
