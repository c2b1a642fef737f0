//! A field of a form: label, control, help and what is wrong with the value, always together.
//!
//! Forms are plain POSTs. A refused form comes back with the visitor's values and a message at each field, which
//! `aria-describedby` ties to its control.

use askama::Template;

use super::html_parts;

/// What is typed or chosen with.
#[derive(Debug, Clone)]
pub enum Control {
    /// A line of text.
    Text {
        /// `text` or `email`.
        kind: &'static str,
        /// As typed.
        value: String,
        /// Most characters.
        max: u32,
        /// What browsers may fill in.
        autocomplete: &'static str,
    },
    /// A password; what was typed is never sent back.
    Password {
        /// `current-password`, `new-password` or `off`.
        autocomplete: &'static str,
    },
    /// A whole number.
    Number {
        /// As typed, number or not.
        value: String,
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// Word behind the box, may be empty.
        unit: &'static str,
    },
    /// An amount of credits.
    Amount {
        /// As typed.
        value: String,
    },
    /// One of a few.
    Choice {
        /// Each with whether it is chosen.
        options: Vec<Choice>,
    },
}

/// One of a few.
#[derive(Debug, Clone)]
pub struct Choice {
    /// As sent.
    pub value: String,
    /// As shown.
    pub label: String,
    /// Chosen.
    pub chosen: bool,
}

/// A field of a form.
#[derive(Debug, Clone, Template)]
#[template(path = "_field.html")]
pub struct Field {
    /// Id of its control; its name unless two forms of a page use the same one.
    pub id: String,
    /// As sent.
    pub name: String,
    /// In front of it.
    pub label: String,
    /// One sentence, may be empty.
    pub help: String,
    /// What is wrong with the value.
    pub error: Option<String>,
    /// Must not be empty.
    pub required: bool,
    /// What is typed or chosen with.
    pub control: Control,
}

html_parts!(Field);

impl Field {
    fn new(name: &str, label: &str, control: Control) -> Field {
        Field {
            id: name.to_owned(),
            name: name.to_owned(),
            label: label.to_owned(),
            help: String::new(),
            error: None,
            required: false,
            control,
        }
    }

    /// A line of text of at most `max` characters.
    pub fn text(name: &str, label: &str, value: impl Into<String>, max: u32) -> Field {
        Field::new(name, label, Control::Text { kind: "text", value: value.into(), max, autocomplete: "off" })
    }

    /// An e-mail address.
    pub fn email(name: &str, label: &str, value: impl Into<String>) -> Field {
        Field::new(name, label, Control::Text { kind: "email", value: value.into(), max: 254, autocomplete: "username" })
    }

    /// A password; `autocomplete` is `current-password` or `new-password`.
    pub fn password(name: &str, label: &str, autocomplete: &'static str) -> Field {
        Field::new(name, label, Control::Password { autocomplete })
    }

    /// A code of an app, or a recovery code.
    pub fn code(name: &str, label: &str) -> Field {
        Field::new(name, label, Control::Text { kind: "text", value: String::new(), max: 40, autocomplete: "one-time-code" })
    }

    /// A whole number.
    pub fn number(name: &str, label: &str, value: impl Into<String>, min: i64, max: i64, unit: &'static str) -> Field {
        Field::new(name, label, Control::Number { value: value.into(), min, max, unit })
    }

    /// An amount of credits.
    pub fn amount(name: &str, label: &str, value: impl Into<String>) -> Field {
        Field::new(name, label, Control::Amount { value: value.into() })
    }

    /// One of a few.
    pub fn choice(name: &str, label: &str, options: Vec<Choice>) -> Field {
        Field::new(name, label, Control::Choice { options })
    }

    /// With an id of its own.
    #[must_use]
    pub fn id(mut self, id: &str) -> Field {
        id.clone_into(&mut self.id);
        self
    }

    /// With a sentence of help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Field {
        self.help = help.into();
        self
    }

    /// With what is wrong with the value.
    #[must_use]
    pub fn error(mut self, error: Option<String>) -> Field {
        self.error = error;
        self
    }

    /// Must not be empty.
    #[must_use]
    pub fn required(mut self) -> Field {
        self.required = true;
        self
    }

    /// The ids that describe the control, for `aria-describedby`; none when there is neither help nor error.
    pub fn described_by(&self) -> Option<String> {
        let help = (!self.help.is_empty()).then(|| format!("{}-help", self.id));
        let error = self.error.is_some().then(|| format!("{}-error", self.id));
        match (error, help) {
            (Some(error), Some(help)) => Some(format!("{error} {help}")),
            (error, help) => error.or(help),
        }
    }
}
