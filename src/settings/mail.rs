//! Settings of letters: the mail server, and who they come from.

use super::host::of_a_sender;
use super::{Reader, SettingsError, Web, bad};
use crate::mail::{MailError, Mailer};
use crate::model::secrets::Secret;

/// Letters.
#[derive(Debug, Clone)]
pub struct Mail {
    /// `SMTP_URL`: hidden, because it may hold a password; none: letters stay in the panel.
    url: Option<Secret>,
    /// `MAIL_FROM`: the sender.
    from: String,
}

impl Mail {
    pub(super) fn read(reader: &mut Reader, web: &Web) -> Result<Mail, SettingsError> {
        let url = reader.text("SMTP_URL", "");
        let from = reader.text("MAIL_FROM", &format!("Roost <roost@{}>", of_a_sender(&web.host)));
        let url = Some(url).filter(|url| !url.is_empty());
        match url.as_deref().map(|url| Mailer::new(url, &from)) {
            Some(Err(MailError::Sender(_))) => Err(bad("MAIL_FROM", &from, "a sender such as Roost <roost@example.org>")),
            Some(Err(_)) => Err(bad("SMTP_URL", "", "an address such as smtps://user:password@mail.example.org")),
            Some(Ok(_)) | None => Ok(Mail { url: url.map(Secret::new), from }),
        }
    }

    /// The way to the mail server, where one is set.
    ///
    /// # Errors
    /// What [`Mailer::new`] says; not for settings that were read.
    pub fn mailer(&self) -> Result<Option<Mailer>, MailError> {
        let url = self.url.as_ref().map(|url| String::from_utf8_lossy(url.bytes()).into_owned());
        url.map(|url| Mailer::new(&url, &self.from)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, super::SettingsError> {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(Path::new("/nonexistent/roost.toml"), pairs)
    }

    #[test]
    fn without_a_mail_server_there_is_no_way_and_a_wrong_one_is_named_without_its_password() {
        assert!(read(&[]).unwrap().mail.mailer().unwrap().is_none());
        let settings =
            read(&[("SMTP_URL", "smtps://who:sesame@mail.example.org"), ("BACKEND_URL", "https://panel.example.org:8000/")]).unwrap();
        assert_eq!(format!("{:?}", settings.mail.mailer().unwrap().unwrap()), "Mailer(from Roost <roost@panel.example.org>)");
        assert!(!format!("{settings:?}").contains("sesame"));
        for (name, value) in [("SMTP_URL", "mail.example.org:sesame"), ("MAIL_FROM", "nobody")] {
            let error = read(&[("SMTP_URL", "smtp://127.0.0.1:25"), (name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("sesame"), "{error}");
        }
    }
}
