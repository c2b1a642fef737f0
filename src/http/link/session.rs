//! `GET /link`: one node's link, from its certificate to its end.
//!
//! Messages of the node are taken in one after the other, so that a node that says more than the panel can write waits, and nobody else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::join::{denied, issue, refuse};
use super::{Door, Origin, Shown};
use crate::domain::nodes::{self, Denied, Heard};
use crate::model::ids::NodeId;
use crate::model::nodes::ClockReader;
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::wire::agent::FromNode;
use crate::wire::link::{CSR_BYTES_MAX, FRAME_BYTES_MAX, LinkDown, LinkUp, PULSE_SECS, Refused, SILENT_SECS, short_reason};

/// Messages that cannot be read, of one link; more, and it is ended.
pub const MALFORMED_MAX: u32 = 100;
/// Longest wait for a node to take a message.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// Between two certificates over one link, in milliseconds.
const RENEW_EVERY: i64 = 10 * SECOND;
/// Status of a close frame: the panel will not go on.
const POLICY: u16 = 1_008;
/// Status of a close frame: the panel stops.
const AWAY: u16 = 1_001;

/// `GET /link`
pub(super) async fn open(
    State(door): State<Arc<Door>>,
    Extension(Shown(peer)): Extension<Shown>,
    Extension(Origin(from)): Extension<Origin>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(peer) = peer else {
        return refuse(StatusCode::UNAUTHORIZED, "A link needs the certificate that a node gets when it joins");
    };
    // Listened for before the certificate is looked at, so that no order to end falls in between.
    let cuts = door.ctx.cut.subscribe();
    let admitted = match peer.node.parse::<NodeId>() {
        Ok(node) => nodes::admit(&door.ctx, &node, &peer.fingerprint).await.map(|_| node),
        Err(_) => Err(Denied::UnknownNode),
    };
    match admitted {
        Ok(node) => {
            tracing::info!(%node, %from, "a node is linked");
            let session = Session {
                door,
                node,
                fingerprint: peer.fingerprint,
                from,
                clock: ClockReader::default(),
                trip: 0,
                malformed: 0,
                renewed_at: None,
                heard_at: Instant::now(),
            };
            upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX).on_upgrade(move |socket| session.run(socket, cuts))
        }
        Err(why) => {
            tracing::warn!(node = peer.node, %from, reason = %why, "a node was turned away");
            denied(&why)
        }
    }
}

/// Why a link ends.
enum End {
    /// The node went, or its line broke.
    Gone(String),
    /// The panel ends it.
    Closed(u16, String),
}

fn closed(reason: impl Into<String>) -> End {
    End::Closed(POLICY, reason.into())
}

struct Session {
    door: Arc<Door>,
    node: NodeId,
    fingerprint: String,
    from: IpAddr,
    clock: ClockReader,
    /// The way there and back, in milliseconds.
    trip: i64,
    malformed: u32,
    renewed_at: Option<Millis>,
    heard_at: Instant,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket, cuts: broadcast::Receiver<NodeId>) {
        let Err(end) = self.talk(&mut socket, cuts).await;
        match end {
            End::Gone(reason) => tracing::info!(node = %self.node, reason, "the link of a node has ended"),
            End::Closed(code, reason) => {
                tracing::warn!(node = %self.node, reason, "the link of a node was ended");
                let frame = CloseFrame { code, reason: short_reason(&reason).into() };
                let _gone_already = timeout(SEND_WAIT, socket.send(Message::Close(Some(frame)))).await;
            }
        }
    }

    async fn talk(&mut self, socket: &mut WebSocket, mut cuts: broadcast::Receiver<NodeId>) -> Result<std::convert::Infallible, End> {
        let door = self.door.clone();
        let mut inbox = (door.settings.connect)(self.node.clone());
        if let Err(error) = nodes::greet(&door.ctx, &self.node).await {
            tracing::warn!(node = %self.node, error = &error as &dyn std::error::Error, "a node could not be greeted");
            return Err(End::Closed(AWAY, "The panel is busy; link again".to_owned()));
        }
        let mut pulse = interval(Duration::from_secs(PULSE_SECS));
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = door.settings.stop.cancelled() => return Err(End::Closed(AWAY, "The panel stops".to_owned())),
                cut = cuts.recv() => match cut {
                    Ok(node) if node != self.node => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => self.check().await?,
                    Err(RecvError::Closed) => return Err(End::Closed(AWAY, "The panel stops".to_owned())),
                },
                message = inbox.recv() => {
                    let message = message.ok_or_else(|| closed("Another link of this node has taken this one's place"))?;
                    match serde_json::to_string(&message) {
                        Ok(text) => send(socket, Message::Text(text.into())).await?,
                        Err(error) => tracing::error!(node = %self.node, error = &error as &dyn std::error::Error, "a message for a node could not be written"),
                    }
                }
                frame = socket.recv() => match frame {
                    Some(Ok(frame)) => self.hear(socket, frame).await?,
                    Some(Err(error)) => return Err(closed(format!("A frame that cannot be taken: {error}"))),
                    None => return Err(End::Gone("the line broke".to_owned())),
                },
                _ = pulse.tick() => {
                    if self.heard_at.elapsed() > Duration::from_secs(SILENT_SECS) {
                        return Err(End::Gone("nothing was heard for too long".to_owned()));
                    }
                    self.check().await?;
                    send(socket, Message::Ping(self.now().0.to_be_bytes().to_vec().into())).await?;
                }
            }
        }
    }

    fn now(&self) -> Millis {
        self.door.ctx.clock.now()
    }

    /// Does its certificate still count? A database that does not answer ends no link.
    async fn check(&self) -> Result<(), End> {
        match nodes::stands(&self.door.ctx, &self.node, &self.fingerprint).await {
            Ok(()) | Err(Denied::Panel(_)) => Ok(()),
            Err(why) => Err(closed(why.to_string())),
        }
    }

    async fn hear(&mut self, socket: &mut WebSocket, frame: Message) -> Result<(), End> {
        self.heard_at = Instant::now();
        match frame {
            Message::Text(text) => match serde_json::from_str::<FromNode>(&text) {
                Ok(message) => self.take(message).await,
                Err(error) => self.malformed(&error.to_string()),
            },
            Message::Binary(bytes) => match serde_json::from_slice::<LinkUp>(&bytes) {
                Ok(LinkUp::Renew { csr }) => self.renew(socket, &csr).await,
                Err(error) => self.malformed(&error.to_string()),
            },
            Message::Pong(bytes) => {
                if let Ok(sent) = <[u8; 8]>::try_from(bytes.as_ref()) {
                    self.trip = self.now().since(Millis(i64::from_be_bytes(sent))).min(MINUTE);
                }
                Ok(())
            }
            Message::Ping(_) => Ok(()),
            Message::Close(frame) => Err(End::Gone(frame.map_or_else(String::new, |frame| frame.reason.to_string()))),
        }
    }

    /// The first one is written down, and the one that is too many.
    fn malformed(&mut self, error: &str) -> Result<(), End> {
        self.malformed += 1;
        if self.malformed == 1 {
            tracing::warn!(node = %self.node, error, "a message of a node cannot be read; it is left out");
        }
        if self.malformed > MALFORMED_MAX {
            return Err(closed("Too many messages that cannot be read: update the agent"));
        }
        Ok(())
    }

    async fn take(&mut self, message: FromNode) -> Result<(), End> {
        let skew = match &message {
            FromNode::Heartbeat { at, .. } => Some(self.clock.read(*at, self.now(), self.trip)),
            FromNode::RegisterNode { .. } | FromNode::WantUrl { .. } | FromNode::LayersLook { .. } | FromNode::Event(_) => None,
        };
        let heard = Heard { skew, from: Some(self.from) };
        if let Err(error) = nodes::receive_linked(&self.door.ctx, &self.node, message, &heard).await {
            tracing::warn!(node = %self.node, error = &error as &dyn std::error::Error, "a report could not be taken in; the next heartbeat repeats it");
        }
        Ok(())
    }

    async fn renew(&mut self, socket: &mut WebSocket, csr: &str) -> Result<(), End> {
        let now = self.now();
        let answer = if self.renewed_at.is_some_and(|at| now.since(at) < RENEW_EVERY) {
            LinkDown::NotRenewed(Refused { reason: "That was asked a moment ago".to_owned() })
        } else {
            self.renewed_at = Some(now);
            match self.certify(csr).await {
                Ok(answer) => answer,
                Err(reason) => {
                    tracing::warn!(node = %self.node, reason, "a certificate was not renewed");
                    LinkDown::NotRenewed(Refused { reason })
                }
            }
        };
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        send(socket, Message::Binary(bytes.into())).await
    }

    async fn certify(&self, csr: &str) -> Result<LinkDown, String> {
        if csr.len() > CSR_BYTES_MAX {
            return Err("The request for a certificate is too large".to_owned());
        }
        let (certificate, issued, _) = issue(&self.door, self.node.as_str(), csr).map_err(|error| error.to_string())?;
        nodes::renew(&self.door.ctx, &self.node, &self.fingerprint, &certificate).await.map_err(|why| why.to_string())?;
        tracing::info!(node = %self.node, until = %certificate.until, "a node has its next certificate");
        Ok(LinkDown::Certificate(issued))
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(SEND_WAIT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Gone(error.to_string())),
        Err(_) => Err(End::Gone("it takes no messages".to_owned())),
    }
}
