//! A plugin's namespace in the host's store, whether or not the plugin runs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use toru_core::api::message::kv::{KvAnswer, KvCall, KvError, KvErrorCode};

use super::Plugin;
use crate::{
    app::{App, Shared},
    problem::{Kind, Problem},
    upload,
};

/// A value of 512 KiB in which JSON escapes every byte as `\u0000`, a key, and the rest.
const MAX_BODY: usize = (512 << 10) * 6 + (16 << 10);
/// How long the store may take, as for a plugin's own calls.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// `{"action", "key", "value"}` as text; checked by [`Fields::call`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    action: String,
    key: String,
    value: Option<String>,
}

impl Fields {
    fn call(self) -> Result<KvCall, Problem> {
        let Self { action, key, value } = self;
        // Plugins of both protocols write actions in lower case and capitalised; so do their operators.
        match (action.to_ascii_lowercase().as_str(), value) {
            ("get", None) => Ok(KvCall::Get { key }),
            ("delete", None) => Ok(KvCall::Delete { key }),
            ("set", Some(value)) => Ok(KvCall::Set { key, value: Bytes::from(value), ttl_ms: None }),
            ("set", None) => {
                Err(invalid("The action `set` needs a `value`, a text; to remove a key use `delete`."))
            }
            ("get" | "delete", Some(_)) => Err(invalid(format!("The action {action:?} takes no `value`."))),
            _ => Err(invalid(format!(
                "The action {action:?} is unknown; there are `get`, `set` and `delete`."
            ))),
        }
    }
}

/// A call, read from a request's body.
pub(crate) struct Call(KvCall);

impl FromRequest<Arc<App>> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let body = upload::collect(request.into_body(), MAX_BODY, app.body_timeout, || {
            format!("A call has at most {MAX_BODY} bytes, its value 524288.")
        });
        parse(&body.await?).map(Self)
    }
}

fn parse(body: &[u8]) -> Result<KvCall, Problem> {
    let fields = serde_json::from_slice::<Fields>(body).map_err(|error| {
        use serde_json::error::Category::{Data, Eof, Io, Syntax};
        match error.classify() {
            Syntax | Eof | Io => Problem::new(Kind::NotJson, format!("The body is not JSON: {error}.")),
            // A body that is wrong in a field may still turn out not to be JSON behind it.
            Data => match serde_json::from_slice::<Value>(body) {
                Ok(_) => invalid(format!("The body is not a KV call: {error}.")),
                Err(error) => Problem::new(Kind::NotJson, format!("The body is not JSON: {error}.")),
            },
        }
    })?;
    fields.call()
}

/// `{"value": text or null}`
#[derive(Serialize)]
pub(crate) struct Answer {
    value: Option<String>,
}

pub(crate) async fn call(
    State(app): Shared,
    Plugin(plugin): Plugin,
    Call(call): Call,
) -> Result<Json<Answer>, Problem> {
    let answer = timeout(STORE_TIMEOUT, app.supervisor.kv_store().call(&plugin.id, call)).await;
    let answer = answer.unwrap_or_else(|_| {
        Err(KvError::new(
            KvErrorCode::Timeout,
            "the store took too long; a write may or may not have happened",
        ))
    });
    match answer {
        Ok(KvAnswer::Value(Some(value))) => {
            let value = String::from_utf8(value.into()).map_err(|_| not_text())?;
            Ok(Json(Answer { value: Some(value) }))
        }
        Ok(_) => Ok(Json(Answer { value: None })),
        Err(error) => Err(store_problem(error)),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidCall, detail.into())
}

fn not_text() -> Problem {
    Problem::new(
        Kind::ValueNotText,
        "The value is not UTF-8, so it cannot be shown as text; the plugin can read it.",
    )
}

fn store_problem(error: KvError) -> Problem {
    let kind = match error.code {
        KvErrorCode::Invalid | KvErrorCode::UnknownAction => Kind::InvalidCall,
        KvErrorCode::TooLarge => Kind::TooLarge,
        KvErrorCode::QuotaExceeded => Kind::QuotaExceeded,
        KvErrorCode::StorageFull => Kind::StorageFull,
        KvErrorCode::Timeout => Kind::Timeout,
        KvErrorCode::Denied => Kind::Denied,
        _ => Kind::Unavailable,
    };
    Problem::new(kind, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(body: &[u8]) -> u16 {
        parse(body).map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn the_three_actions_are_read_in_both_spellings() {
        assert_eq!(parse(br#"{"action":"get","key":"k"}"#).unwrap(), KvCall::Get { key: "k".into() });
        assert_eq!(
            parse(br#"{"action":"Get","key":"k","value":null}"#).unwrap(),
            KvCall::Get { key: "k".into() }
        );
        assert_eq!(parse(br#"{"key":"k","action":"delete"}"#).unwrap(), KvCall::Delete { key: "k".into() });
        let set = parse(br#"{"action":"set","key":"k","value":""}"#).unwrap();
        assert_eq!(set, KvCall::Set { key: "k".into(), value: Bytes::new(), ttl_ms: None });
    }

    #[test]
    fn a_body_that_is_no_json_is_400() {
        let bodies: [&[u8]; 9] = [
            b"",
            b" ",
            b"{",
            b"get k",
            b"{\"action\":\"get\",\"key\":\"k\"",
            b"{\"action\":\"get\",\"key\":\"k\"}}",
            b"{\"action\":1,\"key\"",
            b"{\"action\":\"get\",\"key\":\"\\ud800\"}",
            b"{\"action\":\"get\",\"key\":\"\xff\"}",
        ];
        for body in bodies {
            assert_eq!(status(body), 400, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn json_that_is_no_call_is_422() {
        let bodies = [
            "null",
            "[]",
            "\"get\"",
            "{}",
            r#"{"action":"get"}"#,
            r#"{"key":"k"}"#,
            r#"{"action":"get","key":1}"#,
            r#"{"action":null,"key":"k"}"#,
            r#"{"action":"get","key":"k","value":"v"}"#,
            r#"{"action":"get","key":"k","ttl_ms":1}"#,
            r#"{"action":"set","key":"k"}"#,
            r#"{"action":"set","key":"k","value":null}"#,
            r#"{"action":"set","key":"k","value":1}"#,
            r#"{"action":"set","key":"k","value":["v"]}"#,
            r#"{"action":"delete","key":"k","value":"v"}"#,
            r#"{"action":"list","key":"k"}"#,
            r#"{"action":"","key":"k"}"#,
            r#"{"action":"get","key":"k","key":"k"}"#,
        ];
        for body in bodies {
            assert_eq!(status(body.as_bytes()), 422, "{body}");
        }
    }
}
