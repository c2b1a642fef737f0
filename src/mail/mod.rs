//! Letters by SMTP: the one place that knows lettre. `domain::mails` decides what goes out and when it is tried again.
//!
//! One connection a letter, with a bound on how long each step may take. What must stay true: credentials are shown nowhere, and a
//! letter is plain text, so that nothing in it can be taken for a page.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::model::mails::Mail;

/// Longest wait for the mail server at each step.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest trouble that is kept, in characters.
const TROUBLE_MAX: usize = 300;

/// Why a letter did not go.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The address of the mail server makes no sense.
    #[error("not the address of a mail server")]
    Address(#[source] lettre::transport::smtp::Error),
    /// The sender makes no sense.
    #[error("not a sender such as Roost <roost@example.org>")]
    Sender(#[source] lettre::address::AddressError),
    /// This letter cannot be written down; trying again does not help.
    #[error("the letter cannot be written: {0}")]
    Letter(String),
    /// The mail server did not take it.
    #[error("{what}")]
    Refused {
        /// In its words.
        what: String,
        /// It will say the same again.
        for_good: bool,
    },
}

/// A way to the mail server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mailer(from {})", self.from)
    }
}

impl Mailer {
    /// `url` is `smtp://user:password@host:port?tls=required`, `smtps://...`, or `smtp://host:port` without encryption.
    ///
    /// # Errors
    /// [`MailError::Address`], [`MailError::Sender`].
    pub fn new(url: &str, from: &str) -> Result<Mailer, MailError> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(MailError::Address)?;
        let from = from.parse().map_err(MailError::Sender)?;
        Ok(Mailer { transport: builder.timeout(Some(PATIENCE)).build(), from })
    }

    /// Does the mail server answer?
    ///
    /// # Errors
    /// [`MailError::Refused`].
    pub async fn is_well(&self) -> Result<(), MailError> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(MailError::Refused { what: "it hung up".to_owned(), for_good: false }),
            Err(error) => Err(MailError::Refused { what: chain(&error), for_good: error.is_permanent() }),
        }
    }

    /// Hands a letter over.
    ///
    /// # Errors
    /// [`MailError::Letter`], [`MailError::Refused`].
    pub async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let letter = |why: &dyn std::fmt::Display| MailError::Letter(why.to_string());
        let to: Mailbox = mail.to.ascii().parse().map_err(|why: lettre::address::AddressError| letter(&why))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|why| letter(&why))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let what: String = chain(&error).chars().filter(|c| !c.is_control()).take(TROUBLE_MAX).collect();
                Err(MailError::Refused { what, for_good: error.is_permanent() })
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_its_password_is_shown_nowhere() {
        let _already = rustls::crypto::ring::default_provider().install_default();
        for bad in ["", "mail.example.org", "http://mail.example.org"] {
            assert!(matches!(Mailer::new(bad, "roost@example.org"), Err(MailError::Address(_))), "{bad}");
        }
        assert!(matches!(Mailer::new("smtp://127.0.0.1:25", "nobody"), Err(MailError::Sender(_))));
        let mailer = Mailer::new("smtps://who:sesame@mail.example.org", "Roost <roost@example.org>").unwrap();
        assert_eq!(format!("{mailer:?}"), "Mailer(from Roost <roost@example.org>)");
    }
}
