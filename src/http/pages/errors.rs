//! When something cannot be shown: what happened, and what to do next. Never a cause, a query or a path of the machine.

use askama::Template;
use askama_web::WebTemplate;

use super::layout::Layout;

/// A page in place of the one that was asked for.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// Frame.
    pub layout: Layout,
    /// HTTP status.
    pub status: u16,
    /// A few words.
    pub title: String,
    /// One or two sentences.
    pub detail: String,
    /// Where to go.
    pub next: (String, String),
    /// For whoever has to find it in the log.
    pub request_id: String,
}

impl ErrorPage {
    /// With the usual words for the status; an empty `detail` is filled in.
    pub fn of(layout: Layout, status: u16, detail: &str, request_id: &str) -> ErrorPage {
        let (title, usual) = words(status);
        let next = if status == 401 {
            ("/auth/login", "Log in")
        } else if layout.me.is_some() {
            ("/dashboard", "To your servers")
        } else {
            ("/", "To the front page")
        };
        ErrorPage {
            layout,
            status,
            title: title.to_owned(),
            detail: if detail.is_empty() { usual.to_owned() } else { detail.to_owned() },
            next: (next.0.to_owned(), next.1.to_owned()),
            request_id: request_id.to_owned(),
        }
    }

    /// True where the fault is ours: the page is in the colours of trouble.
    pub fn ours(&self) -> bool {
        self.status >= 500
    }
}

fn words(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("That could not be read", "The request was not complete. Go back, reload the page and try again."),
        401 => ("Log in first", "This page is for people with an account."),
        403 => ("Not for this account", "This account may look at some things here but may not do this. Ask an admin if it should."),
        404 => ("Nothing lives here", "The address is wrong, or what was here has been deleted."),
        405 => ("That cannot be done here", "This address only answers to forms. Go back and use the page."),
        409 => ("Not right now", "That does not fit what the server is doing. Look at its page and try again."),
        413 => ("Too much at once", "What was sent is larger than this page accepts. Send less."),
        415 => ("That could not be read", "The request came in a form that is not understood here."),
        422 => ("Something needs a second look", "Some of what was typed cannot be used. Go back and correct it."),
        429 => ("Too many tries", "Wait a minute, then try again."),
        503 => ("Back in a moment", "Roost is just starting or stopping. Reload in a few seconds."),
        ..500 => ("That did not work", "The request was refused. Go back and try again."),
        500.. => (
            "That is our fault",
            "Something broke on our side and was written down. Try again; if it stays, give the number below to whoever runs this site.",
        ),
    }
}
