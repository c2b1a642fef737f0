//! Servers that their owners share: who else may do what with one, and invitations that wait for an answer.

use super::accounts::Email;
use super::ids::{InvitationId, ServerId, UserId};
use super::sets::named_set;
use super::time::Millis;

named_set! {
    /// Something that an owner lets a guest do with a server. Seeing it comes with each.
    Grant,
    /// What a guest may do.
    Grants {
        /// Its page.
        See: "see", "See it", "Its page: state, address, log, numbers, history, list of backups.";
        /// The buttons.
        Power: "power", "Power", "Wake, put to sleep, start, stop and restart it. Its owner pays for the time awake.";
        /// Its console.
        Console: "console", "Console", "Type commands for the game.";
        /// Its data.
        Files: "files", "Files and backups", "Make, download, restore and delete backups and their schedule.";
        /// How it is set up.
        Settings: "settings", "Settings", "Name, sleep, the game’s own settings, layers.";
    }
}

impl Grants {
    /// The same, with seeing it.
    #[must_use]
    pub fn seeing(self) -> Grants {
        self.with(Grant::See)
    }
}

/// Somebody who may do something with somebody else's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which server.
    pub server: ServerId,
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// What they may do.
    pub grants: Grants,
    /// Since when.
    pub since: Millis,
}

/// An invitation that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// To which server.
    pub server: ServerId,
    /// To whom: only an account with this address can take it up.
    pub email: Email,
    /// What they will be able to do.
    pub grants: Grants,
    /// Who invited, for the one who is invited to read.
    pub made_by: String,
    /// When.
    pub created_at: Millis,
    /// Until when it can be taken up.
    pub expires_at: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_read_as_they_are_written_and_unknown_ones_are_refused() {
        let some = Grants::NONE.with(Grant::Files).with(Grant::See);
        assert_eq!(some.to_string(), "see,files");
        assert_eq!(Grants::parse("see, files"), Some(some));
        assert_eq!(Grants::parse(""), Some(Grants::NONE));
        assert_eq!(Grants::parse("see,all"), None);
        assert!(Grants::NONE.with(Grant::Power).seeing().has(Grant::See));
        assert_eq!(Grants::all().iter().count(), Grant::ALL.len());
    }
}
