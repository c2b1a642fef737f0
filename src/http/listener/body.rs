//! Bodies with a pace: one of a request that has to come, and one of an answer that has to be taken.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Request;
use super::{BODY_BYTES_PER_SEC, Shared};

/// The body of a request stalled, or came too slowly.
#[derive(Debug)]
pub(super) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request came too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// A body on its way in. Only time that is spent waiting for it counts, so that a handler may take its own.
pub(super) struct Coming {
    body: Incoming,
    shared: Arc<Shared>,
    came: u64,
    waited: Duration,
    waits_since: Option<Instant>,
    until: Option<Pin<Box<Sleep>>>,
}

impl Coming {
    pub fn new(body: Incoming, shared: Arc<Shared>) -> Coming {
        Coming { body, shared, came: 0, waited: Duration::ZERO, waits_since: None, until: None }
    }

    fn allowed(&self) -> Duration {
        self.shared.waits.body + Duration::from_secs(self.came / BODY_BYTES_PER_SEC)
    }
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.until = None;
            this.waited += this.waits_since.take().map(|since| since.elapsed()).unwrap_or_default();
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                this.came += data.len() as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let since = *this.waits_since.get_or_insert_with(Instant::now);
        let until = since + this.allowed().saturating_sub(this.waited);
        let sleep = this.until.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(sleep.as_mut().poll(cx));
        this.shared.refusals.add("body", "a body came too slowly");
        Poll::Ready(Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body on its way out.
pub(super) struct Going {
    body: Body,
    request: Request,
}

impl Going {
    pub fn new(body: Body, request: Request) -> Going {
        Going { body, request }
    }
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.request.asked();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            self.request.handed_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
