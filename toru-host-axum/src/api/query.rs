//! Queries whose every parameter is understood.

use std::error::Error;

use axum::extract::{FromRequestParts, Query, rejection::QueryRejection};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// The parameters of a query; what is not understood is answered 400 with the parameter's name.
pub(crate) struct Checked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Checked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parsed = Query::from_request_parts(parts, state).await;
        parsed.map(|Query(parameters)| Self(parameters)).map_err(|rejection| bad_query(why(&rejection)))
    }
}

/// The parameter and what is wrong with it, without what axum says of itself.
fn why(rejection: &QueryRejection) -> String {
    rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string)
}

/// A query that breaks a rule.
pub(crate) fn bad_query(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadQuery, detail.into())
}

/// A number between 1 and `max`.
pub(crate) fn between_one_and(name: &str, value: u32, max: u32) -> Result<usize, Problem> {
    if (1..=max).contains(&value) {
        Ok(value as usize)
    } else {
        Err(bad_query(format!("`{name}` is {value}; it is a number from 1 to {max}.")))
    }
}
