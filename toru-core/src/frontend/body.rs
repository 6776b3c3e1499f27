//! A file on its way to the client.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::file_identity::FileIdentity;

/// What is read at once: large enough that a thread's switch costs little beside it.
const CHUNK: u64 = 256 << 10;

/// The body of a frontend's file. A large one is read as the client takes it, off the threads that serve.
#[derive(Debug)]
pub struct FrontendBody(Source);

#[derive(Debug)]
enum Source {
    /// Here, or at its end.
    Whole(Option<Bytes>),
    File(Reading),
}

#[derive(Debug)]
struct Reading {
    file: Arc<File>,
    /// What it was when its digest was told.
    identity: FileIdentity,
    offset: u64,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

/// The file has changed while it was sent, or cannot be read on. The client's connection is to be cut, so that what came does not
/// look whole.
#[derive(Debug, thiserror::Error)]
#[error("the file could not be sent whole")]
pub struct FrontendBodyError(#[source] io::Error);

impl FrontendBody {
    pub(super) fn empty() -> Self {
        Self(Source::Whole(None))
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn file(file: File, identity: FileIdentity) -> Self {
        Self(Source::File(Reading { file: Arc::new(file), identity, offset: 0, next: None }))
    }
}

impl Reading {
    fn left(&self) -> u64 {
        self.identity.size() - self.offset
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let next = self.next.get_or_insert_with(|| {
            let (file, identity, offset) = (self.file.clone(), self.identity, self.offset);
            tokio::task::spawn_blocking(move || read(&file, &identity, offset))
        });
        // Only a runtime that ends cancels it.
        let read = ready!(Pin::new(next).poll(cx)).unwrap_or_else(|error| Err(io::Error::other(error)));
        self.next = None;
        if let Ok(bytes) = &read {
            self.offset += bytes.len() as u64;
        }
        Poll::Ready(Some(read))
    }
}

/// The next bytes; the last ones only if all of them were of the content whose digest was told.
fn read(file: &File, identity: &FileIdentity, offset: u64) -> io::Result<Bytes> {
    let left = identity.size() - offset;
    let count = usize::try_from(left.min(CHUNK)).expect("a chunk is smaller than the memory");
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, offset)?;
    if left <= CHUNK && !FileIdentity::of(&file.metadata()?).has_content_of(identity) {
        return Err(io::Error::other("it has changed while it was read"));
    }
    Ok(bytes.into())
}

impl Body for FrontendBody {
    type Data = Bytes;
    type Error = FrontendBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FrontendBodyError>>> {
        match &mut self.0 {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::File(reading) => {
                let next = ready!(reading.poll(cx));
                Poll::Ready(next.map(|read| read.map(Frame::data).map_err(FrontendBodyError)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::File(reading) => reading.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Source::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Source::File(reading) => reading.left(),
        })
    }
}
