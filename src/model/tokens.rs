//! What a token may do of what its account may do.

use super::sets::named_set;
use super::users::Right;

named_set! {
    /// A part of what an account may do.
    Scope,
    /// What a token may do.
    Scopes {
        /// Reading servers.
        See: "see", "See servers", "State, address, log, numbers, history, backups.";
        /// The buttons.
        Power: "power", "Power", "Wake, put to sleep, start, stop, restart.";
        /// Consoles.
        Console: "console", "Console", "Type commands for games.";
        /// Data.
        Files: "files", "Files and backups", "Make, download, restore and delete backups.";
        /// How servers are set up.
        Settings: "settings", "Settings", "Change servers, and share them.";
        /// Making and deleting.
        Create: "create", "Create and delete", "Make servers and delete them.";
        /// Money.
        Billing: "billing", "Billing", "Read the balance and every entry.";
        /// What the role adds.
        Panel: "panel", "Everything of the role", "What the account’s role allows with nodes, templates, accounts and other people’s servers.";
    }
}

impl Scope {
    /// The part that a right belongs to.
    pub fn of(right: Right) -> Scope {
        match right {
            Right::SeeServer => Scope::See,
            Right::PowerServer => Scope::Power,
            Right::TypeIntoConsole => Scope::Console,
            Right::BackUpServer | Right::HandleData => Scope::Files,
            Right::ChangeServer | Right::ShareServer => Scope::Settings,
            Right::CreateServer | Right::DeleteServer => Scope::Create,
            Right::SeeBilling => Scope::Billing,
            Right::SeeOverview
            | Right::SeeNodes
            | Right::ManageNodes
            | Right::DriveNodes
            | Right::SeeTemplates
            | Right::ManageTemplates
            | Right::GrantCredits
            | Right::SeeMetrics
            | Right::SeeUsers
            | Right::ManageUsers
            | Right::SeeAudit
            | Right::SeeReports => Scope::Panel,
        }
    }
}
