//! Holding the line: dials, passes messages both ways, renews the certificate in time, and dials again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::dial::{self, Socket};
use super::{Identity, Keep, LinkError, Pace};
use crate::model::ids::NodeId;
use crate::model::time::Clock;
use crate::trust::{Key, TrustError};
use crate::wire::agent::{FromNode, ToNode};
use crate::wire::link::{FRAME_BYTES_MAX, LinkDown, LinkUp, PULSE_SECS, SILENT_SECS};

/// Longest wait for the panel to take a message.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// A link that has stood for this long was a good one: the waits begin anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// Longest wait for the end of the line to be said.
const BYE_WAIT: Duration = Duration::from_secs(1);

/// The line of one agent.
pub struct Line {
    /// Who the agent is, as long as it runs.
    pub node: NodeId,
    /// What the machine keeps of its panel; read anew for each dialling, so that joining anew counts at once.
    pub keep: Keep,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// How often things are tried.
    pub pace: Pace,
    /// The agent's way in.
    pub to_agent: mpsc::Sender<ToNode>,
    /// The agent's way out.
    pub from_agent: mpsc::Receiver<FromNode>,
    /// The end.
    pub stop: CancellationToken,
}

/// Why a link is over.
enum Over {
    /// The agent ends.
    Stop,
    /// It is dialled at once with the next certificate.
    Renewed,
    /// It is dialled again after a wait.
    Lost(String),
}

/// A key that waits for its certificate.
struct Asked {
    key: Key,
    at: Instant,
}

impl Line {
    /// Until the agent ends.
    pub async fn hold(mut self) {
        let mut wait = self.pace.first;
        loop {
            let began = Instant::now();
            let over = match self.dial().await {
                None => return,
                Some(Ok((socket, identity))) => {
                    tracing::info!(node = %identity.node, panel = identity.address, "linked to the panel");
                    self.talk(socket, &identity).await
                }
                Some(Err(error)) => Over::Lost(words(&error)),
            };
            if began.elapsed() >= GOOD_AFTER {
                wait = self.pace.first;
            }
            match over {
                Over::Stop => return,
                Over::Renewed => {}
                Over::Lost(reason) => {
                    let pause = jittered(wait);
                    tracing::warn!(reason, again_in_ms = pause.as_millis(), "no link to the panel; what runs here plays on");
                    if self.idle(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    wait = (wait * 2).min(self.pace.most);
                }
            }
        }
    }

    /// Waits, and drops what the agent says meanwhile. None: the agent ends.
    async fn idle<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                done = &mut waiting => return Some(done),
                said = self.from_agent.recv() => drop(said?),
            }
        }
    }

    /// With the next certificate where there is one. One that the panel does not take is forgotten, and the one before counts.
    async fn dial(&mut self) -> Option<Result<(Socket, Identity), LinkError>> {
        let (node, keep, clock) = (self.node.clone(), self.keep.clone(), self.clock.clone());
        let dialling = async move {
            let (identity, is_next) = keep.best(&*clock)?;
            if identity.node != node {
                return Err(LinkError::Another(identity.node));
            }
            match dial::link(&identity, &*clock).await {
                Ok(socket) => {
                    if is_next {
                        keep.promote()?;
                    }
                    Ok((socket, identity))
                }
                Err(LinkError::Refused(reason)) if is_next => {
                    tracing::warn!(reason, "the panel does not take the next certificate; the one before is used");
                    keep.drop_next()?;
                    let identity = keep.current()?.ok_or(LinkError::NotJoined)?;
                    Ok((dial::link(&identity, &*clock).await?, identity))
                }
                Err(error) => Err(error),
            }
        };
        self.idle(Box::pin(dialling)).await
    }

    async fn talk(&mut self, mut socket: Socket, identity: &Identity) -> Over {
        let mut heard_at = Instant::now();
        let mut asked = None;
        let mut pulse = every(Duration::from_secs(PULSE_SECS));
        let mut look = every(self.pace.look);
        let over = loop {
            tokio::select! {
                () = self.stop.cancelled() => break Over::Stop,
                said = self.from_agent.recv() => {
                    let Some(said) = said else { break Over::Stop };
                    if let Err(over) = say(&mut socket, &said).await {
                        break over;
                    }
                }
                frame = socket.next() => {
                    heard_at = Instant::now();
                    let taken = match frame {
                        None => Err(Over::Lost("the line broke".to_owned())),
                        Some(Err(error)) => Err(Over::Lost(error.to_string())),
                        Some(Ok(frame)) => self.take(frame, identity, &mut asked).await,
                    };
                    if let Err(over) = taken {
                        break over;
                    }
                }
                _ = pulse.tick() => {
                    if heard_at.elapsed() > Duration::from_secs(SILENT_SECS) {
                        break Over::Lost("nothing was heard for too long".to_owned());
                    }
                    if let Err(over) = send(&mut socket, Message::Ping(Vec::new().into())).await {
                        break over;
                    }
                }
                _ = look.tick() => {
                    if let Err(over) = self.renew_in_time(&mut socket, identity, &mut asked).await {
                        break over;
                    }
                }
            }
        };
        let _gone_already = timeout(BYE_WAIT, socket.close(None)).await;
        over
    }

    async fn take(&mut self, frame: Message, identity: &Identity, asked: &mut Option<Asked>) -> Result<(), Over> {
        match frame {
            Message::Text(text) => match serde_json::from_str::<ToNode>(&text) {
                Ok(message) => self.to_agent.send(message).await.map_err(|_| Over::Stop),
                Err(error) => {
                    tracing::warn!(%error, "a message of the panel cannot be read; it is left out");
                    Ok(())
                }
            },
            Message::Binary(bytes) => match serde_json::from_slice::<LinkDown>(&bytes) {
                Ok(LinkDown::Certificate(issued)) => {
                    let Some(asked) = asked.take() else { return Ok(()) };
                    let (certificate, from, until) = (issued.certificate, issued.from, issued.until);
                    let next = Identity { certificate, key: asked.key.pem(), from, until, ..identity.clone() };
                    self.keep.set_next(&next).map_err(|error| Over::Lost(words(&error)))?;
                    tracing::info!(until = %next.until, "the next certificate is here; linking with it");
                    Err(Over::Renewed)
                }
                Ok(LinkDown::NotRenewed(refused)) => {
                    *asked = None;
                    tracing::warn!(reason = refused.reason, "the certificate was not renewed; it is asked again");
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(%error, "a message of the panel cannot be read; it is left out");
                    Ok(())
                }
            },
            Message::Close(frame) => Err(Over::Lost(frame.map_or_else(String::new, |frame| frame.reason.to_string()))),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn renew_in_time(&self, socket: &mut Socket, identity: &Identity, asked: &mut Option<Asked>) -> Result<(), Over> {
        let waits = asked.as_ref().is_some_and(|asked| asked.at.elapsed() < Duration::from_secs(SILENT_SECS));
        if waits || !identity.is_old(self.clock.now()) {
            return Ok(());
        }
        let made = Key::make().and_then(|key| Ok::<_, TrustError>((key.request()?, key)));
        let (csr, key) = match made {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no key could be made for the next certificate");
                return Ok(());
            }
        };
        *asked = Some(Asked { key, at: Instant::now() });
        let bytes = serde_json::to_vec(&LinkUp::Renew { csr }).unwrap_or_default();
        send(socket, Message::Binary(bytes.into())).await
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn say(socket: &mut Socket, said: &FromNode) -> Result<(), Over> {
    match serde_json::to_string(said) {
        Ok(text) if text.len() <= FRAME_BYTES_MAX => send(socket, Message::Text(text.into())).await,
        Ok(text) => {
            tracing::error!(bytes = text.len(), most = FRAME_BYTES_MAX, "a message is too large for the link; it is left out");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "a message could not be written; it is left out");
            Ok(())
        }
    }
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), Over> {
    match timeout(SEND_WAIT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Over::Lost(error.to_string())),
        Err(_) => Err(Over::Lost("the panel takes no messages".to_owned())),
    }
}

/// Between half of a wait and all of it, so that a thousand agents do not dial at once.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0; 1];
    let share = getrandom::fill(&mut byte).map_or(255, |()| u32::from(byte[0]));
    wait / 2 + wait / 2 * share / 255
}

/// An error with its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        inner = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_over_their_upper_half() {
        let wait = Duration::from_secs(10);
        for _ in 0..100 {
            let pause = jittered(wait);
            assert!(pause >= wait / 2 && pause <= wait, "{pause:?}");
        }
    }
}
