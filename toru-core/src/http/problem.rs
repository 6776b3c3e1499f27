//! What a client is told when its request gets no answer of a plugin: RFC 9457 problem details.
//!
//! The texts are for clients: they name no path, process, or message of a plugin. What the operator needs stands in
//! events and logs.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::AnswerBody;
use crate::routes::Refusal;

/// Why a request got no answer of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    BadPath,
    BadHost,
    MethodNotSupported,
    NoSuchPlugin,
    PluginDisabled,
    PluginFailed,
    PluginBusy,
    PluginUnavailable,
    HeadTooLarge,
    BodyTooLarge,
    BodyNotText,
    BodyTimeout,
    BodyBroken,
    PluginLost,
    PluginError,
    BadAnswer,
    AnswerTimeout,
}

/// What `Retry-After` says: a plugin that starts or is full is usually there again after its first restart delay.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    /// Status, the last part of the type, and what happened and what to do.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadPath => (
                StatusCode::BAD_REQUEST,
                "bad-path",
                "The path has a segment or an escape that could be read as another path. Send it in its normal form.",
            ),
            Self::BadHost => (
                StatusCode::BAD_REQUEST,
                "bad-host",
                "The request names more than one host. Send one Host header.",
            ),
            Self::MethodNotSupported => {
                (StatusCode::NOT_IMPLEMENTED, "method-not-supported", "Plugins are not reached by CONNECT.")
            }
            Self::NoSuchPlugin => {
                (StatusCode::NOT_FOUND, "no-such-plugin", "No plugin has a route for this path.")
            }
            Self::PluginDisabled => (
                StatusCode::NOT_FOUND,
                "plugin-disabled",
                "The plugin of this route is disabled. An administrator can enable it.",
            ),
            Self::PluginFailed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "plugin-failed",
                "The plugin of this route cannot run. An administrator sees why.",
            ),
            Self::PluginBusy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "plugin-busy",
                "Too many requests wait for this plugin. Try again later.",
            ),
            Self::PluginUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "plugin-unavailable",
                "The plugin did not take the request in time. Try again later.",
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "The request's path and headers are larger than the plugin accepts.",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The request's body is larger than the plugin accepts.",
            ),
            Self::BodyNotText => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "body-not-text",
                "This plugin takes bodies in UTF-8 only.",
            ),
            Self::BodyTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "body-timeout",
                "The rest of the request's body did not come in time.",
            ),
            Self::BodyBroken => (
                StatusCode::BAD_REQUEST,
                "body-broken",
                "The request's body ended before or after its content-length.",
            ),
            Self::PluginLost => (
                StatusCode::BAD_GATEWAY,
                "plugin-lost",
                "The plugin ended before it answered; it may have acted on the request.",
            ),
            Self::PluginError => (
                StatusCode::BAD_GATEWAY,
                "plugin-error",
                "The plugin gave up on the request; it may have acted on it.",
            ),
            Self::BadAnswer => {
                (StatusCode::BAD_GATEWAY, "bad-answer", "The plugin's answer broke the rules of HTTP.")
            }
            Self::AnswerTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "answer-timeout",
                "The plugin did not answer in time; it may have acted on the request.",
            ),
        }
    }

    pub(super) fn into_response(self) -> Response<AnswerBody> {
        let (status, name, detail) = self.parts();
        let title = status.canonical_reason().expect("only registered statuses are used");
        let text = format!(
            r#"{{"type":"urn:toru:error:{name}","title":"{title}","status":{},"detail":"{detail}"}}"#,
            status.as_u16()
        );
        let mut response = Response::new(AnswerBody::full(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::PluginBusy | Self::PluginUnavailable) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disabled => Self::PluginDisabled,
            Refusal::Failed => Self::PluginFailed,
            Refusal::QueueFull => Self::PluginBusy,
            Refusal::WaitedTooLong => Self::PluginUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const ALL: [Problem; 17] = [
        Problem::BadPath,
        Problem::BadHost,
        Problem::MethodNotSupported,
        Problem::NoSuchPlugin,
        Problem::PluginDisabled,
        Problem::PluginFailed,
        Problem::PluginBusy,
        Problem::PluginUnavailable,
        Problem::HeadTooLarge,
        Problem::BodyTooLarge,
        Problem::BodyNotText,
        Problem::BodyTimeout,
        Problem::BodyBroken,
        Problem::PluginLost,
        Problem::PluginError,
        Problem::BadAnswer,
        Problem::AnswerTimeout,
    ];

    #[tokio::test]
    async fn every_problem_is_problem_json_that_repeats_its_status() {
        for problem in ALL {
            let response = problem.into_response();
            let status = response.status();
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["status"], status.as_u16());
            assert!(json["type"].as_str().unwrap().starts_with("urn:toru:error:"));
            assert!(!json["detail"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn only_what_passes_by_itself_says_retry_after() {
        for problem in ALL {
            let says = problem.into_response().headers().contains_key("retry-after");
            let passes = matches!(problem, Problem::PluginBusy | Problem::PluginUnavailable);
            assert_eq!(says, passes, "{problem:?}");
        }
    }
}
