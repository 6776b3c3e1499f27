//! The files of a plugin's frontend, served by the host itself: a manifest with `frontend = "dist/"`.
//!
//! The plugin is not asked, nor started: its pages are there while it starts, waits after a crash, or has failed. What changes on
//! the disk is seen by the next request.
//!
//! | file | what it decides |
//! |---|---|
//! | `path` | which file a path names |
//! | `folder` | how a file is opened so that nothing outside is |
//! | `content` | the type of a file, what it may do in a browser, and its compressed forms |
//! | `digest` | the SHA-256 of a content, which is its ETag |
//! | `body` | how a file is read while it is sent |

mod body;
mod content;
mod digest;
mod folder;
mod path;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::file_identity::FileIdentity;
use content::{Coding, Content};
use digest::Digest;
use path::Wanted;

pub use body::{FrontendBody, FrontendBodyError};
pub(crate) use digest::Digests;
pub use folder::FrontendFolder;

/// The largest file, in bytes: a frontend is loaded by a browser, and larger media belong where ranges are served.
pub const MAX_FILE: u64 = 64 << 20;
/// Up to this size a file is read in the same step that opens it.
const WHOLE: u64 = 64 << 10;
/// How often a file that changes while it is read is looked at again: a build replaces each file once.
const LOOKS: usize = 3;
/// What a folder shows.
const INDEX: &str = "index.html";

/// The content under this name never changes (RFC 8246): it carries the content's own digest.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// Kept, but asked for before each use: the ETag says cheaply that it is the same.
const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Why there is no file. The embedder has its own form for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontendError {
    /// The client's path has `..`, an encoded `/`, an empty segment or the like.
    #[error(
        "the path has a segment or an escape that could be read as another path: send it in its normal form"
    )]
    BadPath,
    /// There is no such file, or it is hidden, or a link leads out of the folder, or others can write it (the log says which).
    #[error("the plugin's frontend has no such file")]
    NotFound,
    /// Files are only read.
    #[error("files are read by GET and HEAD")]
    MethodNotAllowed,
    /// The file is there but cannot be read, or is too large; the log says why.
    #[error("the file cannot be read; the host's log says why")]
    Unreadable,
}

impl FrontendError {
    /// The status that says so.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadPath => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The frontend of one plugin, to be asked for its files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frontend {
    folder: Arc<FrontendFolder>,
    digests: Arc<Digests>,
}

impl Frontend {
    pub(crate) fn new(folder: Arc<FrontendFolder>, digests: Arc<Digests>) -> Self {
        Self { folder, digests }
    }

    /// Answers a GET or HEAD request for a file. `path` is that of the request below the place where the embedder has the frontend,
    /// percent-encoded as it was received and without its first `/`: `assets/app.js`, or the empty text for `index.html`.
    ///
    /// The answer has a strong ETag (the SHA-256 of what is sent), a type, `nosniff` and a content security policy. Ranges are not
    /// served. No thread of the runtime is held up by the disk. Dropping the future gives the request up.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub async fn answer(&self, request: &Parts, path: &str) -> Result<Response<FrontendBody>, FrontendError> {
        if request.method != Method::GET && request.method != Method::HEAD {
            return Err(FrontendError::MethodNotAllowed);
        }
        let wanted = path::parse(path)?;
        let codings = content::accepted(&request.headers);
        let frontend = self.clone();
        let query = request.uri.query().map(str::to_owned);
        let looked = tokio::task::spawn_blocking(move || frontend.look(wanted, query.as_deref(), &codings));
        // Only a runtime that ends cancels it.
        let found = looked.await.map_err(|_| FrontendError::Unreadable)??;
        match found {
            Found::File(file) => Ok(file.into_response(request)),
            Found::Folder => to_folder(path, request.uri.query()),
        }
    }

    /// Finds and opens what is to be sent. Blocking.
    fn look(&self, wanted: Wanted, query: Option<&str>, codings: &[Coding]) -> Result<Found, FrontendError> {
        let folder = &*self.folder;
        let Wanted { mut name, is_folder } = wanted;
        if is_folder {
            name = if name.is_empty() { INDEX.to_owned() } else { format!("{name}/{INDEX}") };
        }
        let file = folder.open(&name)?;
        let metadata = file.metadata().map_err(|error| folder.unreadable(Path::new(&name), &error))?;
        if metadata.is_dir() && !is_folder {
            let index = folder.open(&format!("{name}/{INDEX}"))?;
            let has_index = index.metadata().is_ok_and(|found| found.is_file());
            return if has_index { Ok(Found::Folder) } else { Err(FrontendError::NotFound) };
        }
        if !metadata.is_file() {
            return Err(FrontendError::NotFound);
        }
        let content = content::of(&name);
        let original = FileIdentity::of(&metadata);
        let codings = if content.is_compressible { codings } else { &[] };
        let compressed = codings.iter().find_map(|&coding| {
            let file = folder.open(&format!("{name}{}", coding.suffix)).ok()?;
            let metadata = file.metadata().ok().filter(|found| found.is_file())?;
            // One that an earlier build has left tells of another content.
            FileIdentity::of(&metadata).is_as_new_as(&original).then_some((file, coding))
        });
        let unreadable = |error| folder.unreadable(Path::new(&name), &error);
        let (compressed, coding) = compressed.unzip();
        let is_named = digest::named_by(&name, query).next().is_some();
        // Its own digest is asked for by nobody where a compressed form is sent and the name carries none.
        let (digest, sent) = match compressed {
            None => {
                let sent = read(file, &self.digests).map_err(unreadable)?;
                (Some(sent.digest), sent)
            }
            Some(compressed) => {
                let own = is_named.then(|| read(file, &self.digests)).transpose().map_err(unreadable)?;
                (own.map(|own| own.digest), read(compressed, &self.digests).map_err(unreadable)?)
            }
        };
        let is_immutable = digest.is_some_and(|digest| digest.is_among(digest::named_by(&name, query)));
        Ok(Found::File(Box::new(Representation { content, coding, is_immutable, sent })))
    }
}

enum Found {
    File(Box<Representation>),
    /// It has an index, and its path lacks the `/` against which a browser resolves the names in it.
    Folder,
}

/// A file as it is sent.
struct Representation {
    content: Content,
    coding: Option<Coding>,
    is_immutable: bool,
    /// The file itself, or its compressed form.
    sent: Sent,
}

struct Sent {
    length: u64,
    digest: Digest,
    body: FrontendBody,
}

/// The digest of a file, and the file itself: both are of one content, or the body fails before its end.
fn read(mut file: File, digests: &Digests) -> io::Result<Sent> {
    for _ in 0..LOOKS {
        let identity = FileIdentity::of(&file.metadata()?);
        if identity.size() > MAX_FILE {
            let size = identity.size();
            return Err(io::Error::other(format!(
                "it has {size} bytes, and a frontend's file at most {MAX_FILE}"
            )));
        }
        let whole = if identity.size() <= WHOLE { Some(read_whole(&mut file)?) } else { None };
        let digest = match (digests.known(&identity), &whole) {
            (Some(digest), _) => digest,
            (None, Some(bytes)) => Digest::of(bytes),
            (None, None) => match Digest::of_file(&file, identity.size())? {
                Some(digest) => digest,
                None => continue,
            },
        };
        if FileIdentity::of(&file.metadata()?) == identity {
            digests.remember(identity, digest);
            let body = match whole {
                Some(bytes) => FrontendBody::whole(bytes.into()),
                None => FrontendBody::file(file, identity),
            };
            return Ok(Sent { length: identity.size(), digest, body });
        }
    }
    Err(io::Error::other("it changes while it is read"))
}

fn read_whole(file: &mut File) -> io::Result<Vec<u8>> {
    use std::io::Seek;
    file.rewind()?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(WHOLE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Representation {
    fn into_response(self, request: &Parts) -> Response<FrontendBody> {
        let etag = HeaderValue::try_from(format!("\"{}\"", self.sent.digest))
            .expect("hex digits are a header's text");
        let is_known = matches(&request.headers, etag.as_bytes());
        let mut response = Response::new(FrontendBody::empty());
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| headers.insert(name, value);
        set(header::ETAG, etag);
        set(header::CACHE_CONTROL, if self.is_immutable { IMMUTABLE } else { REVALIDATED });
        if self.content.is_compressible {
            set(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
        }
        set(header::CONTENT_SECURITY_POLICY, self.content.policy());
        set(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        set(header::CONTENT_TYPE, HeaderValue::from_static(self.content.content_type));
        set(header::CONTENT_LENGTH, HeaderValue::from(self.sent.length));
        set(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
        if let Some(coding) = self.coding {
            set(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name));
        }
        if request.method == Method::GET {
            *response.body_mut() = self.sent.body;
        }
        response
    }
}

/// Whether the client has this content already (RFC 9110, section 13.1.2: compared weakly).
fn matches(headers: &HeaderMap, etag: &[u8]) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|item| {
        let item = item.trim_ascii();
        item == b"*" || item.strip_prefix(b"W/").unwrap_or(item) == etag
    })
}

/// The same path with a `/` at its end, relative, because only the embedder knows what stands before it.
fn to_folder(path: &str, query: Option<&str>) -> Result<Response<FrontendBody>, FrontendError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(FrontendBody::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let location = HeaderValue::try_from(format!("./{name}/{query}")).map_err(|_| FrontendError::BadPath)?;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, REVALIDATED);
    Ok(response)
}
