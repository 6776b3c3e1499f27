//! Upgrades (protocol section 4): when one is offered to a plugin, and how its 101 passes.

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use toru_plugin_api::{
    driver::{RequestBody, Tunnel},
    frame::ResetCode,
    message::http::ResponseHead,
};

use super::{
    AnswerBody,
    headers::{clean, names, take_upgrade},
    problem::Problem,
    tunnel::PluginTunnel,
};
use crate::link::{BadAnswer, Link};

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A request extension: the embedder can go on with this client's connection after a 101, and takes the plugin's end out of that answer
/// with [`PluginTunnel::take`]. Where hyper's [`OnUpgrade`] is in the extensions, the service does both by itself.
///
/// Without either no upgrade is offered to the plugin, and it gets the request as a plain one.
#[derive(Debug, Clone, Copy)]
pub struct UpgradeSupport;

/// An upgrade that a client offers.
#[derive(Debug)]
pub(super) struct Offer {
    /// The protocols that it names.
    protocols: HeaderValue,
    /// Gives the client's connection; none: the embedder does.
    client: Option<OnUpgrade>,
}

impl Offer {
    /// What a request offers that can be taken: by HTTP/1.1, with `connection: upgrade`, and without a body.
    pub(super) fn of<B: Body>(request: &mut Request<B>) -> Option<Self> {
        let (headers, is_1_1) = (request.headers(), request.version() == Version::HTTP_11);
        if !headers.contains_key(header::UPGRADE)
            || !is_1_1
            || !names(headers, header::CONNECTION, "upgrade")
            || !request.body().is_end_stream()
        {
            return None;
        }
        let protocols = joined(headers)?;
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let is_supported = client.is_some() || request.extensions().get::<UpgradeSupport>().is_some();
        is_supported.then_some(Self { protocols, client })
    }

    /// Puts the offer into a request, or takes it out for a plugin that has no `streams`.
    pub(super) fn make<B>(&self, link: &Link, headers: &mut HeaderMap) -> RequestBody<B> {
        if link.collects().is_some() {
            headers.remove(header::CONNECTION);
            headers.remove(header::UPGRADE);
            return RequestBody::Empty;
        }
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, self.protocols.clone());
        RequestBody::Upgrade
    }

    /// Turns a plugin's 101 into the client's, and joins both connections once the client has it.
    pub(super) fn taken(
        self,
        head: ResponseHead,
        tunnel: Tunnel,
        link: &Link,
        host_cookies: &[Box<str>],
    ) -> Result<Response<AnswerBody>, Problem> {
        let mut headers = head.headers;
        let protocol = take_upgrade(&mut headers).filter(|protocol| self.has_offered(protocol));
        let Some(protocol) = protocol else {
            link.report_bad_answer(BadAnswer::Upgrade, "a 101 does not name a protocol that was offered");
            tunnel.reset(ResetCode::INTERNAL);
            return Err(Problem::BadAnswer);
        };
        clean(&mut headers, host_cookies, |found, what| link.report_bad_answer(found, what));
        // An interim answer has no body and so no length (RFC 9110, 8.6).
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, protocol);
        let mut response = Response::new(AnswerBody::empty());
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        let tunnel = PluginTunnel::new(tunnel);
        match self.client {
            None => tunnel.leave_in(&mut response),
            Some(client) => {
                tokio::spawn(tunnel.carry(client));
            }
        }
        Ok(response)
    }

    /// Whether a server may switch to this (RFC 9110, 7.8): names are compared without regard to case.
    fn has_offered(&self, protocol: &HeaderValue) -> bool {
        let offered = |wanted: &[u8]| {
            !wanted.is_empty()
                && elements(&self.protocols).any(|offered| offered.eq_ignore_ascii_case(wanted))
        };
        elements(protocol).all(offered)
    }
}

/// The values of `upgrade` as one; `None`: it names nothing.
fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let (first, second) = (values.next()?, values.next());
    let joined = match second {
        None => first.clone(),
        Some(_) => {
            let all: Vec<&[u8]> =
                headers.get_all(header::UPGRADE).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&all.join(&b", "[..])).expect("it consists of header values")
        }
    };
    let is_named = elements(&joined).any(|protocol| !protocol.is_empty());
    is_named.then_some(joined)
}

/// The elements of a list (RFC 9110, 5.6.1).
fn elements(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
