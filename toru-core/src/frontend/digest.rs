//! What a file's content is, in one text: its SHA-256.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

use crate::file_identity::FileIdentity;

/// How many are remembered: the files of a hundred frontends. One costs less than 100 bytes, and all are forgotten at once.
const REMEMBERED: usize = 4_096;
/// A file that was changed less than so many seconds ago may change again within the same tick of the clock, which would not be
/// seen: it is looked at each time.
const SETTLED_SECONDS: i64 = 2;
/// What is read at once.
const CHUNK: usize = 64 << 10;
/// The fewest digits that are taken for a content's own: that fewer are equal by chance is too likely.
const FEWEST_DIGITS: usize = 8;

/// The SHA-256 of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads so many bytes of the file and no more, however it may grow meanwhile; `None`: it has fewer. Blocking.
    pub(super) fn of_file(file: &File, size: u64) -> io::Result<Option<Self>> {
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let mut offset = 0;
        while offset < size {
            let wanted = usize::try_from(size - offset).map_or(CHUNK, |left| left.min(CHUNK));
            match file.read_at(&mut chunk[..wanted], offset)? {
                0 => return Ok(None),
                count => {
                    hasher.update(&chunk[..count]);
                    offset += count as u64;
                }
            }
        }
        Ok(Some(Self(hasher.finalize().into())))
    }

    /// Whether one of these is the digest, or its first digits.
    pub(super) fn is_among<'a>(&self, mut named: impl Iterator<Item = &'a str>) -> bool {
        let text = self.to_string();
        named.any(|part| text.get(..part.len()).is_some_and(|digits| digits.eq_ignore_ascii_case(part)))
    }
}

/// What in the name of a file, or as the `v` of a query, can be a content's digest or its first digits: under a name that carries its
/// content's digest there is never another content.
pub(super) fn named_by<'a>(name: &'a str, query: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let versions =
        query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("v="));
    let is_digest =
        |part: &&str| part.len() >= FEWEST_DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    file.split(['.', '-', '_']).chain(versions).filter(is_digest)
}

/// The digests of files that were read already.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<HashMap<FileIdentity, [u8; 32]>>);

impl Digests {
    pub(super) fn known(&self, identity: &FileIdentity) -> Option<Digest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied().map(Digest)
    }

    pub(super) fn remember(&self, identity: FileIdentity, digest: Digest) {
        if !is_settled(&identity) {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(identity, digest.0);
    }
}

fn is_settled(identity: &FileIdentity) -> bool {
    // A clock before 1970 settles nothing.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    now.saturating_sub(identity.changed_second()) > SETTLED_SECONDS
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_has_the_digest_of_its_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content = vec![7; CHUNK + 1];
        fs::write(file.path(), &content).unwrap();
        let file = File::open(file.path()).unwrap();
        let size = content.len() as u64;
        assert_eq!(Digest::of_file(&file, size).unwrap(), Some(Digest::of(&content)));
        assert_eq!(Digest::of_file(&file, size + 1).unwrap(), None, "it has been cut");
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
    }

    #[test]
    fn a_file_that_never_ends_is_read_as_far_as_it_was_seen() {
        let endless = File::open("/dev/zero").unwrap();
        let seen = CHUNK + 1;
        let digest = Digest::of_file(&endless, seen as u64).unwrap();
        assert_eq!(digest, Some(Digest::of(&vec![0; seen])));
    }

    #[test]
    fn a_name_or_a_query_carries_it_with_eight_digits_or_more() {
        let digest = Digest::of(b"abc");
        for (name, query) in [
            ("app.ba7816bf.js", None),
            ("a/app-BA7816BF8F01.js", None),
            ("app_ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.js", None),
            ("app.js", Some("x=1&v=ba7816bf8f")),
        ] {
            assert!(digest.is_among(named_by(name, query)), "{name} {query:?}");
        }
        for (name, query) in [
            ("app.ba7816b.js", None),
            ("app.ba7816be.js", None),
            ("ba7816bf/app.js", None),
            ("app.js", Some("ba7816bf8f")),
            ("app.js", Some("w=ba7816bf8f&v=")),
            ("app.js", None),
        ] {
            assert!(!digest.is_among(named_by(name, query)), "{name} {query:?}");
        }
    }

    #[test]
    fn what_was_changed_just_now_is_not_remembered() {
        let digests = Digests::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        let fresh = FileIdentity::of(&fs::metadata(file.path()).unwrap());
        digests.remember(fresh, Digest::of(b""));
        assert_eq!(digests.known(&fresh), None);
        let settled = FileIdentity::of(&fs::metadata("/bin/sh").unwrap());
        digests.remember(settled, Digest::of(b""));
        assert_eq!(digests.known(&settled), Some(Digest::of(b"")));
    }
}
