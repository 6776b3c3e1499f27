//! A link that was opened, and what it tells.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::link::{Link, LinkLost, LinkNews};

/// A link that was opened, and what it tells.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: Link,
    /// `None` once it has told its end.
    news: Option<mpsc::Receiver<LinkNews>>,
}

impl Line {
    pub(super) fn new((link, news): (Link, mpsc::Receiver<LinkNews>)) -> Self {
        Self { link, news: Some(news) }
    }

    /// Whether it has told its end.
    pub(super) fn is_lost(&self) -> bool {
        self.news.is_none()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkNews> {
        let Some(news) = &mut self.news else {
            return Poll::Pending;
        };
        let news = match news.poll_recv(cx) {
            Poll::Ready(Some(news)) => news,
            Poll::Ready(None) => LinkNews::Lost(LinkLost::Io("its driver has ended".to_owned())),
            Poll::Pending => return Poll::Pending,
        };
        if matches!(news, LinkNews::Lost(_)) {
            self.news = None;
        }
        Poll::Ready(news)
    }
}
