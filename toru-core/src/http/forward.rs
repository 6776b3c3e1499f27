//! One request, from its arrival to the head of its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use http_body::Body;
use toru_plugin_api::{
    driver::{BoxError, RequestError},
    frame::ResetCode,
    message::http::RequestHead,
};

use super::{
    AnswerBody, PluginService, answer,
    body::{ClientBody, ClientBodyError, LengthMismatch, Outgoing, content_length},
    caller::{Caller, Identity},
    headers::{self, Context},
    path::{self, PathKind},
    problem::Problem,
    upgrade::Offer,
};
use crate::{
    link::{BadAnswer, Link, LinkAnswer, SendError},
    routes::Endpoint,
};

/// Bodies up to this size are read before a place on the link is taken, so that a slow client holds none; they go in one message
/// with their head. A larger one is worth a stream.
const COLLECT_FIRST: u64 = 16 << 10;
/// How often a request is sent at most: once, and once more when the plugin refused it (protocol section 6).
const MAX_SENDS: usize = 2;

impl PluginService {
    /// Sends a request to the plugin of its route, and gives its answer, or a problem.
    ///
    /// Dropping the future cancels the request at the plugin.
    pub async fn forward<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.exchange(request, None).await.unwrap_or_else(Problem::into_response)
    }

    /// As [`forward`](Self::forward), without looking for who asks in the request's extensions: these would be allocated for each request.
    pub async fn forward_for<B>(
        &self,
        request: Request<B>,
        caller: &Caller,
        identity: &Identity,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.exchange(request, Some((caller, identity))).await.unwrap_or_else(Problem::into_response)
    }

    async fn exchange<B>(
        &self,
        mut request: Request<B>,
        asker: Option<(&Caller, &Identity)>,
    ) -> Result<Response<AnswerBody>, Problem>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let offer = Offer::of(&mut request);
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Problem::MethodNotSupported);
        }
        let (endpoint, path) = self.target(&parts.uri)?;
        if let Some(refusal) = endpoint.refusal() {
            return Err(refusal.into());
        }
        let expects_continue = parts.headers.contains_key(header::EXPECT);
        let context = Context {
            uri: &parts.uri,
            caller: asker.map(|(caller, _)| caller).or_else(|| parts.extensions.get()),
            identity: asker.map(|(_, identity)| identity).or_else(|| parts.extensions.get()),
            prefix: endpoint.prefix_under(&self.mount),
            timeout_ms: endpoint.is_timed().then_some(&self.timeout_ms),
            ids: &self.ids,
            host_cookies: &self.host_cookies,
        };
        headers::prepare(&mut parts.headers, &context)
            .map_err(|headers::Unacceptable::Host| Problem::BadHost)?;

        let mut head = RequestHead { method: parts.method, path, headers: parts.headers };
        let length = content_length(&head.headers)?;
        let body = self.first_look(body, length, expects_continue).await?;
        let is_head = head.method == Method::HEAD;
        let (link, answer) = self.send(&endpoint, &mut head, body, length, offer.as_ref()).await?;
        let sent = head.headers;
        match (offer, answer) {
            (Some(offer), LinkAnswer { head, tunnel: Some(tunnel), .. }) => {
                offer.taken(head, tunnel, &link, &self.host_cookies)
            }
            (_, answer) => answer::pass(answer, &link, is_head, &self.host_cookies, sent),
        }
    }

    /// The endpoint, and the path as the plugin gets it.
    fn target(&self, uri: &Uri) -> Result<(Arc<Endpoint>, PathAndQuery), Problem> {
        let kind = path::classify(uri.path());
        if kind == PathKind::Forbidden || uri.query().is_some_and(|query| !query.is_ascii()) {
            return Err(Problem::BadPath);
        }
        let below = uri.path().strip_prefix(&*self.strip).ok_or(Problem::NoSuchPlugin)?;
        let (endpoint, rest) = self.routes.find(below).ok_or(Problem::NoSuchPlugin)?;
        if kind == PathKind::Raw && !endpoint.raw_paths() {
            return Err(Problem::BadPath);
        }
        let path = match uri.query() {
            None => PathAndQuery::try_from(rest),
            Some(query) => PathAndQuery::try_from(format!("{rest}?{query}")),
        };
        Ok((endpoint, path.map_err(|_| Problem::BadPath)?))
    }

    /// Reads a small body at once; a larger one waits for its place. A client that waits for `100 Continue` sends nothing before the
    /// plugin is known to take the request.
    async fn first_look<B>(
        &self,
        body: B,
        named: Option<u64>,
        expects_continue: bool,
    ) -> Result<Outgoing<B>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return match named {
                None | Some(0) => Ok(Outgoing::Empty),
                Some(_) => Err(Problem::BodyBroken),
            };
        }
        let length = body.size_hint().exact();
        if expects_continue || length.is_none_or(|length| length > COLLECT_FIRST) {
            return Ok(Outgoing::stream(body));
        }
        let bytes =
            ClientBody::collect(body, COLLECT_FIRST as usize, self.body_idle, named, |_| Ok(())).await?;
        Ok(Outgoing::Full(bytes))
    }

    /// Sends a request on a link of the endpoint; once more when the plugin has refused it.
    async fn send<B>(
        &self,
        endpoint: &Endpoint,
        head: &mut RequestHead,
        mut outgoing: Outgoing<B>,
        length: Option<u64>,
        offer: Option<&Offer>,
    ) -> Result<(Link, LinkAnswer), Problem>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut link, mut permit) = endpoint.acquire(self.lane.id()).await?;
        // Held until the answer's head is there, because so long the body is.
        let mut _room;
        let mut sends_left = MAX_SENDS;
        loop {
            // Whether it has to be collected may change from one link to its successor.
            let limit = if let Outgoing::Stream(_) = outgoing { link.collects() } else { None };
            if let Some(limit) = limit {
                // A client that takes its time takes nobody's place.
                drop(permit);
                if length.is_some_and(|length| length > limit as u64) {
                    return Err(Problem::BodyTooLarge);
                }
                let body = outgoing.take_untouched().ok_or(Problem::PluginUnavailable)?;
                let mut room = endpoint.room_to_collect().await?;
                let hold = |bytes| room.grow_to(bytes);
                outgoing =
                    Outgoing::Full(ClientBody::collect(body, limit, self.body_idle, length, hold).await?);
                _room = room;
                (link, permit) = endpoint.acquire(self.lane.id()).await?;
            }
            if let Outgoing::Full(bytes) = &outgoing {
                head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            }
            let mut body = outgoing.whole(self.body_idle, length).ok_or(Problem::PluginUnavailable)?;
            if let Some(offer) = offer {
                body = offer.make(&link, &mut head.headers);
            }
            let error = match link.request(head, body, permit, endpoint.queue_wait()).await {
                Ok(answer) => return Ok((link, answer)),
                Err(error) => error,
            };
            (link, permit) = match error {
                // Nothing was sent: this one has a successor, which is waited for. Each link that goes costs one more look, and not a try.
                SendError::NotTaken => endpoint.acquire_other(self.lane.id(), &link).await?,
                // A plugin that refuses for now may be asked again.
                SendError::Request(RequestError::Reset(ResetCode::REFUSED)) => {
                    sends_left -= 1;
                    if sends_left == 0 {
                        return Err(Problem::PluginUnavailable);
                    }
                    endpoint.acquire(self.lane.id()).await?
                }
                error => return Err(problem_of(error, &link)),
            };
        }
    }
}

impl From<LengthMismatch> for Problem {
    fn from(_: LengthMismatch) -> Self {
        Self::BodyBroken
    }
}

impl From<ClientBodyError> for Problem {
    fn from(error: ClientBodyError) -> Self {
        match error {
            ClientBodyError::Stalled => Self::BodyTimeout,
            ClientBodyError::TooLarge => Self::BodyTooLarge,
            ClientBodyError::NoRoom => Self::PluginBusy,
            ClientBodyError::Length | ClientBodyError::Failed(_) => Self::BodyBroken,
        }
    }
}

/// What a client is told of a failed request (protocol section 3, codes).
fn problem_of(error: SendError, link: &Link) -> Problem {
    let error = match error {
        SendError::NotTaken | SendError::Full => return Problem::PluginUnavailable,
        SendError::BodyTooLarge => return Problem::BodyTooLarge,
        SendError::HeadTooLarge => return Problem::HeadTooLarge,
        SendError::BodyNotText => return Problem::BodyNotText,
        SendError::BadAnswer(what) => {
            link.report_bad_answer(BadAnswer::Head, &what);
            return Problem::BadAnswer;
        }
        SendError::Request(error) => error,
    };
    match error {
        RequestError::TimedOut | RequestError::Reset(ResetCode::TIMED_OUT) => Problem::AnswerTimeout,
        RequestError::Reset(ResetCode::TOO_LARGE) => Problem::BodyTooLarge,
        RequestError::Reset(_) => Problem::PluginError,
        RequestError::Body(error) => match error.downcast::<ClientBodyError>() {
            Ok(error) => Problem::from(*error),
            Err(_) => Problem::BodyBroken,
        },
        _ => Problem::PluginLost,
    }
}
