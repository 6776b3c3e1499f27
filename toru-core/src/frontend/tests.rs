//! Whole answers, from files that a test changes.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use tempfile::TempDir;

use super::*;

/// A plugin's folder with `dist/`, and one file beside it that is nobody's business.
struct Place {
    folder: TempDir,
    frontend: Frontend,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let served = FrontendFolder {
            plugin: folder.path().canonicalize().unwrap(),
            name: "dist".into(),
            refuses_writable: true,
        };
        let place = Self { frontend: Frontend::new(Arc::new(served), Arc::default()), folder };
        place.write("../secret", b"secret");
        place.write("index.html", b"<title>index</title>");
        place.write("assets/app.js", b"abc");
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("dist").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.path("assets")).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// Dates a file so many seconds after the first of the folder.
    fn date(&self, name: &str, later: u64) {
        let first = fs::metadata(self.path("index.html")).unwrap().modified().unwrap();
        let file = fs::File::options().append(true).open(self.path(name)).unwrap();
        file.set_modified(first + std::time::Duration::from_secs(later)).unwrap();
    }

    async fn ask(
        &self,
        request: http::request::Builder,
        path: &str,
    ) -> Result<Response<FrontendBody>, FrontendError> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        self.frontend.answer(&parts, path).await
    }

    async fn get(&self, path: &str) -> Result<Response<FrontendBody>, FrontendError> {
        self.ask(Request::get(format!("/{path}")), path).await
    }

    /// What is served to a client that accepts this coding.
    async fn coded(&self, path: &str, coding: &str) -> (Option<String>, String) {
        let answer = self.ask(Request::get("/").header("accept-encoding", coding), path).await.unwrap();
        let coding = answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (coding, text(answer).await)
    }
}

async fn text(answer: Response<FrontendBody>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header<'a>(answer: &'a Response<FrontendBody>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_file_comes_whole_with_its_type_and_the_digest_of_its_content() {
    let place = Place::new();
    let answer = place.get("assets/app.js").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header(&answer, "content-type"), "text/javascript; charset=utf-8");
    // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    let digest = "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"";
    assert_eq!(header(&answer, "etag"), digest);
    assert_eq!(header(&answer, "content-length"), "3");
    assert_eq!(header(&answer, "cache-control"), "private, no-cache");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    assert_eq!(header(&answer, "accept-ranges"), "none");
    assert_eq!(header(&answer, "vary"), "accept-encoding");
    assert_eq!(text(answer).await, "abc");
}

#[tokio::test]
async fn a_client_that_has_it_gets_304_and_head_gets_no_body() {
    let place = Place::new();
    let etag = header(&place.get("assets/app.js").await.unwrap(), "etag").to_owned();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer =
            place.ask(Request::get("/").header("if-none-match", known), "assets/app.js").await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&answer, "etag"), etag);
        assert!(answer.body().is_end_stream() && !answer.headers().contains_key("content-length"));
    }
    let answer =
        place.ask(Request::get("/").header("if-none-match", "\"x\""), "assets/app.js").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = place.ask(Request::head("/"), "assets/app.js").await.unwrap();
    assert_eq!((answer.status(), header(&answer, "content-length")), (StatusCode::OK, "3"));
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn a_change_is_seen_at_once_though_it_keeps_the_size() {
    let place = Place::new();
    let mut etags = Vec::new();
    for content in [b"abc", b"abd", b"abe"] {
        place.write("assets/app.js", content);
        let answer = place.get("assets/app.js").await.unwrap();
        etags.push(header(&answer, "etag").to_owned());
        assert_eq!(text(answer).await.as_bytes(), content);
    }
    etags.dedup();
    assert_eq!(etags.len(), 3);
}

#[tokio::test]
async fn a_name_or_query_with_the_contents_own_digest_is_kept_for_ever() {
    let place = Place::new();
    place.write("assets/app.ba7816bf.js", b"abc");
    place.write("assets/other.ba7816bf.js", b"changed since");
    let cached = async |path: &str, uri: &str| {
        let answer = place.ask(Request::get(uri), path).await.unwrap();
        header(&answer, "cache-control").contains("immutable")
    };
    assert!(cached("assets/app.ba7816bf.js", "/").await);
    assert!(cached("assets/app.js", "/?v=ba7816bf8f01cfea").await);
    assert!(!cached("assets/app.js", "/?v=00000000").await);
    assert!(!cached("assets/other.ba7816bf.js", "/").await, "the name lies");
}

#[tokio::test]
async fn a_folder_is_its_index_and_nothing_is_listed() {
    let place = Place::new();
    for path in ["", "index.html"] {
        assert_eq!(text(place.get(path).await.unwrap()).await, "<title>index</title>");
    }
    assert_eq!(place.get("assets/").await.unwrap_err(), FrontendError::NotFound);
    assert_eq!(place.get("assets").await.unwrap_err(), FrontendError::NotFound);
    assert_eq!(place.get("index.html/").await.unwrap_err(), FrontendError::NotFound);
    place.write("assets/index.html", b"assets");
    let answer = place.ask(Request::get("/x?a=b"), "assets").await.unwrap();
    assert_eq!(
        (answer.status(), header(&answer, "location")),
        (StatusCode::PERMANENT_REDIRECT, "./assets/?a=b")
    );
    assert_eq!(text(place.get("assets/").await.unwrap()).await, "assets");
}

#[tokio::test]
async fn nothing_outside_hidden_or_special_is_served() {
    let place = Place::new();
    place.write(".env", b"secret");
    symlink("../secret", place.path("linked")).unwrap();
    symlink("assets/app.js", place.path("app.js")).unwrap();
    symlink("..", place.path("up")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for path in [".env", "%2eenv", "linked", "up/secret", "pipe", "none.js"] {
        assert_eq!(place.get(path).await.unwrap_err(), FrontendError::NotFound, "{path}");
    }
    for path in
        ["../secret", "%2e%2e/secret", "..%2fsecret", "assets/../../secret", "/etc/passwd", "a%00", "a\\b"]
    {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        assert_eq!(place.frontend.answer(&parts, path).await.unwrap_err(), FrontendError::BadPath, "{path}");
    }
    assert_eq!(text(place.get("app.js").await.unwrap()).await, "abc", "a link that stays inside");
    assert_eq!(
        place.ask(Request::post("/"), "index.html").await.unwrap_err(),
        FrontendError::MethodNotAllowed
    );
}

#[tokio::test]
async fn a_file_that_others_can_write_is_not_served() {
    let place = Place::new();
    fs::set_permissions(place.path("index.html"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(place.get("").await.unwrap_err(), FrontendError::NotFound);
}

#[tokio::test]
async fn a_compressed_form_is_sent_to_who_takes_it_unless_it_is_older() {
    let place = Place::new();
    place.write("assets/app.js.gz", b"gz");
    place.write("assets/app.js.br", b"br");
    assert_eq!(place.coded("assets/app.js", "gzip, br").await, (Some("br".into()), "br".into()));
    assert_eq!(place.coded("assets/app.js", "gzip").await, (Some("gzip".into()), "gz".into()));
    assert_eq!(place.coded("assets/app.js", "identity").await, (None, "abc".into()));
    let plain = header(&place.get("assets/app.js").await.unwrap(), "etag").to_owned();
    let request = Request::get("/?v=ba7816bf8f").header("accept-encoding", "gzip");
    let coded = place.ask(request, "assets/app.js").await.unwrap();
    assert_ne!(header(&coded, "etag"), plain, "another form has another tag");
    assert_eq!(header(&coded, "content-type"), "text/javascript; charset=utf-8");
    assert!(header(&coded, "cache-control").contains("immutable"), "the name is that of the plain form");
    // A build that writes no compressed forms leaves those of the one before.
    place.date("assets/app.js", 60);
    assert_eq!(place.coded("assets/app.js", "gzip, br").await, (None, "abc".into()));
}

#[tokio::test]
async fn a_large_file_is_streamed_and_one_above_the_bound_refused() {
    let place = Place::new();
    let content: Vec<u8> = (0..600_001_u32).map(|number| number as u8).collect();
    place.write("assets/film.mp4", &content);
    let answer = place.get("assets/film.mp4").await.unwrap();
    assert_eq!(header(&answer, "content-length"), "600001");
    assert_eq!(answer.body().size_hint().exact(), Some(600_001));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), content);
    place.write("assets/huge.mp4", b"");
    fs::File::options()
        .write(true)
        .open(place.path("assets/huge.mp4"))
        .unwrap()
        .set_len(MAX_FILE + 1)
        .unwrap();
    assert_eq!(place.get("assets/huge.mp4").await.unwrap_err(), FrontendError::Unreadable);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_is_cut() {
    let place = Place::new();
    place.write("assets/film.mp4", &vec![1; 600_000]);
    let changed = place.get("assets/film.mp4").await.unwrap().into_body();
    place.write("assets/film.mp4", &vec![2; 600_000]);
    // The clock of some kernels ticks more slowly than this test runs.
    place.date("assets/film.mp4", 60);
    assert!(changed.collect().await.is_err(), "the new content under the old tag");
    let shortened = place.get("assets/film.mp4").await.unwrap().into_body();
    place.write("assets/film.mp4", &vec![2; 300_000]);
    assert!(shortened.collect().await.is_err());
    // A build that puts a new file in its place disturbs nobody.
    let replaced = place.get("assets/film.mp4").await.unwrap().into_body();
    place.write("assets/new", b"new");
    fs::rename(place.path("assets/new"), place.path("assets/film.mp4")).unwrap();
    assert_eq!(replaced.collect().await.unwrap().to_bytes(), vec![2; 300_000]);
    assert_eq!(text(place.get("assets/film.mp4").await.unwrap()).await, "new");
}

#[tokio::test]
async fn a_folder_that_is_built_anew_is_served_from_then_on() {
    let place = Place::new();
    fs::rename(place.path(""), place.folder.path().join("old")).unwrap();
    assert_eq!(place.get("").await.unwrap_err(), FrontendError::NotFound);
    place.write("index.html", b"new");
    assert_eq!(text(place.get("").await.unwrap()).await, "new");
    fs::remove_dir_all(place.path("")).unwrap();
    symlink(place.folder.path().parent().unwrap(), place.folder.path().join("dist")).unwrap();
    assert_eq!(place.get("").await.unwrap_err(), FrontendError::NotFound, "the folder itself leads out");
}
