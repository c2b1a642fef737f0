//! Sharing a server: its guests, those invited, and the page of an invitation.

use askama::Template;
use askama_web::WebTemplate;

use super::checks::Checks;
use super::fields::Field;
use super::layout::Layout;
use super::moments::Moment;
use crate::domain::shares::{Invitation, Share};
use crate::model::shares::{Grant, Grants};
use crate::model::time::Millis;

/// `/servers/{id}/sharing`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/sharing.html")]
pub struct SharingPage {
    /// Frame.
    pub layout: Layout,
    /// Id of the server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whoever may do something with it.
    pub guests: Vec<Guest>,
    /// Whoever has not taken it up yet.
    pub invited: Vec<Invited>,
    /// To whom.
    pub email: Field,
    /// What they may do.
    pub checks: Checks,
    /// Address and link of an invitation that was just written; never shown again.
    pub link: Option<(String, String)>,
    /// This panel sends letters.
    pub mails: bool,
}

/// A guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Id of the account.
    pub id: String,
    /// Its address.
    pub email: String,
    /// What they may do, in words.
    pub may: String,
    /// Since when.
    pub since: Moment,
    /// To change it.
    pub checks: Checks,
}

/// Somebody who was invited.
#[derive(Debug, Clone)]
pub struct Invited {
    /// Id of the invitation.
    pub id: String,
    /// To whom.
    pub email: String,
    /// What they will be able to do.
    pub may: String,
    /// When.
    pub made: Moment,
}

/// `see it, power`.
pub fn words(grants: Grants) -> String {
    grants.iter().map(Grant::label).collect::<Vec<_>>().join(", ").to_lowercase()
}

impl Guest {
    /// From a share.
    pub fn of(share: &Share, now: Millis) -> Guest {
        Guest {
            id: share.user.to_string(),
            email: share.email.clone(),
            may: words(share.grants),
            since: Moment::relative(share.since, now),
            checks: Checks::grants(&format!("grants-{}", share.user), share.grants, None),
        }
    }
}

impl Invited {
    /// From an invitation.
    pub fn of(invitation: &Invitation, now: Millis) -> Invited {
        Invited {
            id: invitation.id.to_string(),
            email: invitation.email.to_string(),
            may: words(invitation.grants),
            made: Moment::relative(invitation.created_at, now),
        }
    }
}

/// `/invitation?key=...`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/invitation.html")]
pub struct InvitationPage {
    /// Frame.
    pub layout: Layout,
    /// Name of the server.
    pub server: String,
    /// Who invites.
    pub from: String,
    /// Who is invited.
    pub email: String,
    /// Who looks.
    pub me: String,
    /// Whoever looks is whoever is invited.
    pub fits: bool,
    /// What they will be able to do.
    pub may: String,
    /// Secret of the link.
    pub key: String,
}
