//! What plugins may ask for: `POST /mail {"to", "subject", "body"}`. A letter is a file in the outbox, for a mail server to fetch.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{fs::File, io::AsyncWriteExt};
use toru_core::http::PluginId;

/// The largest request: a letter in plain text, and no attachment.
const MAX_REQUEST: usize = 64 << 10;
/// The longest address (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS: usize = 254;
/// The longest subject, so that its line keeps to RFC 5322, 2.1.1.
const MAX_SUBJECT: usize = 900;
/// The letters of one plugin while this host runs: a plugin that has gone mad must not mail the world.
const MAX_LETTERS: u32 = 100;

/// A letter, as a plugin asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    to: String,
    subject: String,
    body: String,
}

/// What the plugin is told.
#[derive(Debug, Serialize)]
struct Sent {
    id: String,
}

#[derive(Debug)]
struct Outbox {
    folder: PathBuf,
    letters: Mutex<HashMap<PluginId, u32>>,
}

/// The service that writes letters into this folder, which is made.
pub(crate) async fn service(folder: PathBuf) -> io::Result<Router> {
    tokio::fs::create_dir_all(&folder).await?;
    let outbox = Outbox { folder, letters: Mutex::default() };
    Ok(Router::new()
        .route("/mail", post(send))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Arc::new(outbox)))
}

async fn send(
    State(outbox): State<Arc<Outbox>>,
    Extension(plugin): Extension<PluginId>,
    Json(letter): Json<Letter>,
) -> Result<Response, (StatusCode, String)> {
    letter.check().map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()))?;
    let number = outbox
        .next(&plugin)
        .ok_or_else(|| (StatusCode::TOO_MANY_REQUESTS, format!("a plugin may send {MAX_LETTERS} letters")))?;
    match outbox.write(&plugin, number, &letter).await {
        Ok(id) => {
            println!("{plugin} sends {id} to {}", letter.to);
            Ok((StatusCode::CREATED, Json(Sent { id })).into_response())
        }
        Err(error) => {
            eprintln!("{}: {error}", outbox.folder.display());
            Err((StatusCode::INTERNAL_SERVER_ERROR, "the letter could not be kept".to_owned()))
        }
    }
}

impl Letter {
    /// What stands in a header must not begin another one.
    fn check(&self) -> Result<(), &'static str> {
        let is_address = self.to.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@') && self.to.len() <= MAX_ADDRESS
        });
        if !is_address || !self.to.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>,;\"".contains(&byte)) {
            return Err("`to` must be one address, such as ann@example.org");
        }
        if self.subject.is_empty()
            || self.subject.len() > MAX_SUBJECT
            || self.subject.contains(char::is_control)
        {
            return Err("`subject` must be one line of 1 to 900 bytes");
        }
        Ok(())
    }
}

impl Outbox {
    /// The number of the plugin's next letter; none if it has sent its last.
    fn next(&self, plugin: &PluginId) -> Option<u32> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = letters.entry(plugin.clone()).or_default();
        if *sent == MAX_LETTERS {
            return None;
        }
        *sent += 1;
        Some(*sent)
    }

    /// Writes the letter whole, then gives it its name: whoever fetches it never sees half of one.
    async fn write(&self, plugin: &PluginId, number: u32, letter: &Letter) -> io::Result<String> {
        let now = Timestamp::now();
        let id = format!("{}-{plugin}-{number}", now.as_millisecond());
        let Letter { to, subject, body } = letter;
        let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
        // UTF-8 stands in headers as RFC 6532 has it.
        let head = format!(
            "From: {plugin}@plugins.invalid\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@plugins.invalid>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        );
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        let unnamed = self.folder.join(format!(".{id}"));
        let mut file = File::create(&unnamed).await?;
        file.write_all(head.as_bytes()).await?;
        file.write_all(body.as_bytes()).await?;
        file.sync_all().await?;
        tokio::fs::rename(unnamed, self.folder.join(format!("{id}.eml"))).await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(to: &str, subject: &str) -> bool {
        let letter = Letter { to: to.into(), subject: subject.into(), body: String::new() };
        letter.check().is_ok()
    }

    #[test]
    fn an_address_and_a_subject_begin_no_other_header() {
        assert!(check("ann@example.org", "Grüße"));
        for to in
            ["", "ann", "@example.org", "ann@", "a@b@c", "a@b, c@d", "a@b\r\nBcc: c@d", "<a@b>", "a b@c"]
        {
            assert!(!check(to, "s"), "{to:?}");
        }
        for subject in ["", "a\r\nBcc: c@d", "a\nb", &"s".repeat(901)] {
            assert!(!check("ann@example.org", subject), "{subject:?}");
        }
    }
}
