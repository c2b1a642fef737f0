//! A phase as people see it: one word, one sign, one sky. And the actions that make sense in it.
//!
//! The sky is the product's picture of a state: day while awake, night while asleep, dawn and dusk between, an eclipse for
//! trouble. Colour never stands alone: word and sign are always beside it.

use crate::model::life::Life;
use crate::model::servers::{Phase, Wanted};

/// A phase, ready to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseView {
    /// One or two words.
    pub word: &'static str,
    /// Name of the sign in `static/icons/signs.svg`.
    pub sign: &'static str,
    /// Class of the sky.
    pub sky: &'static str,
    /// It passes by itself: the page shows since when.
    pub passing: bool,
}

/// A text of a node or a provider as a whole sentence, so that what follows does not run into it.
pub fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

impl PhaseView {
    /// How a phase looks; `wanted` tells falling asleep from stopping for good.
    pub fn of(phase: Phase, wanted: Wanted) -> PhaseView {
        let (word, sign, sky) = match (phase, wanted) {
            (Phase::Requested, _) => ("Requested", "dawn", "dawn"),
            (Phase::Preparing, _) => ("Preparing", "dawn", "dawn"),
            (Phase::Starting, _) => ("Waking up", "dawn", "dawn"),
            (Phase::Running, _) => ("Awake", "sun", "day"),
            (Phase::Stopping, Wanted::Asleep) => ("Falling asleep", "dusk", "dusk"),
            (Phase::Stopping, Wanted::Running) => ("Restarting", "dusk", "dusk"),
            (Phase::Stopping, Wanted::Deleted) => ("Being deleted", "dusk", "dusk"),
            (Phase::Stopping, Wanted::Stopped | Wanted::Expired) => ("Stopping", "dusk", "dusk"),
            (Phase::Sleeping, _) => ("Asleep", "moon", "night"),
            (Phase::Stopped, _) => ("Stopped", "stop", "off"),
            (Phase::Expired, _) => ("Expired", "stop", "off"),
            (Phase::Failed, _) => ("Trouble", "alert", "trouble"),
            (Phase::Destroyed, _) => ("Deleted", "stop", "off"),
        };
        PhaseView { word, sign, sky, passing: !phase.rests() }
    }

    /// The bird on a wide sky, where one sits there: a name in `static/icons/signs.svg`.
    pub fn bird(&self) -> Option<&'static str> {
        match self.sky {
            "day" | "dawn" => Some("bird"),
            "night" | "dusk" => Some("bird-asleep"),
            _empty => None,
        }
    }
}

/// Something its owner can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a sleeping game.
    Wake,
    /// Put it to sleep.
    Sleep,
    /// Start a stopped one.
    Start,
    /// End it and the door.
    Stop,
    /// End it and start it again.
    Restart,
    /// Try again what failed.
    Retry,
}

impl Action {
    /// On the button.
    pub fn word(self) -> &'static str {
        match self {
            Action::Wake => "Wake",
            Action::Sleep => "Put to sleep",
            Action::Start => "Start",
            Action::Stop => "Stop",
            Action::Restart => "Restart",
            Action::Retry => "Retry now",
        }
    }

    /// Last part of the path that is posted to: `/servers/{id}/{path}`.
    pub fn path(self) -> &'static str {
        match self {
            Action::Wake => "wake",
            Action::Sleep => "hibernate",
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Restart => "restart",
            Action::Retry => "retry",
        }
    }

    /// Class of its button: what wakes is warm, what puts to sleep is cool.
    pub fn class(self) -> &'static str {
        match self {
            Action::Wake | Action::Start => "warm",
            Action::Sleep => "cool",
            Action::Retry => "ink",
            Action::Stop | Action::Restart => "quiet",
        }
    }

    /// Name of the sign on its button.
    pub fn sign(self) -> &'static str {
        match self {
            Action::Wake | Action::Start => "sun",
            Action::Sleep => "moon",
            Action::Stop => "stop",
            Action::Restart | Action::Retry => "again",
        }
    }

    /// It needs credits.
    pub fn wakes(self) -> bool {
        match self {
            Action::Wake | Action::Start => true,
            Action::Sleep | Action::Stop | Action::Restart | Action::Retry => false,
        }
    }

    /// What happens, for the tooltip.
    pub fn hint(self) -> &'static str {
        match self {
            Action::Wake => "Start the game now. Joining it would do the same.",
            Action::Sleep => "End the game and keep the door: the next player who joins wakes it.",
            Action::Start => "Start the game and open its door again.",
            Action::Stop => "End the game and close its door: nobody wakes it until you start it. The data stay.",
            Action::Restart => "End the game and start it again. Players are disconnected.",
            Action::Retry => "Try again at once instead of waiting.",
        }
    }
}

/// The actions that make sense, the obvious one first.
pub fn actions(life: &Life) -> Vec<Action> {
    use Action::{Restart, Retry, Sleep, Start, Stop, Wake};
    match (life.phase, life.wanted) {
        (_, Wanted::Deleted | Wanted::Expired) | (Phase::Destroyed | Phase::Expired, _) => vec![],
        (Phase::Failed, Wanted::Running) => vec![Retry, Sleep, Stop],
        (Phase::Failed, Wanted::Asleep) => vec![Retry, Stop],
        (Phase::Failed, Wanted::Stopped) => vec![Retry, Start],
        (Phase::Running, _) => vec![Sleep, Restart, Stop],
        (Phase::Sleeping, _) => vec![Wake, Stop],
        (Phase::Stopped, _) => vec![Start],
        (Phase::Requested | Phase::Preparing | Phase::Starting, Wanted::Running) => vec![Sleep, Stop],
        (Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping, Wanted::Asleep) => vec![Wake, Stop],
        (Phase::Stopping, Wanted::Running) => vec![Stop],
        (Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping, Wanted::Stopped) => vec![Start],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awake_and_asleep_never_share_a_sky() {
        let skies: Vec<_> = [Phase::Running, Phase::Sleeping, Phase::Failed, Phase::Stopped]
            .map(|phase| PhaseView::of(phase, Wanted::Running).sky)
            .to_vec();
        assert_eq!(skies, ["day", "night", "trouble", "off"]);
        for phase in Phase::ALL {
            for wanted in Wanted::ALL {
                let view = PhaseView::of(phase, wanted);
                assert!(!view.word.is_empty() && !view.sign.is_empty());
                assert_eq!(view.sky == "day", phase == Phase::Running);
            }
        }
    }
}
