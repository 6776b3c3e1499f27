//! What makes two looks at a file see the same file with the same content.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// A file and its last change. A change within the clock's resolution, that leaves the size, is the one that it cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the content is still that of `other`, although its name may be gone.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }

    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the content is of this time or later (seconds and nanoseconds since 1970).
    pub(crate) fn is_as_new_as(&self, other: &Self) -> bool {
        self.modified >= other.modified
    }

    /// The second, since 1970, of the last change of content, name or permissions.
    pub(crate) fn changed_second(&self) -> i64 {
        self.changed.0
    }
}
