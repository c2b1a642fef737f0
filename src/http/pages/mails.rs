//! Letters that the panel wrote, for admins to see what did not go and, without a mail server, to hand over themselves.

use askama::Template;
use askama_web::WebTemplate;

use super::layout::Layout;
use super::moments::Moment;
use crate::domain::mails::Posted;
use crate::model::time::Millis;

/// `/admin/mails`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "admin/mails.html")]
pub struct MailsPage {
    /// Frame.
    pub layout: Layout,
    /// There is a mail server.
    pub sends: bool,
    /// Newest first.
    pub rows: Vec<MailRow>,
}

/// A letter.
#[derive(Debug, Clone)]
pub struct MailRow {
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// `sent`, `waits, written`, `given up, written`.
    pub state: &'static str,
    /// When it went, or when it was written.
    pub at: Moment,
    /// What went wrong last.
    pub trouble: String,
    /// Its text, as long as it has not gone.
    pub text: String,
}

impl MailsPage {
    /// From the outbox.
    pub fn of(layout: Layout, letters: &[Posted], sends: bool, now: Millis) -> MailsPage {
        let row = |posted: &Posted| MailRow {
            to: posted.mail.to.to_string(),
            subject: posted.mail.subject.clone(),
            state: match (posted.sent_at, posted.due_at) {
                (Some(_), _) => "sent",
                (None, Some(_)) => "waits, written",
                (None, None) => "given up, written",
            },
            at: Moment::relative(posted.sent_at.unwrap_or(posted.created_at), now),
            trouble: posted.trouble.clone(),
            text: posted.mail.text.clone(),
        };
        MailsPage { layout, sends, rows: letters.iter().map(row).collect() }
    }
}
