//! Sockets that keep pages fresh: one a page, fragments of the page's own parts, put in place by their ids.
//!
//! Each socket holds one place of its account, asks again whether it may go on whenever rights have changed and every few seconds,
//! sends at most [`UPDATES_PER_SECOND`] updates, and ends when its reader stops reading or the panel stops.

pub mod backups;
pub mod billing;
pub mod console;
pub mod dashboard;
mod lines;
pub mod nodes;
pub mod server;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::Web;
use super::problem::{Answer, Problem};
use super::who::{Caller, Known};
use crate::domain::{Change, Refusal};
use crate::model::ids::UserId;

/// Most updates of one socket in a second.
const UPDATES_PER_SECOND: u32 = 4;
/// Open sockets of one account.
const SOCKETS_OF_ACCOUNT: usize = 32;
/// Most bytes that are taken from a browser in one message: a line of console and a little around it.
const MESSAGE_MAX: usize = 8 * 1024;
/// A sign of life is asked for this often.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Nothing heard for this long: whoever was there has gone.
const SILENCE_MAX: Duration = Duration::from_secs(65);
/// Longest wait for a reader to take a message.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// Rights are looked at again at least this often: what ends on another panel of the same database, ends here within this time.
const RIGHTS_EVERY: Duration = Duration::from_secs(3);

/// Who has how many sockets open.
#[derive(Default)]
pub(super) struct Sockets(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place, given back when it is dropped.
struct Place {
    all: Arc<Mutex<HashMap<UserId, usize>>>,
    user: UserId,
}

impl Sockets {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.lock().map(|all| all.values().sum()).unwrap_or_default()
    }

    fn take(&self, user: &UserId, most: usize) -> Result<Place, Problem> {
        let Ok(mut all) = self.0.lock() else { return Err(Problem::internal("the list of open sockets")) };
        if all.values().sum::<usize>() >= most {
            return Err(Problem::busy("as many sockets are open as there may be"));
        }
        let count = all.entry(user.clone()).or_default();
        if *count >= SOCKETS_OF_ACCOUNT {
            let why = "This account has too many pages open at once. Close some of them.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why));
        }
        *count += 1;
        Ok(Place { all: self.0.clone(), user: user.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(mut all) = self.all.lock() else { return };
        if let Some(count) = all.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user);
            }
        }
    }
}

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

/// The other side of a socket.
pub(super) struct Line {
    socket: WebSocket,
}

impl Line {
    /// Sends a text; ends where nobody takes it.
    pub async fn send(&mut self, text: String) -> Result<(), Over> {
        if text.is_empty() {
            return Ok(());
        }
        self.message(Message::Text(Utf8Bytes::from(text))).await
    }

    async fn message(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

/// What a socket shows.
pub(super) trait View: Send + 'static {
    /// Does this change concern it? Noted, and shown with the next update.
    fn concerns(&mut self, known: &Known, change: &Change) -> bool;

    /// Everything has to be shown again.
    fn forget(&mut self);

    /// What to send now; none when it is over.
    fn update(&mut self, web: &Web, known: &Known) -> impl Future<Output = Result<Option<String>, Refusal>> + Send;

    /// Waits for something of its own that is to be shown; for ever where there is nothing.
    fn own(&mut self, web: &Web, known: &Known) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// A text from the other side; what to answer.
    fn hear(&mut self, _web: &Web, _known: &Known, _text: &str) -> impl Future<Output = Result<Option<String>, Over>> + Send {
        std::future::ready(Ok(None))
    }
}

/// Opens a socket for a view, if the account has a place left.
pub(super) fn open<V: View>(web: Web, caller: Caller, upgrade: WebSocketUpgrade, view: V) -> Answer {
    let known = caller.0;
    let place = web.sockets.take(&known.actor.user.id, web.settings.sockets_max)?;
    // From here on nothing that happens may be missed, so the change feed is joined before the first look.
    let changes = web.ctx.changes.subscribe();
    let upgrade = upgrade.max_message_size(MESSAGE_MAX).max_frame_size(MESSAGE_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let mut line = Line { socket };
        let _place = place;
        let stop = web.settings.stop.clone();
        let close = tokio::select! {
            // The page comes back once the panel does.
            () = stop.cancelled() => Some(CloseFrame { code: close_code::RESTART, reason: Utf8Bytes::from_static("the panel restarts") }),
            _ = run(&web, known, &mut line, view, changes) => None,
        };
        let _ = line.message(Message::Close(close)).await;
    }))
}

async fn run<V: View>(
    web: &Web,
    mut known: Known,
    line: &mut Line,
    mut view: V,
    mut changes: tokio::sync::broadcast::Receiver<Change>,
) -> Result<(), Over> {
    let every = |period| {
        let mut interval = interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.reset();
        interval
    };
    let (mut ping, mut rights) = (every(PING_EVERY), every(RIGHTS_EVERY));
    let pause = Duration::from_secs(1) / UPDATES_PER_SECOND;
    let (mut due, mut next) = (true, Instant::now());
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next), if due => {
                due = false;
                next = Instant::now() + pause;
                match view.update(web, &known).await {
                    Ok(Some(text)) => line.send(text).await?,
                    // A busy database is asked again with the next change or sign of life.
                    Err(refusal) if refusal.is_busy() => view.forget(),
                    Ok(None) | Err(_) => return Err(Over),
                }
            }
            change = changes.recv() => match change {
                Ok(Change::Rights(user)) if user == known.actor.user.id => {
                    known = still(web, &known).await?;
                    // The session stands, and yet what it shows may be shown no more.
                    view.forget();
                    due = true;
                }
                Ok(change) => due |= view.concerns(&known, &change),
                Err(RecvError::Lagged(_)) => {
                    known = still(web, &known).await?;
                    view.forget();
                    due = true;
                }
                Err(RecvError::Closed) => return Err(Over),
            },
            own = view.own(web, &known) => {
                own.map_err(|_| Over)?;
                due = true;
            }
            message = line.socket.recv() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(answer) = view.hear(web, &known, text.as_str()).await? {
                            line.send(answer).await?;
                        }
                    }
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over),
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return Err(Over);
                }
                line.message(Message::Ping(Bytes::new())).await?;
                // What changes with time alone, such as a node that falls silent, is seen by looking.
                view.forget();
                due = true;
            }
            _ = rights.tick() => known = still(web, &known).await?,
        }
    }
}

/// Who it is by now; over when the session or token has ended. While the database is away nobody's rights are known to have ended.
async fn still(web: &Web, known: &Known) -> Result<Known, Over> {
    match known.again(web).await {
        Ok(Some(known)) => Ok(known),
        Err(refusal) if refusal.is_busy() => Ok(known.clone()),
        Ok(None) | Err(_) => Err(Over),
    }
}
