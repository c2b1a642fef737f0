//! A page at the door: one thing to say, one thing to do, and where else to go. Second step, new password, links, troubles.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::Field;
use super::layout::Layout;

/// What hangs over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sky {
    /// Something ends or is asked for.
    Dusk,
    /// Something begins.
    Dawn,
    /// Something went wrong.
    Trouble,
}

impl Sky {
    /// Its class.
    pub fn class(self) -> &'static str {
        match self {
            Sky::Dusk => "dusk",
            Sky::Dawn => "dawn",
            Sky::Trouble => "trouble",
        }
    }
}

/// Another way to go.
#[derive(Debug, Clone)]
pub struct Way {
    /// A path of this site.
    pub to: String,
    /// In words.
    pub label: String,
    /// It changes something: a button of a form, not a link.
    pub posts: bool,
}

impl Way {
    /// A link.
    pub fn link(to: &str, label: &str) -> Way {
        Way { to: to.to_owned(), label: label.to_owned(), posts: false }
    }

    /// A button.
    pub fn post(to: &str, label: &str) -> Way {
        Way { to: to.to_owned(), label: label.to_owned(), posts: true }
    }
}

/// What can be done here.
#[derive(Debug, Clone)]
pub struct GateForm {
    /// Where it is posted to.
    pub action: String,
    /// On the button.
    pub button: String,
    /// Sent along: name and value.
    pub hidden: Vec<(String, String)>,
    /// For the browser's own keeper of passwords: whose account it is.
    pub account: Option<String>,
    /// What is asked.
    pub fields: Vec<Field>,
}

impl GateForm {
    /// Posted to a path of this site.
    pub fn to(action: &str, button: &str) -> GateForm {
        GateForm { action: action.to_owned(), button: button.to_owned(), hidden: Vec::new(), account: None, fields: Vec::new() }
    }

    /// Asks one thing more.
    #[must_use]
    pub fn field(mut self, field: Field) -> GateForm {
        self.fields.push(field);
        self
    }

    /// Sends something along.
    #[must_use]
    pub fn hidden(mut self, name: &str, value: &str) -> GateForm {
        self.hidden.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says whose account it is.
    #[must_use]
    pub fn account(mut self, email: &str) -> GateForm {
        self.account = Some(email.to_owned());
        self
    }
}

/// A page at the door.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "auth/gate.html")]
pub struct GatePage {
    /// Frame.
    pub layout: Layout,
    /// What hangs over it.
    pub sky: Sky,
    /// Heading.
    pub title: String,
    /// Paragraphs.
    pub says: Vec<String>,
    /// What can be done here.
    pub form: Option<GateForm>,
    /// Asks for a passkey in this step: `second`.
    pub passkey: Option<&'static str>,
    /// Where else to go.
    pub ways: Vec<Way>,
}

impl GatePage {
    /// With a heading and nothing else.
    pub fn of(layout: Layout, sky: Sky, title: &str) -> GatePage {
        GatePage { layout, sky, title: title.to_owned(), says: Vec::new(), form: None, passkey: None, ways: Vec::new() }
    }
}
