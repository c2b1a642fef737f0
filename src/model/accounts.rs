//! What people type to identify themselves, checked once into types that cannot be wrong.

use std::fmt;

/// An e-mail address: lower case, one `@`, no spaces or control characters, at most 254 bytes.
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
            Some((name, host)) if fits(name) && fits(host) && host.split('.').all(|label| !label.is_empty()) => {
                Ok(Email(text.to_lowercase()))
            }
            Some(_) | None => Err(EmailRefused::Malformed),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
    fn a_password_never_shows_in_debug_output() {
        let password = Password::parse("correct horse battery").unwrap();
        assert_eq!(format!("{password:?}"), "Password(hidden)");
    }
}
