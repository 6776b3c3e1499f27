//! The task that owns one plugin: it tells the machine what happened, does what the machine answers, and publishes the
//! status. Nobody else touches the plugin's process; a task that is dropped kills it.

use std::{future::pending, sync::Arc, time::Instant};

use serde_json::Map;
use tokio::sync::{mpsc, oneshot, watch};
use toru_plugin_api::message::log::Level;

use super::{
    CommandError, attach,
    claims::Lease,
    host::Host,
    launch::{self, Live, LiveNews},
    links::LinksNews,
    prepare::{self, Origin, Prepared, Unfit, route_taken},
    state::{Action, Failure, Generation, Input, Machine, Occurrence, Reachable, Wish},
    status::{Health, PluginStatus, Reason, StateName},
    work::{Work, WorkNews},
};
use crate::{
    discovery::{Definition, Found, FrontendFiles},
    event::EventType,
    link::Link,
    process::Exit,
    routes::Availability,
};

/// Commands that wait for a plugin's task; whoever sends one more waits.
const MAILBOX: usize = 64;

/// What the facade asks of a plugin's task.
#[derive(Debug)]
pub(super) enum Command {
    Want(Wish, oneshot::Sender<Result<(), CommandError>>),
    Shutdown,
}

/// What a plugin's task publishes.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) status: PluginStatus,
    /// While it runs.
    pub(super) link: Option<Link>,
    pub(super) frontend: FrontendFiles,
}

/// The facade's ends of a plugin's task.
#[derive(Debug)]
pub(super) struct TaskHandle {
    pub(super) mailbox: mpsc::Sender<Command>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) abort: tokio::task::AbortHandle,
}

/// A plugin as discovery has left it.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) id: Arc<str>,
    pub(super) origin: Origin,
    pub(super) found: Found,
    pub(super) wish: Wish,
    /// It is not wanted because it had failed too often.
    pub(super) given_up: Option<Failure>,
    pub(super) lease: Option<Lease>,
    /// For tests: while true, the task stands still.
    pub(super) held: Option<watch::Receiver<bool>>,
}

enum Wake {
    Command(Option<Command>),
    Work(WorkNews),
    Evicted(Arc<str>),
    Timeout,
    Held,
}

pub(super) struct Task {
    host: Arc<Host>,
    id: Arc<str>,
    origin: Origin,
    /// What a scan has found, until an operator asks to look again.
    found: Option<Found>,
    definition: Option<Arc<Definition>>,
    machine: Machine,
    /// The start that `work` belongs to.
    generation: Generation,
    work: Work,
    protocol: Option<u32>,
    lease: Option<Lease>,
    reachable: Reachable,
    mailbox: mpsc::Receiver<Command>,
    published: watch::Sender<Published>,
    held: Option<watch::Receiver<bool>>,
}

impl Task {
    /// Starts the task on the supervisor's own runtime, whichever asks for it.
    pub(super) fn start(host: Arc<Host>, beginning: Beginning) -> TaskHandle {
        let Beginning { id, origin, found, wish, given_up, lease, held } = beginning;
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let machine = match given_up {
            Some(why) => Machine::given_up(host.machine_settings(&id), why),
            None => Machine::new(host.machine_settings(&id), wish),
        };
        let machine = if host.attached.contains_key(&*id) { machine.of_attached() } else { machine };
        let definition = match &found {
            Found::Plugin(definition) => Some(definition.clone()),
            Found::Binary(_) | Found::Problem(_) => None,
        };
        let first = Published {
            status: PluginStatus::unknown(&id, wish == Wish::Up),
            link: None,
            frontend: FrontendFiles::default(),
        };
        let (published, receiver) = watch::channel(first);
        let task = Self {
            host,
            id,
            origin,
            found: Some(found),
            definition,
            machine,
            generation: Generation::default(),
            work: Work::Idle,
            protocol: None,
            lease,
            reachable: Reachable::Waiting,
            mailbox,
            published,
            held,
        };
        task.publish();
        let own = task.host.lanes.own().clone();
        let abort = own.spawn(task.run()).abort_handle();
        TaskHandle { mailbox: sender, published: receiver, abort }
    }

    async fn run(mut self) {
        self.stand_still().await;
        if let Some(definition) = self.definition.take() {
            self.defined(definition);
        }
        let actions = self.machine.begin();
        self.carry_out(actions).await;
        while !self.machine.is_finished() {
            match self.wake().await {
                Wake::Command(Some(Command::Want(wish, reply))) => self.want(wish, reply).await,
                // Without a facade nobody is left to run for.
                Wake::Command(Some(Command::Shutdown) | None) => self.step(Input::Shutdown).await,
                Wake::Evicted(by) => {
                    let route = self.lease.take().map(|lease| lease.endpoint().route().to_owned());
                    self.step(Input::Evicted(route_taken(&route.unwrap_or_default(), &by))).await;
                }
                Wake::Work(news) => self.worked(news).await,
                Wake::Timeout => self.step(Input::Timeout).await,
                Wake::Held => self.stand_still().await,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let timeout = self.machine.next_timeout().map(tokio::time::Instant::from_std);
        tokio::select! {
            command = self.mailbox.recv() => Wake::Command(command),
            news = self.work.next() => Wake::Work(news),
            by = evicted(&mut self.lease) => Wake::Evicted(by),
            () = sleep_until(timeout) => Wake::Timeout,
            () = held(&mut self.held) => Wake::Held,
        }
    }

    async fn stand_still(&mut self) {
        if let Some(held) = &mut self.held {
            // A sender that is gone holds nobody.
            let _ = held.wait_for(|held| !held).await;
        }
    }

    /// Stores the operator's wish, and follows it.
    async fn want(&mut self, wish: Wish, reply: oneshot::Sender<Result<(), CommandError>>) {
        let outcome = self.try_want(wish).await;
        // Whoever asked may have stopped waiting.
        let _ = reply.send(outcome);
    }

    async fn try_want(&mut self, wish: Wish) -> Result<(), CommandError> {
        if self.machine.is_closing() {
            return Err(CommandError::ShuttingDown);
        }
        self.host.states.set_enabled(&self.id, wish == Wish::Up).await?;
        if self.machine.is_idle() {
            // What was wrong may have been put right since the last look.
            self.found = None;
        }
        self.step(Input::Want(wish)).await;
        Ok(())
    }

    async fn worked(&mut self, news: WorkNews) {
        match news {
            WorkNews::Prepared(Ok(prepared)) => {
                self.prepared(prepared);
                self.occurred(Occurrence::Prepared).await;
            }
            WorkNews::Prepared(Err(Unfit { why, definition, lease })) => {
                self.work = Work::Idle;
                self.lease = lease.or(self.lease.take());
                if let Some(definition) = definition {
                    self.defined(definition);
                }
                self.occurred(Occurrence::Unfit(why)).await;
            }
            WorkNews::Spawned(outcome) => match outcome {
                Ok(live) => {
                    let pid = live.pid();
                    self.work = Work::Live(live);
                    self.occurred(Occurrence::Spawned { pid }).await;
                }
                Err(why) => {
                    self.work = Work::Idle;
                    self.occurred(Occurrence::SpawnFailed(why)).await;
                }
            },
            WorkNews::Live(LiveNews::Links(news)) => self.links_told(news).await,
            WorkNews::Live(LiveNews::Exited(exit)) => self.exited(exit).await,
            WorkNews::Live(LiveNews::Gone) => {
                self.work = Work::Idle;
                self.protocol = None;
                self.occurred(Occurrence::Gone).await;
            }
        }
    }

    fn prepared(&mut self, mut prepared: Box<Prepared>) {
        if let Some(lease) = prepared.lease.take() {
            self.lease = Some(lease);
        }
        self.defined(prepared.definition.clone());
        self.found = Some(Found::Plugin(prepared.definition.clone()));
        self.work = Work::Prepared(prepared);
    }

    /// What the plugin is has been found out, or has changed.
    fn defined(&mut self, definition: Arc<Definition>) {
        let is_known = self.definition.as_ref().is_some_and(|known| known.metadata == definition.metadata);
        if !is_known {
            let version = Map::from_iter([("version".to_owned(), definition.metadata.version().into())]);
            self.host.events.emit(&self.id, EventType::Discovered, version);
        }
        self.definition = Some(definition);
    }

    async fn links_told(&mut self, news: LinksNews) {
        match news {
            LinksNews::Occurred(occurrence) => {
                if let Occurrence::Ready { protocol } = occurrence {
                    self.protocol = Some(protocol);
                    self.host.registrar.running(&self.id).await;
                }
                self.occurred(occurrence).await;
            }
            LinksNews::Changed => {
                self.refresh_endpoint();
                self.publish();
            }
        }
    }

    /// The process is gone. What it said last is told first: a refusal is one although the exit was seen before it.
    async fn exited(&mut self, exit: Exit) {
        let Work::Live(live) = &mut self.work else {
            return;
        };
        let (news, stderr_tail) = live.last_words().await;
        for told in news {
            self.links_told(told).await;
        }
        self.work = Work::Idle;
        self.protocol = None;
        self.occurred(Occurrence::Exited { exit, stderr_tail }).await;
    }

    async fn occurred(&mut self, occurrence: Occurrence) {
        self.step(Input::Of(self.generation, occurrence)).await;
    }

    async fn step(&mut self, input: Input) {
        let actions = self.machine.step(input, Instant::now());
        self.carry_out(actions).await;
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Prepare(generation) => self.prepare(generation),
                Action::AbandonPreparation => self.abandon_preparation().await,
                Action::Spawn(_) => self.spawn(),
                Action::AskShutdown => {
                    if let Some(link) = self.work.live().and_then(|live| live.links().first()) {
                        link.shutdown(self.host.config.shutdown_grace);
                    }
                }
                Action::Signal(signal) => {
                    if let Some(live) = self.work.live() {
                        live.signal(signal);
                    }
                }
                Action::CloseLinks => {
                    if let Some(live) = self.work.live() {
                        live.links().close();
                    }
                }
                Action::SetReachable(reachable) => self.set_reachable(reachable).await,
                Action::PersistDisabled => persist_disabled(&self.host, &self.id).await,
                Action::Emit(event, details) => self.host.events.emit(&self.id, event, details),
            }
        }
        self.publish();
    }

    fn prepare(&mut self, generation: Generation) {
        self.generation = generation;
        self.work = Work::Preparing(Box::pin(prepare::prepare(
            self.host.clone(),
            self.id.clone(),
            self.origin.clone(),
            self.found.clone(),
            self.lease.as_ref().map(|lease| lease.endpoint().clone()),
        )));
    }

    async fn abandon_preparation(&mut self) {
        self.work = Work::Idle;
        if self.lease.is_none() {
            // The preparation may have claimed a route already.
            self.host.registrar.release(&self.id).await;
        }
    }

    fn spawn(&mut self) {
        self.work = match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Prepared(prepared) => Work::Spawning(match self.host.attached.get(&*self.id) {
                Some(path) => Box::pin(attach::attach(self.host.clone(), prepared, path.clone())),
                None => Box::pin(launch::launch(self.host.clone(), prepared)),
            }),
            other => other,
        };
    }

    async fn set_reachable(&mut self, reachable: Reachable) {
        self.reachable = reachable;
        self.refresh_endpoint();
        if reachable == Reachable::Disabled && self.lease.take().is_some() {
            self.host.registrar.release(&self.id).await;
        }
    }

    fn refresh_endpoint(&self) {
        let Some(lease) = &self.lease else {
            return;
        };
        let availability = match (self.reachable, self.work.live()) {
            (Reachable::Ready, Some(live)) => {
                live.links().ready().map_or(Availability::Waiting, Availability::Ready)
            }
            (Reachable::Ready | Reachable::Waiting, _) => Availability::Waiting,
            (Reachable::Disabled, _) => Availability::Disabled,
            (Reachable::Failed, _) => Availability::Failed,
        };
        lease.endpoint().set(availability);
    }

    fn publish(&self) {
        let link = match (self.machine.name(), self.work.live()) {
            (StateName::Running, Some(live)) => live.links().first().cloned(),
            _ => None,
        };
        let frontend = self.definition.as_ref().map(|definition| definition.frontend.clone());
        let frontend = frontend.unwrap_or_default();
        self.published.send_replace(Published { status: self.status(), link, frontend });
    }

    fn status(&self) -> PluginStatus {
        let machine = &self.machine;
        let mut status = PluginStatus::unknown(&self.id, machine.is_enabled());
        if let Some(definition) = &self.definition {
            status.describe(&definition.metadata);
        }
        status.state = machine.name();
        status.running = status.state == StateName::Running;
        status.pid = self.work.live().and_then(Live::pid);
        status.protocol = self.protocol;
        status.links = match self.work.live() {
            Some(live) if status.running => live.links().ready().map_or(0, |ready| ready.len()),
            _ => 0,
        };
        status.health = machine.health();
        status.reason = machine.reason().map(|why| Reason {
            code: why.code.clone(),
            message: why.message.clone(),
            stderr_tail: why.stderr_tail.clone(),
        });
        status.restarts = machine.restarts();
        status.next_retry_at = machine.next_retry().map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            (jiff::Timestamp::now() + left).to_string()
        });
        status
    }
}

impl Drop for Task {
    /// The last that is published holds for ever, so it says that nothing runs any more, however the task has ended.
    fn drop(&mut self) {
        self.work = Work::Idle;
        self.reachable = Reachable::Failed;
        self.refresh_endpoint();
        let mut status = self.status();
        (status.running, status.state, status.next_retry_at) = (false, StateName::Stopped, None);
        status.links = 0;
        (status.health, status.protocol) = (Health::unless_running(status.enabled), None);
        if std::thread::panicking() {
            status.state = StateName::Failed;
            status.reason = Some(Reason {
                code: "internal".to_owned(),
                message: "its supervision has failed, which is a bug of Toru: restart the host".to_owned(),
                stderr_tail: None,
            });
        }
        let frontend = self.published.borrow().frontend.clone();
        self.published.send_replace(Published { status, link: None, frontend });
    }
}

async fn persist_disabled(host: &Host, id: &str) {
    if let Err(error) = host.states.set_enabled(id, false).await {
        let message = "its being disabled could not be stored: it will be started again with the host";
        host.logs.supervisor(Level::Error, Some(id), message, Some(&error.message));
        tracing::error!(plugin = id, %error, "{message}");
    }
}

async fn evicted(lease: &mut Option<Lease>) -> Arc<str> {
    match lease {
        Some(lease) => lease.evicted().await,
        None => pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn held(held: &mut Option<watch::Receiver<bool>>) {
    if let Some(receiver) = held {
        if receiver.wait_for(|held| *held).await.is_ok() {
            return;
        }
    }
    pending().await
}
