//! The immutable snapshot of routes: written by the supervisor, read by `http`, knows neither.
//!
//! [`Routes`] maps a path to the [`Endpoint`] of a plugin; an endpoint knows whether the plugin can be
//! reached, through which links, and holds the queue of the requests that wait for it.

mod endpoint;
mod room;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

pub(crate) use endpoint::{Availability, Endpoint, EndpointSettings, ReadyLinks, Refusal};
pub(crate) use room::NoRoom;

/// The table of all routes. Reading takes no lock; writing replaces it whole.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    table: ArcSwap<Table>,
}

#[derive(Debug, Clone, Default)]
struct Table {
    /// By route, without a trailing `/`: the route `/` is the empty text.
    by_route: HashMap<Arc<str>, Arc<Endpoint>>,
    /// The most segments that any route has: no longer prefix of a path can match.
    deepest: usize,
}

/// A route that is held already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteTaken {
    /// By whom.
    pub(crate) by: Arc<str>,
}

impl Routes {
    /// Adds an endpoint (or replaces one of the same id).
    ///
    /// # Errors
    /// Another id holds an equal route.
    pub(crate) fn insert(&self, endpoint: Arc<Endpoint>) -> Result<(), RouteTaken> {
        let mut taken = None;
        self.table.rcu(|current| {
            taken = match current.by_route.get(route_key(&endpoint)) {
                Some(holder) if holder.id() != endpoint.id() => Some(RouteTaken { by: holder.id().clone() }),
                _ => None,
            };
            let mut table = Table::clone(current);
            if taken.is_none() {
                table.by_route.retain(|_, held| held.id() != endpoint.id());
                table.by_route.insert(route_key(&endpoint).into(), endpoint.clone());
                table.measure();
            }
            table
        });
        taken.map_or(Ok(()), Err)
    }

    /// Removes a plugin's endpoint.
    pub(crate) fn remove(&self, id: &str) {
        self.table.rcu(|current| {
            let mut table = Table::clone(current);
            table.by_route.retain(|_, held| &**held.id() != id);
            table.measure();
            table
        });
    }

    /// Whether a plugin of this id has a route.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.table.load().by_route.values().any(|endpoint| &**endpoint.id() == id)
    }

    /// The endpoint whose route is the longest whole-segment prefix of `path`, and the rest of the path (always beginning with `/`).
    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<(Arc<Endpoint>, &'p str)> {
        let table = self.table.load();
        let (endpoint, rest) = table.find(path)?;
        Some((endpoint.clone(), rest))
    }
}

/// The route as the table's key: the route `/` is a prefix of everything, as the empty text is.
fn route_key(endpoint: &Endpoint) -> &str {
    endpoint.route().trim_end_matches('/')
}

impl Table {
    fn measure(&mut self) {
        self.deepest = self.by_route.keys().map(|route| segments(route)).max().unwrap_or(0);
    }

    fn find<'p>(&self, path: &'p str) -> Option<(&Arc<Endpoint>, &'p str)> {
        let mut end = prefix_end(path, self.deepest)?;
        loop {
            if let Some(endpoint) = self.by_route.get(&path[..end]) {
                let rest = &path[end..];
                return Some((endpoint, if rest.is_empty() { "/" } else { rest }));
            }
            end = path[..end].rfind('/')?;
        }
    }
}

fn segments(route: &str) -> usize {
    route.bytes().filter(|byte| *byte == b'/').count()
}

/// Where the first `segments` segments of `path` end, or the path itself; none for a path that is not in origin form.
fn prefix_end(path: &str, segments: usize) -> Option<usize> {
    if !path.starts_with('/') {
        return None;
    }
    let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    Some(slashes.map(|(at, _)| at).nth(segments).unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn endpoint(id: &str, route: &str) -> Arc<Endpoint> {
        Endpoint::new(EndpointSettings {
            id: id.into(),
            route: route.into(),
            raw_paths: false,
            is_timed: true,
            max_in_flight: 1,
            queue_len: 1,
            queue_wait: Duration::from_secs(1),
        })
    }

    fn routes(all: &[(&str, &str)]) -> Routes {
        let routes = Routes::default();
        for (id, route) in all {
            routes.insert(endpoint(id, route)).unwrap();
        }
        routes
    }

    fn found(routes: &Routes, path: &str) -> Option<(String, String)> {
        routes.find(path).map(|(endpoint, rest)| (endpoint.id().to_string(), rest.to_owned()))
    }

    fn hit(id: &str, rest: &str) -> Option<(String, String)> {
        Some((id.to_owned(), rest.to_owned()))
    }

    #[test]
    fn routes_match_by_whole_segments() {
        let routes = routes(&[("a", "/a")]);
        assert_eq!(found(&routes, "/a"), hit("a", "/"));
        assert_eq!(found(&routes, "/a/"), hit("a", "/"));
        assert_eq!(found(&routes, "/a/x"), hit("a", "/x"));
        assert_eq!(found(&routes, "/a/x/y/z/"), hit("a", "/x/y/z/"));
        assert_eq!(found(&routes, "/ab"), None);
        assert_eq!(found(&routes, "/A"), None);
        assert_eq!(found(&routes, "/"), None);
        assert_eq!(found(&routes, ""), None);
        assert_eq!(found(&routes, "a"), None);
        assert_eq!(found(&routes, "*"), None);
    }

    #[test]
    fn the_longest_route_wins() {
        let routes = routes(&[("short", "/a"), ("long", "/a/b"), ("other", "/c/d/e")]);
        assert_eq!(found(&routes, "/a/b"), hit("long", "/"));
        assert_eq!(found(&routes, "/a/b/c"), hit("long", "/c"));
        assert_eq!(found(&routes, "/a/bc"), hit("short", "/bc"));
        assert_eq!(found(&routes, "/a/c/d/e"), hit("short", "/c/d/e"));
        assert_eq!(found(&routes, "/c/d"), None);
    }

    #[test]
    fn the_root_route_takes_what_no_other_takes() {
        let routes = routes(&[("root", "/"), ("a", "/a")]);
        assert_eq!(found(&routes, "/"), hit("root", "/"));
        assert_eq!(found(&routes, "/b/c"), hit("root", "/b/c"));
        assert_eq!(found(&routes, "/a/c"), hit("a", "/c"));
    }

    #[test]
    fn empty_segments_stay_in_the_rest() {
        let routes = routes(&[("a", "/a")]);
        assert_eq!(found(&routes, "/a//x"), hit("a", "//x"));
        assert_eq!(found(&routes, "//a"), None);
    }

    #[test]
    fn an_equal_route_of_another_id_is_taken() {
        let routes = routes(&[("a", "/r")]);
        assert_eq!(routes.insert(endpoint("b", "/r")), Err(RouteTaken { by: "a".into() }));
        assert_eq!(found(&routes, "/r"), hit("a", "/"));
        routes.remove("a");
        assert_eq!(found(&routes, "/r"), None);
        routes.insert(endpoint("b", "/r")).unwrap();
        assert_eq!(found(&routes, "/r"), hit("b", "/"));
    }

    #[test]
    fn an_id_has_one_route() {
        let routes = routes(&[("a", "/old")]);
        routes.insert(endpoint("a", "/new")).unwrap();
        assert_eq!(found(&routes, "/old"), None);
        assert_eq!(found(&routes, "/new"), hit("a", "/"));
    }
}
