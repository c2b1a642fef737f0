//! Some of a few things, each with a box to tick and a sentence on what it covers: what a guest may do, what a token may do.

use askama::Template;

use super::html_parts;
use crate::model::shares::{Grant, Grants};
use crate::model::tokens::{Scope, Scopes};

/// Names of the boxes begin so.
pub const GRANT_PREFIX: &str = "grant.";
/// The same for what a token may do.
pub const SCOPE_PREFIX: &str = "scope.";

/// Boxes to tick.
#[derive(Debug, Clone, Template)]
#[template(path = "_checks.html")]
pub struct Checks {
    /// Unlike that of any other group of the page.
    pub id: String,
    /// In front of them.
    pub label: &'static str,
    /// The boxes.
    pub items: Vec<Check>,
    /// What is wrong with the choice.
    pub error: Option<String>,
}

/// A box.
#[derive(Debug, Clone)]
pub struct Check {
    /// As sent.
    pub name: String,
    /// A word or two.
    pub label: &'static str,
    /// What it covers.
    pub help: &'static str,
    /// Ticked.
    pub on: bool,
    /// Always ticked.
    pub fixed: bool,
}

html_parts!(Checks);

impl Checks {
    /// What a guest may do; seeing comes with everything.
    pub fn grants(id: &str, chosen: Grants, error: Option<String>) -> Checks {
        let item = |grant: &Grant| Check {
            name: format!("{GRANT_PREFIX}{}", grant.as_str()),
            label: grant.label(),
            help: grant.help(),
            on: *grant == Grant::See || chosen.has(*grant),
            fixed: *grant == Grant::See,
        };
        Checks { id: id.to_owned(), label: "May", items: Grant::ALL.iter().map(item).collect(), error }
    }

    /// What a token may do.
    pub fn scopes(chosen: Scopes, error: Option<String>) -> Checks {
        let item = |scope: &Scope| Check {
            name: format!("{SCOPE_PREFIX}{}", scope.as_str()),
            label: scope.label(),
            help: scope.help(),
            on: chosen.has(*scope),
            fixed: false,
        };
        Checks { id: "scopes".to_owned(), label: "It may", items: Scope::ALL.iter().map(item).collect(), error }
    }
}
