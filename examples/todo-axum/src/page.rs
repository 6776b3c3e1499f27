//! The page and its forms. It works without scripts too; with them, changes of others appear by themselves.

use std::fmt::Write;

use axum::{
    Form,
    extract::Path,
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use crate::{
    store::{Store, StoreError},
    todos::Todo,
    visitor::{Visitor, cookie},
};

/// What the page may load: its own files and its own socket.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'self'";

/// Where a form leads. A host puts it under the app's mount.
const HOME: &str = "/";

#[derive(Debug, Deserialize)]
pub(crate) struct NewTodo {
    text: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewName {
    name: String,
}

pub(crate) async fn list(store: Store, visitor: Visitor) -> Result<Response, StoreError> {
    let todos = store.read().await?.todos;
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Html(render(&visitor, &todos))).into_response())
}

pub(crate) async fn add(
    store: Store,
    visitor: Visitor,
    Form(new): Form<NewTodo>,
) -> Result<Redirect, StoreError> {
    store.change(|todos| todos.add(&new.text, &visitor.name)).await?;
    Ok(Redirect::to(HOME))
}

pub(crate) async fn toggle(store: Store, Path(id): Path<u64>) -> Result<Redirect, StoreError> {
    store.change(|todos| todos.toggle(id)).await?;
    Ok(Redirect::to(HOME))
}

pub(crate) async fn delete(store: Store, Path(id): Path<u64>) -> Result<Redirect, StoreError> {
    store.change(|todos| todos.delete(id)).await?;
    Ok(Redirect::to(HOME))
}

pub(crate) async fn name(visitor: Visitor, Form(new): Form<NewName>) -> Response {
    // As some frameworks write it: with the whole address. `Visitor::url` has the base path already.
    let headers = [(header::SET_COOKIE, cookie(&new.name)), (header::LOCATION, visitor.url)];
    (StatusCode::SEE_OTHER, headers).into_response()
}

pub(crate) async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("../assets/app.js"))
}

pub(crate) async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("../assets/style.css"))
}

fn file(content_type: &'static str, text: &'static str) -> ([(HeaderName, &'static str); 2], &'static str) {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text)
}

fn render(visitor: &Visitor, todos: &[Todo]) -> String {
    let mut items = String::new();
    for Todo { id, text, done, by } in todos {
        let (class, pressed) = if *done { (" class=\"done\"", "true") } else { ("", "false") };
        let by = if by.is_empty() { "someone" } else { by };
        writeln!(
            items,
            "<li{class}>\
             <form method=\"post\" action=\"todos/{id}/toggle\"><button class=\"check\" aria-pressed=\"{pressed}\" aria-label=\"Done\"></button></form>\
             <p><span class=\"text\">{}</span><small>{}</small></p>\
             <form method=\"post\" action=\"todos/{id}/delete\"><button class=\"delete\" aria-label=\"Delete\">×</button></form>\
             </li>",
            escaped(text),
            escaped(by),
        )
        .expect("a String takes all");
    }
    include_str!("../assets/page.html")
        .replace("{base}", &escaped(&visitor.base_path))
        .replace("{url}", &escaped(&visitor.url))
        .replace("{name}", &escaped(&visitor.name))
        .replace("{items}", &items)
}

/// Text that is safe between tags and in quoted attributes; a brace would look like a place of the template.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '{' => safe.push_str("&#123;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_stays_text() {
        let visitor = Visitor {
            name: "\"><script>".into(),
            base_path: "/mount/todo".into(),
            url: "http://localhost/mount/todo/".into(),
        };
        let todo = Todo { id: 7, text: "<b> {items} & 'x'".into(), done: true, by: String::new() };
        let page = render(&visitor, &[todo]);
        assert!(page.contains("<base href=\"/mount/todo/\">"), "{page}");
        assert!(page.contains("&lt;b&gt; &#123;items} &amp; &#39;x&#39;"), "{page}");
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;\""), "{page}");
        assert!(page.contains("action=\"todos/7/toggle\"") && page.contains("<li class=\"done\">"), "{page}");
        assert!(page.contains("<small>someone</small>"), "{page}");
    }
}
