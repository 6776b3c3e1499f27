//! Who holds a route. Of two plugins with equal routes the running one keeps it, else the one with the lower id.
//!
//! One task owns the claims and is the only writer of the table of routes; the plugins' tasks hold leases.

use std::{collections::BTreeMap, future::pending, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::routes::{Endpoint, Routes};

/// Requests that wait for the registrar. It answers without waiting for anybody, so a few are enough.
const QUEUE: usize = 64;

/// The right to a route.
#[derive(Debug)]
pub(super) struct Lease {
    endpoint: Arc<Endpoint>,
    evicted: Option<oneshot::Receiver<Arc<str>>>,
}

impl Lease {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Resolves, with the id of the new holder, when the lease is lost. Cancel safe.
    pub(super) async fn evicted(&mut self) -> Arc<str> {
        if let Some(evicted) = &mut self.evicted {
            let by = evicted.await;
            self.evicted = None;
            if let Ok(by) = by {
                return by;
            }
        }
        // The registrar is gone, or the holder has claimed another route: nobody takes this one any more.
        pending().await
    }
}

enum Request {
    Claim { endpoint: Arc<Endpoint>, reply: oneshot::Sender<Result<Lease, Arc<str>>> },
    Running { id: Arc<str> },
    Release { id: Arc<str> },
}

/// Talks to the task that owns the claims.
#[derive(Debug, Clone)]
pub(super) struct Registrar {
    requests: mpsc::Sender<Request>,
}

impl Registrar {
    /// Starts the task on the current runtime; it ends with the last clone.
    pub(super) fn start(routes: Arc<Routes>) -> Self {
        let (requests, mut inbox) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut claims = Claims::default();
            while let Some(request) = inbox.recv().await {
                match request {
                    Request::Claim { endpoint, reply } => {
                        let answer = grant(&mut claims, &routes, endpoint);
                        let _ = reply.send(answer);
                    }
                    Request::Running { id } => claims.running(&id),
                    Request::Release { id } => {
                        claims.release(&id);
                        routes.remove(&id);
                    }
                }
            }
        });
        Self { requests }
    }

    /// Claims the endpoint's route for its plugin, giving up any other that it holds.
    ///
    /// # Errors
    /// The id of the plugin that keeps the route.
    pub(super) async fn claim(&self, endpoint: Arc<Endpoint>) -> Result<Lease, Arc<str>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Claim { endpoint, reply }).await;
        match answer.await {
            Ok(outcome) => outcome,
            Err(_) => pending().await,
        }
    }

    /// Whether the runtime that it was started on has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    /// Its plugin is ready: nobody takes its route from now on.
    pub(super) async fn running(&self, id: &Arc<str>) {
        self.send(Request::Running { id: id.clone() }).await;
    }

    pub(super) async fn release(&self, id: &Arc<str>) {
        self.send(Request::Release { id: id.clone() }).await;
    }

    async fn send(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            // Only a runtime that ends drops the registrar, and it drops the task that asks too.
            pending().await
        }
    }
}

fn grant(claims: &mut Claims, routes: &Routes, endpoint: Arc<Endpoint>) -> Result<Lease, Arc<str>> {
    let (evict, evicted) = oneshot::channel();
    if let Some(loser) = claims.claim(endpoint.id(), endpoint.route(), evict)? {
        routes.remove(&loser.id);
        let _ = loser.evict.send(endpoint.id().clone());
    }
    if let Err(taken) = routes.insert(endpoint.clone()) {
        claims.release(endpoint.id());
        return Err(taken.by);
    }
    Ok(Lease { endpoint, evicted: Some(evicted) })
}

#[derive(Debug)]
struct Holder {
    id: Arc<str>,
    running: bool,
    evict: oneshot::Sender<Arc<str>>,
}

#[derive(Debug, Default)]
struct Claims {
    by_route: BTreeMap<String, Holder>,
}

impl Claims {
    /// Claims a route: who has lost it, if somebody has; or, as the error, who keeps it.
    fn claim(
        &mut self,
        id: &Arc<str>,
        route: &str,
        evict: oneshot::Sender<Arc<str>>,
    ) -> Result<Option<Holder>, Arc<str>> {
        if let Some(holder) = self.by_route.get(route) {
            if holder.id != *id && (holder.running || holder.id < *id) {
                return Err(holder.id.clone());
            }
        }
        self.release(id);
        Ok(self.by_route.insert(route.to_owned(), Holder { id: id.clone(), running: false, evict }))
    }

    fn running(&mut self, id: &str) {
        for holder in self.by_route.values_mut().filter(|holder| *holder.id == *id) {
            holder.running = true;
        }
    }

    fn release(&mut self, id: &str) {
        self.by_route.retain(|_, holder| *holder.id != *id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(claims: &mut Claims, id: &str, route: &str) -> Result<Option<String>, String> {
        let (evict, _evicted) = oneshot::channel();
        let outcome = claims.claim(&id.into(), route, evict);
        outcome.map(|loser| loser.map(|loser| loser.id.to_string())).map_err(|by| by.to_string())
    }

    #[test]
    fn the_lower_id_takes_the_route_while_nobody_runs() {
        let mut claims = Claims::default();
        assert_eq!(claim(&mut claims, "b", "/x"), Ok(None));
        assert_eq!(claim(&mut claims, "c", "/x"), Err("b".to_owned()));
        assert_eq!(claim(&mut claims, "a", "/x"), Ok(Some("b".to_owned())));
        assert_eq!(claim(&mut claims, "b", "/x"), Err("a".to_owned()));
    }

    #[test]
    fn the_running_one_keeps_its_route_until_it_releases_it() {
        let mut claims = Claims::default();
        assert_eq!(claim(&mut claims, "b", "/x"), Ok(None));
        claims.running("b");
        assert_eq!(claim(&mut claims, "a", "/x"), Err("b".to_owned()));
        claims.release("b");
        assert_eq!(claim(&mut claims, "a", "/x"), Ok(None));
    }

    #[test]
    fn a_claim_of_another_route_gives_the_first_one_up() {
        let mut claims = Claims::default();
        assert_eq!(claim(&mut claims, "a", "/x"), Ok(None));
        assert_eq!(claim(&mut claims, "a", "/y"), Ok(None));
        assert_eq!(claim(&mut claims, "b", "/x"), Ok(None));
        assert_eq!(claim(&mut claims, "b", "/y"), Err("a".to_owned()));
        assert_eq!(claim(&mut claims, "b", "/x"), Ok(None), "who was refused keeps what it had");
    }
}
