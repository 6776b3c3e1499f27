//! Errors as `application/problem+json` (RFC 9457). The `type` of each kind never changes.

use std::borrow::Cow;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// What went wrong, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    BadQuery,
    NotJson,
    CredentialsRequired,
    WrongToken,
    ForeignOrigin,
    Denied,
    NotFound,
    UnknownPlugin,
    NoBundle,
    NoFrontend,
    MethodNotAllowed,
    RequestTimeout,
    TooLarge,
    UriTooLong,
    Misdirected,
    InvalidCall,
    ValueNotText,
    Internal,
    NotImplemented,
    Unavailable,
    ShuttingDown,
    Timeout,
    StorageFull,
    QuotaExceeded,
}

impl Kind {
    /// Status, the last part of the type, title.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request is malformed"),
            Self::BadQuery => (StatusCode::BAD_REQUEST, "bad-query", "The query is not understood"),
            Self::NotJson => (StatusCode::BAD_REQUEST, "not-json", "The body is not JSON"),
            Self::CredentialsRequired => {
                (StatusCode::UNAUTHORIZED, "credentials-required", "Credentials are required")
            }
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "wrong-token", "The token is wrong"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign-origin", "The origin is not allowed"),
            Self::Denied => (StatusCode::FORBIDDEN, "denied", "The call is not allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::UnknownPlugin => (StatusCode::NOT_FOUND, "unknown-plugin", "There is no such plugin"),
            Self::NoBundle => (StatusCode::NOT_FOUND, "no-bundle", "The plugin has no frontend bundle"),
            Self::NoFrontend => (StatusCode::NOT_FOUND, "no-frontend", "The plugin has no frontend files"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here")
            }
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The body did not arrive in time")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The content is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The request target is too long"),
            Self::Misdirected => {
                (StatusCode::MISDIRECTED_REQUEST, "misdirected", "This host does not answer for that name")
            }
            Self::InvalidCall => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-call", "The call breaks a rule"),
            Self::ValueNotText => {
                (StatusCode::UNPROCESSABLE_ENTITY, "value-not-text", "The value is not text")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The host failed"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "not-implemented", "Not implemented"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
            Self::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, "shutting-down", "The host is shutting down")
            }
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout", "The store took too long"),
            Self::StorageFull => {
                (StatusCode::INSUFFICIENT_STORAGE, "storage-full", "The host's disk is full")
            }
            Self::QuotaExceeded => {
                (StatusCode::INSUFFICIENT_STORAGE, "quota-exceeded", "The plugin's namespace is full")
            }
        }
    }

    /// What HTTP wants told beside the status.
    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            // RFC 9110, section 11.6.1: each 401 names a scheme.
            Self::CredentialsRequired | Self::WrongToken => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"toru\"")))
            }
            Self::Unavailable => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        }
    }
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error answer: its kind, and in `detail` what was wrong this time and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.parts().0
    }

    pub(crate) fn is_about_a_wrong_token(&self) -> bool {
        self.kind == Kind::WrongToken
    }
}

/// The members of RFC 9457, section 3.1.
#[derive(serde::Serialize)]
struct Members<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.parts();
        let members = Members {
            kind: format!("urn:toru:error:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&members).expect("four strings and a number are JSON");
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], Body::from(body)).into_response();
        if let Some((name, value)) = self.kind.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
