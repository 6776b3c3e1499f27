//! The pages for people: what plugins there are, and how to enter. Rendered here, readable without scripts.

mod html;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    response::{Html, IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::{
    api::Checked,
    app::Shared,
    problem::{Kind, Problem},
};

/// `/`
pub(crate) async fn plugins(State(app): Shared) -> Html<String> {
    Html(html::plugins(&app.supervisor.list(), app.supervisor.instance_id()))
}

/// What a browser shows where credentials are missing or wrong.
pub(crate) fn how_to_enter(problem: Problem) -> Response {
    let note = problem.is_about_a_wrong_token().then_some("That token is not the admin token of this host.");
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.map(|_| html::enter(note).into())
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: Option<String>,
}

/// `GET /login?token=…`, the link that the host prints.
pub(crate) async fn login_by_link(State(app): Shared, Checked(login): Checked<Login>) -> Response {
    match login.token {
        Some(token) => enter(&app.access, &token).await,
        None => Html(html::enter(None)).into_response(),
    }
}

/// `POST /login`, the form of the page that says how to enter.
pub(crate) async fn login_by_form(State(app): Shared, form: Result<Form<Login>, FormRejection>) -> Response {
    match form {
        Ok(Form(Login { token: Some(token) })) => enter(&app.access, token.trim()).await,
        _ => Problem::new(Kind::BadRequest, "A login is a form with the field `token`.").into_response(),
    }
}

async fn enter(access: &crate::access::Access, token: &str) -> Response {
    match access.try_token(token.as_bytes()).await.and_then(|()| access.open_session()) {
        Ok(cookie) => see_other(cookie),
        Err(problem) if problem.is_about_a_wrong_token() => how_to_enter(problem),
        Err(problem) => problem.into_response(),
    }
}

/// `POST /logout`
pub(crate) async fn logout(State(app): Shared, headers: HeaderMap) -> Response {
    see_other(app.access.close_sessions(&headers))
}

fn see_other(cookie: HeaderValue) -> Response {
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, HeaderValue::from_static("/"))];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// `/style.css`
pub(crate) async fn style() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("style.css"))
}
