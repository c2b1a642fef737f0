//! What people type to identify themselves, checked once into types that cannot be wrong.

use std::fmt;

/// An e-mail address: lower case, one `@`, no spaces or control characters, at most 254 bytes. A domain with letters of other scripts stands
/// in those, however it was typed: both of its forms are one address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailRefused {
    /// Nothing was typed.
    #[error("Enter your e-mail address.")]
    Empty,
    /// More than 254 bytes.
    #[error("An e-mail address has at most 254 characters.")]
    TooLong,
    /// Not of the form name@host.
    #[error("This does not look like an e-mail address. It needs a name, an @ and a domain, like name@example.org.")]
    Malformed,
}

impl Email {
    /// Checks and lower-cases what was typed.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(typed: &str) -> Result<Email, EmailRefused> {
        let text = typed.trim();
        if text.is_empty() {
            return Err(EmailRefused::Empty);
        }
        if text.len() > 254 {
            return Err(EmailRefused::TooLong);
        }
        let fits =
            |part: &str| !part.is_empty() && part.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>()[]\"\\,;:@".contains(c));
        match text.split_once('@') {
            Some((name, host)) if fits(name) && fits(host) => {
                let host = unicode(host);
                let whole = host.split('.').all(|label| !label.is_empty());
                let email = format!("{}@{host}", name.to_lowercase());
                if whole && email.len() <= 254 { Ok(Email(email)) } else { Err(EmailRefused::Malformed) }
            }
            Some(_) | None => Err(EmailRefused::Malformed),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('@').unwrap_or((&self.0, ""))
    }

    /// The address as mail servers know it: its domain in ASCII.
    pub fn ascii(&self) -> String {
        let (name, host) = self.parts();
        format!("{name}@{}", ascii(host))
    }

    /// What stands for everybody who reads letters to this address, as far as its form tells: words behind a `+` are notes of the reader, and
    /// at Google dots are nothing. Never an address to write to.
    pub fn mailbox(&self) -> String {
        let (name, host) = self.parts();
        let plain = name.split('+').next().filter(|plain| !plain.is_empty()).unwrap_or(name);
        match host {
            "gmail.com" | "googlemail.com" => format!("{}@gmail.com", plain.replace('.', "")),
            _other => format!("{plain}@{host}"),
        }
    }
}

/// A domain in its own letters, lower case. What is no name of a domain stays as it is.
#[cfg(feature = "panel")]
fn unicode(host: &str) -> String {
    match idna::domain_to_unicode(&ascii(host)) {
        (host, Ok(())) => host,
        (_, Err(_)) => host.to_lowercase(),
    }
}

/// A domain in ASCII, lower case. What is no name of a domain stays as it is.
#[cfg(feature = "panel")]
fn ascii(host: &str) -> String {
    idna::domain_to_ascii(host).unwrap_or_else(|_| host.to_lowercase())
}

/// The sidecar knows no addresses of people.
#[cfg(not(feature = "panel"))]
fn unicode(host: &str) -> String {
    host.to_lowercase()
}

/// As above.
#[cfg(not(feature = "panel"))]
fn ascii(host: &str) -> String {
    host.to_lowercase()
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password that was typed: 10 to 256 bytes. Never printed.
#[derive(Clone)]
pub struct Password(String);

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Fewer than 10 characters.
    #[error("Choose at least 10 characters. Length protects more than odd signs.")]
    TooShort,
    /// More than 256 bytes.
    #[error("A password has at most 256 characters.")]
    TooLong,
    /// It holds a NUL.
    #[error("A password cannot contain the NUL character.")]
    Nul,
}

impl Password {
    /// Checks the length. The content is the person's own affair.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(typed: &str) -> Result<Password, PasswordRefused> {
        if typed.contains('\0') {
            Err(PasswordRefused::Nul)
        } else if typed.len() > 256 {
            Err(PasswordRefused::TooLong)
        } else if typed.chars().count() < 10 {
            Err(PasswordRefused::TooShort)
        } else {
            Ok(Password(typed.to_owned()))
        }
    }

    /// For the hash function.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_lowered() {
        assert_eq!(Email::parse(" Ada@Example.ORG ").map(|e| e.as_str().to_owned()), Ok("ada@example.org".to_owned()));
        assert_eq!(Email::parse("用户@例子.中国").map(|e| e.as_str().to_owned()), Ok("用户@例子.中国".to_owned()));
        for bad in ["a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b..c", "a\0@b", "\"a\"@b"] {
            assert_eq!(Email::parse(bad), Err(EmailRefused::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn two_forms_of_a_domain_are_one_address() {
        let of = |typed: &str| Email::parse(typed).unwrap();
        for typed in
            ["ada@bücher.example", "ada@xn--bcher-kva.example", "ADA@BÜCHER.example", "ada@XN--BCHER-KVA.example", "ada@bücher。example"]
        {
            assert_eq!(of(typed).as_str(), "ada@bücher.example", "{typed}");
            assert_eq!(of(typed).ascii(), "ada@xn--bcher-kva.example");
        }
        assert_ne!(of("ada@bucher.example"), of("ada@bücher.example"));
        assert_eq!(of("a_b@c_d.example").as_str(), "a_b@c_d.example", "odd names stay what they are");
        for (typed, mailbox) in [
            ("Ada+games@example.org", "ada@example.org"),
            ("a.d.a+x@GoogleMail.com", "ada@gmail.com"),
            ("a.da@example.org", "a.da@example.org"),
            ("+x@example.org", "+x@example.org"),
        ] {
            assert_eq!(of(typed).mailbox(), mailbox);
        }
    }

    #[test]
    fn a_password_never_shows_in_debug_output() {
        let password = Password::parse("correct horse battery").unwrap();
        assert_eq!(format!("{password:?}"), "Password(hidden)");
    }
}
