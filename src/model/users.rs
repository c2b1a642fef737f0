//! People: accounts, roles, and the one table of rights.

use serde::{Deserialize, Serialize};

use super::ids::UserId;
use super::money::Credits;
use super::shares::{Grant, Grants};
use super::time::Millis;

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Own things only.
    Player,
    /// Reads all.
    Viewer,
    /// Also acts on servers and nodes.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Player => "player",
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn parse(text: &str) -> Option<Role> {
        [Role::Player, Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

/// Something that a person may or may not do. What concerns one server is asked with how they stand to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See a server: page, log, history.
    SeeServer,
    /// Wake, sleep, start, stop, restart it.
    PowerServer,
    /// Send a line to its console.
    TypeIntoConsole,
    /// Have a backup of it made, or one tried out.
    BackUpServer,
    /// Read its data, put older ones in their place, delete backups, set their schedule.
    HandleData,
    /// Change its settings and its layers.
    ChangeServer,
    /// Let others do something with it.
    ShareServer,
    /// Delete it.
    DeleteServer,
    /// Make one.
    CreateServer,
    /// See one's own balance and entries.
    SeeBilling,
    /// See how the whole panel stands, and everybody's servers in one list.
    SeeOverview,
    /// See nodes.
    SeeNodes,
    /// Let a machine join, turn it away, forget it.
    ManageNodes,
    /// Give credits to an account.
    GrantCredits,
    /// See metrics.
    SeeMetrics,
    /// See the list of accounts.
    SeeUsers,
    /// Change an account's role, shut it out, end its sessions.
    ManageUsers,
    /// See who did what.
    SeeAudit,
    /// See what the panel earns.
    SeeReports,
    /// Switch a node: dev mode, purging, taking no new servers.
    DriveNodes,
    /// See templates: versions, files, use.
    SeeTemplates,
    /// Make, change and delete templates.
    ManageTemplates,
}

/// How somebody stands to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It is theirs.
    Owner,
    /// Its owner lets them do this.
    Guest(Grants),
    /// Neither.
    Stranger,
}

impl Stands {
    fn lets(self, grant: Grant) -> bool {
        match self {
            Stands::Owner => true,
            Stands::Guest(grants) => grants.has(grant),
            Stands::Stranger => false,
        }
    }
}

/// The table of rights, asked in `domain` and nowhere else.
pub fn may(role: Role, right: Right, stands: Stands) -> bool {
    let reads = matches!(role, Role::Viewer | Role::Operator | Role::Admin);
    let operates = matches!(role, Role::Operator | Role::Admin);
    let rules = matches!(role, Role::Admin);
    match right {
        Right::CreateServer | Right::SeeBilling => true,
        Right::SeeServer => reads || !matches!(stands, Stands::Stranger),
        Right::PowerServer => operates || stands.lets(Grant::Power),
        Right::TypeIntoConsole => operates || stands.lets(Grant::Console),
        Right::BackUpServer => operates || stands.lets(Grant::Files),
        Right::HandleData => rules || stands.lets(Grant::Files),
        Right::ChangeServer => rules || stands.lets(Grant::Settings),
        Right::ShareServer | Right::DeleteServer => rules || matches!(stands, Stands::Owner),
        Right::SeeOverview | Right::SeeNodes | Right::SeeTemplates | Right::SeeUsers | Right::SeeAudit => reads,
        Right::DriveNodes | Right::ManageTemplates => operates,
        Right::GrantCredits | Right::ManageNodes | Right::SeeMetrics | Right::ManageUsers | Right::SeeReports => rules,
    }
}

/// An account as others see it; the password hash stays in `store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Lower case, checked.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// Sum of its ledger.
    pub balance: Credits,
    /// When it was made.
    pub created_at: Millis,
    /// Sessions made before this moment do not count (log out everywhere, password changed).
    pub sessions_from: Millis,
    /// When it was shown that letters to its address reach it; none: not yet.
    pub email_verified_at: Option<Millis>,
    /// Shut out: it may do nothing, and its servers rest.
    pub suspended: Option<Suspension>,
}

/// Why somebody is shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Since when.
    pub at: Millis,
    /// In an admin's words, for its owner to read.
    pub why: String,
}
