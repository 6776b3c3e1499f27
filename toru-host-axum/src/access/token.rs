//! The admin token: who bears it may do everything.

use std::{
    fmt,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::rand::GetRandomFlags;
use subtle::ConstantTimeEq;

/// The file's name in the data folder.
const FILE_NAME: &str = "admin-token";
/// Long enough for any generator, short enough for a header.
const MAX_LEN: usize = 512;
/// A token that people made up: below this it can be guessed, and [`AdminToken::is_short`] says so.
const SHORT: usize = 16;

/// The secret that opens the host: a text of the characters that RFC 6750 allows for a bearer token.
///
/// `Debug` does not show it.
#[derive(Clone)]
pub struct AdminToken(Box<str>);

/// Why there is no admin token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is no token.
    #[error("the admin token {0}; use 1 to {MAX_LEN} letters, digits and `-._~+/=`")]
    Invalid(&'static str),
    /// The file cannot be used; the message names the path and the remedy.
    #[error("{path}: {message}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for the admin token: {0}")]
    Random(#[source] io::Error),
}

impl AdminToken {
    /// Takes a token that the operator chose.
    ///
    /// # Errors
    /// It is empty, too long, or holds a character that RFC 6750 does not allow.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        match text {
            "" => Err(TokenError::Invalid("is empty")),
            _ if text.len() > MAX_LEN => Err(TokenError::Invalid("is too long")),
            _ if !text.chars().all(allowed) => {
                Err(TokenError::Invalid("holds a character that is not allowed"))
            }
            _ => Ok(Self(text.into())),
        }
    }

    /// Reads `<data_dir>/admin-token`, or makes it (mode 0600) with 256 random bits. Blocking.
    ///
    /// # Errors
    /// The file cannot be read or made, holds no token, or may be read by other users.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, TokenError> {
        let path = Self::file(data_dir);
        if let Some(token) = read(&path)? {
            return Ok(token);
        }
        create(data_dir, &path)?;
        // Whoever was first has written it, this process or another one.
        read(&path)?.ok_or_else(|| file_error(&path, "it was removed while it was being made; start again"))
    }

    /// Where [`load_or_create`](Self::load_or_create) keeps it.
    #[must_use]
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Whether this is the token. Takes as long for a wrong text as for the right one of the same length.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Whether it is so short that it can be guessed; worth a warning.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// 256 random bits as text.
pub(crate) fn random_secret() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    // Up to 256 bytes come whole and uninterrupted (getrandom(2)).
    let filled = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    if filled < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn file_error(path: &Path, message: impl Into<String>) -> TokenError {
    TokenError::File { path: path.to_owned(), message: message.into() }
}

fn read(path: &Path) -> Result<Option<AdminToken>, TokenError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(path, format!("cannot be read: {error}"))),
    };
    let mode = file.metadata().map_err(|error| file_error(path, error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let message =
            format!("other users may read the admin token (mode {:o}); run `chmod 600` on it", mode & 0o777);
        return Err(file_error(path, message));
    }
    let mut text = String::new();
    file.take(MAX_LEN as u64 + 2)
        .read_to_string(&mut text)
        .map_err(|error| file_error(path, format!("cannot be read: {error}")))?;
    AdminToken::new(text.trim_end())
        .map(Some)
        .map_err(|error| file_error(path, format!("{error}; remove the file to have a new one made")))
}

/// Writes the file beside its place and links it in, so that nobody ever reads half a token.
fn create(data_dir: &Path, path: &Path) -> Result<(), TokenError> {
    let secret = random_secret().map_err(TokenError::Random)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| file_error(data_dir, format!("the data folder cannot be made: {error}")))?;
    let draft = data_dir.join(format!("{FILE_NAME}.{}", std::process::id()));
    let written =
        write_private(&draft, &URL_SAFE_NO_PAD.encode(secret)).and_then(|()| link_unless_there(&draft, path));
    // The draft's name is no longer needed, whether or not it became the token.
    let _ = fs::remove_file(&draft);
    written.map_err(|error| {
        file_error(path, format!("cannot be written: {error}; is the data folder writable?"))
    })
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn link_unless_there(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_kept_private_and_read_again() {
        let data = tempfile::tempdir().unwrap();
        let made = AdminToken::load_or_create(data.path()).unwrap();
        let again = AdminToken::load_or_create(data.path()).unwrap();
        assert_eq!(made.reveal(), again.reveal());
        assert_eq!(URL_SAFE_NO_PAD.decode(made.reveal()).unwrap().len(), 32);
        let mode = fs::metadata(AdminToken::file(data.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "the draft is gone");
    }

    #[test]
    fn a_token_file_that_others_may_read_is_refused_with_the_remedy() {
        let data = tempfile::tempdir().unwrap();
        let path = AdminToken::file(data.path());
        fs::write(&path, "0123456789abcdef").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = AdminToken::load_or_create(data.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_token_file_is_named_and_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = AdminToken::file(data.path());
        write_private(&path, "two words").unwrap();
        let error = AdminToken::load_or_create(data.path()).unwrap_err().to_string();
        assert!(error.contains("admin-token"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two words\n");
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = AdminToken::new("abcdefghijklmnop").unwrap();
        assert!(token.matches(b"abcdefghijklmnop"));
        assert!(!token.matches(b"abcdefghijklmno"));
        assert!(!token.matches(b"abcdefghijklmnopq"));
        assert!(!token.matches(b"abcdefghijklmnoP"));
        assert!(!token.matches(b""));
    }

    #[test]
    fn a_chosen_token_has_the_characters_of_a_bearer_token() {
        assert!(AdminToken::new("").is_err());
        assert!(AdminToken::new("with space").is_err());
        assert!(AdminToken::new("line\nbreak").is_err());
        assert!(AdminToken::new(&"x".repeat(MAX_LEN + 1)).is_err());
        assert!(AdminToken::new("a+b/c=").unwrap().is_short());
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert_eq!(format!("{:?}", AdminToken::new("secret").unwrap()), "AdminToken(…)");
    }
}
