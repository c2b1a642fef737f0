//! Samples of every page, some with hostile words in every place where a person's words can stand.
//!
//! `tests/it/pages.rs` renders them all and checks the HTML; they are also what the pages are looked at with.

mod admin;
mod backups;
mod layers;
mod nodes;
mod payments;
mod people;
mod security;
mod servers;
mod small;
mod templates;

use askama::Template;

use super::account::AccountPage;
use super::admin::AdminPage;
use super::audit::AuditPage;
use super::auth::{LandingPage, LoginPage, RegisterPage};
use super::backups::BackupsPage;
use super::billing::BillingPage;
use super::create::CreatePage;
use super::dashboard::Dashboard;
use super::errors::ErrorPage;
use super::gate::GatePage;
use super::layers::LayersPage;
use super::layout::{BalanceBadge, Layout, Me, Notice};
use super::mails::MailsPage;
use super::nodes::{AddNodePage, NodePage, NodesPage};
use super::payments::OnwardPage;
use super::reports::ReportsPage;
use super::security::{CodesPage, NewAppPage, SecurityPage};
use super::server_lists::AllServersPage;
use super::servers::{LogPage, ServerPage};
use super::sharing::{InvitationPage, SharingPage};
use super::templates::{TemplatePage, TemplatesPage, VersionPage};
use super::users::{UserPage, UsersPage};
use crate::model::money::Credits;
use crate::model::time::Millis;

/// The moment at which every sample is made: 20 November 2026, 14:05:12 UTC.
pub const NOW: Millis = Millis(1_795_183_512_000);

/// A name that tries to be markup.
pub const HOSTILE: &str = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>";
/// A name without a place to break.
pub const LONG: &str = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunte";
/// A name that reads from right to left.
pub const RIGHT_TO_LEFT: &str = "וادי الأصداء (2)";
/// A name of pictures.
pub const PICTURES: &str = "👑🏰🐉 Drachenhöhle 🐉🏰👑";

/// A rendered page.
#[derive(Debug)]
pub struct Sample {
    /// Of the page and what it shows, fit for a file name.
    pub name: String,
    /// The page.
    pub html: String,
}

/// Renders every sample of every page.
///
/// # Errors
/// A template that cannot be rendered.
pub fn all() -> askama::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    render(&mut samples, "landing", LandingPage::samples())?;
    render(&mut samples, "login", LoginPage::samples())?;
    render(&mut samples, "register", RegisterPage::samples())?;
    render(&mut samples, "dashboard", Dashboard::samples())?;
    render(&mut samples, "create", CreatePage::samples())?;
    render(&mut samples, "server", ServerPage::samples())?;
    render(&mut samples, "logs", LogPage::samples())?;
    render(&mut samples, "layers", LayersPage::samples())?;
    render(&mut samples, "backups", BackupsPage::samples())?;
    render(&mut samples, "billing", BillingPage::samples())?;
    render(&mut samples, "onward", OnwardPage::samples())?;
    render(&mut samples, "account", AccountPage::samples())?;
    render(&mut samples, "gate", GatePage::samples())?;
    render(&mut samples, "security", SecurityPage::samples())?;
    render(&mut samples, "app", NewAppPage::samples())?;
    render(&mut samples, "codes", CodesPage::samples())?;
    render(&mut samples, "admin", AdminPage::samples())?;
    render(&mut samples, "all-servers", AllServersPage::samples())?;
    render(&mut samples, "nodes", NodesPage::samples())?;
    render(&mut samples, "node", NodePage::samples())?;
    render(&mut samples, "templates", TemplatesPage::samples())?;
    render(&mut samples, "template", TemplatePage::samples())?;
    render(&mut samples, "version", VersionPage::samples())?;
    render(&mut samples, "add-node", AddNodePage::samples())?;
    render(&mut samples, "users", UsersPage::samples())?;
    render(&mut samples, "user", UserPage::samples())?;
    render(&mut samples, "sharing", SharingPage::samples())?;
    render(&mut samples, "invitation", InvitationPage::samples())?;
    render(&mut samples, "audit", AuditPage::samples())?;
    render(&mut samples, "mails", MailsPage::samples())?;
    render(&mut samples, "reports", ReportsPage::samples())?;
    render(&mut samples, "error", ErrorPage::samples())?;
    Ok(samples)
}

fn render<Page: Template>(into: &mut Vec<Sample>, page: &str, samples: Vec<(&str, Page)>) -> askama::Result<()> {
    for (what, sample) in samples {
        into.push(Sample { name: format!("{page}-{what}"), html: sample.render()? });
    }
    Ok(())
}

/// The frame for a player with some credits.
fn frame(path: &str) -> Layout {
    framed("ada@example.org", false, Credits(98_259_000), path)
}

/// The frame for an admin with a hostile address.
fn staff(path: &str) -> Layout {
    let mut layout = framed(HOSTILE, true, Credits::ZERO, path);
    layout.notice = Some(Notice::refused(format!("No server is called {HOSTILE}.")));
    layout
}

fn framed(email: &str, is_staff: bool, balance: Credits, path: &str) -> Layout {
    let badge = BalanceBadge::of(balance, Credits(500_000), Credits::whole(5));
    Layout {
        me: Some(Me { email: email.to_owned(), is_staff, is_admin: is_staff, balance: badge }),
        notice: None,
        path: path.to_owned(),
        now: NOW,
        demo_credits: false,
    }
}
