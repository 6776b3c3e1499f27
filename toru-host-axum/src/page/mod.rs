//! The pages for people: what plugins there are, and how to enter. Rendered here, readable without scripts.

mod html;

use std::sync::Arc;

use axum::{
    Extension, Form,
    extract::{FromRequest, Request, State},
    response::{Html, IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::{
    access::{Access, Forwarded},
    api::Checked,
    app::{App, Shared},
    problem::{Kind, Problem},
    upload,
};

/// The longest token, each character of it percent-encoded, and the field's name.
const MAX_FORM: usize = 4 << 10;

/// How a browser sees this host, through the proxy before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entrance {
    /// What the host's own paths begin with: empty where no proxy has removed anything.
    prefix: String,
    is_https: bool,
}

impl From<Forwarded> for Entrance {
    fn from(forwarded: Forwarded) -> Self {
        Self { prefix: forwarded.prefix, is_https: forwarded.is_https }
    }
}

/// `/`
pub(crate) async fn plugins(State(app): Shared, Extension(entrance): Extension<Entrance>) -> Html<String> {
    Html(html::plugins(&entrance.prefix, &app.supervisor.list(), app.supervisor.instance_id()))
}

/// What a browser shows where credentials are missing or wrong.
pub(crate) fn how_to_enter(entrance: &Entrance, problem: Problem) -> Response {
    let note = problem.is_about_a_wrong_token().then_some("That token is not the admin token of this host.");
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.map(|_| html::enter(&entrance.prefix, note).into())
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: Option<String>,
}

/// `GET /login?token=…`, the link that the host prints.
pub(crate) async fn login_by_link(
    State(app): Shared,
    Extension(entrance): Extension<Entrance>,
    Checked(login): Checked<Login>,
) -> Response {
    match login.token {
        Some(token) => enter(&app.access, &entrance, &token).await,
        None => Html(html::enter(&entrance.prefix, None)).into_response(),
    }
}

/// The form of the page that says how to enter. Anyone may send one.
pub(crate) struct LoginForm(Login);

impl FromRequest<Arc<App>> for LoginForm {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let too_large = || format!("A login has at most {MAX_FORM} bytes.");
        let body = upload::collect(body, MAX_FORM, app.body_timeout, too_large).await?;
        match Form::from_request(Request::from_parts(parts, body.into()), app).await {
            Ok(Form(login)) => Ok(Self(login)),
            Err(_) => Err(no_token_field()),
        }
    }
}

fn no_token_field() -> Problem {
    Problem::new(Kind::BadRequest, "A login is a form with the field `token`.")
}

/// `POST /login`
pub(crate) async fn login_by_form(
    State(app): Shared,
    Extension(entrance): Extension<Entrance>,
    LoginForm(login): LoginForm,
) -> Response {
    match login.token {
        Some(token) => enter(&app.access, &entrance, token.trim()).await,
        None => no_token_field().into_response(),
    }
}

async fn enter(access: &Access, entrance: &Entrance, token: &str) -> Response {
    match access
        .try_token(token.as_bytes())
        .await
        .and_then(|()| access.open_session(&entrance.prefix, entrance.is_https))
    {
        Ok(cookie) => see_other(entrance, cookie),
        Err(problem) if problem.is_about_a_wrong_token() => how_to_enter(entrance, problem),
        Err(problem) => problem.into_response(),
    }
}

/// `POST /logout`
pub(crate) async fn logout(
    State(app): Shared,
    Extension(entrance): Extension<Entrance>,
    headers: HeaderMap,
) -> Response {
    see_other(&entrance, app.access.close_sessions(&entrance.prefix, &headers))
}

fn see_other(entrance: &Entrance, cookie: HeaderValue) -> Response {
    let home = HeaderValue::from_str(&format!("{}/", entrance.prefix)).expect("a prefix came in a header");
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, home)];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// `/style.css`
pub(crate) async fn style() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("style.css"))
}
