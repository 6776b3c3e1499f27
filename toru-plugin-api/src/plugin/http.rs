//! Requests and answers as a plugin sees them.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{Body, Caller, PluginResult};

/// A request: an [`http::Request`] (to which it dereferences) with ways to read its body.
///
/// The path begins behind the plugin's route: links and redirects to paths of the plugin itself begin with [`Caller::base_path`]. The context
/// headers (`x-forwarded-prefix`, `x-toru-user`, …) are the host's word, never the client's.
#[derive(Debug)]
pub struct HttpRequest(http::Request<Body>);

impl HttpRequest {
    /// The path, percent-encoded as it came, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri().path()
    }

    /// The query, percent-encoded as it came.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.uri().query()
    }

    /// A header's first value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// Who asks, and what the host says of the request. Its deadline counts from this call: make it first.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::from_headers(self.0.headers())
    }

    /// The body, to be read as a stream.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.0.into_body()
    }

    /// The request as the `http` crate has it.
    #[must_use]
    pub fn into_inner(self) -> http::Request<Body> {
        self.0
    }

    /// The body as bytes.
    ///
    /// # Errors
    /// See [`Body::bytes`].
    pub async fn bytes(self, limit: usize) -> PluginResult<Bytes> {
        self.into_body().bytes(limit).await
    }

    /// The body as text.
    ///
    /// # Errors
    /// See [`Body::text`].
    pub async fn text(self) -> PluginResult<String> {
        self.into_body().text().await
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// See [`Body::json`].
    pub async fn json<T: DeserializeOwned>(self) -> PluginResult<T> {
        self.into_body().json().await
    }
}

impl From<http::Request<Body>> for HttpRequest {
    fn from(request: http::Request<Body>) -> Self {
        Self(request)
    }
}

impl Deref for HttpRequest {
    type Target = http::Request<Body>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for HttpRequest {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// An answer: an [`http::Response`] (to which it dereferences) with ways to make one.
#[derive(Debug)]
pub struct HttpResponse(http::Response<Body>);

impl HttpResponse {
    /// An answer with this status and body, and no headers.
    pub fn new(status: StatusCode, body: impl Into<Body>) -> Self {
        let mut response = http::Response::new(body.into());
        *response.status_mut() = status;
        Self(response)
    }

    /// 200 with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, text.into())
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
    }

    /// 200 with JSON.
    ///
    /// # Errors
    /// The value has no JSON form, such as a map whose keys are no strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> PluginResult<Self> {
        Ok(Self::new(StatusCode::OK, serde_json::to_vec(value)?)
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
    }

    /// 200 with bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, bytes.into())
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        *self.0.status_mut() = status;
        self
    }

    /// The same with this header, in place of one of that name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// The answer as the `http` crate has it.
    #[must_use]
    pub fn into_inner(self) -> http::Response<Body> {
        self.0
    }
}

impl From<http::Response<Body>> for HttpResponse {
    fn from(response: http::Response<Body>) -> Self {
        Self(response)
    }
}

impl Deref for HttpResponse {
    type Target = http::Response<Body>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for HttpResponse {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
