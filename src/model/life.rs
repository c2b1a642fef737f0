//! The rule of a server's life: from what is wanted and what was seen to the next step. Pure, and total over its inputs.
//!
//! The reconciler in `domain` asks [`next`] for every server, carries the answer out and records what it then sees. The
//! rule never looks at how a state came about, only at what it is: it may be asked twice, late, or after a crash.

use serde::{Deserialize, Serialize};

use super::ids::CommandId;
use super::servers::{Phase, Seen, Wanted};
use super::time::{MINUTE, Millis, SECOND};

/// Something a node is asked to do. Each is safe to ask twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Image, network, folder, sidecar, and a game container that is down.
    Prepare,
    /// Start the game and wait for its answer.
    Start,
    /// End the game, keep the sidecar at the door.
    Sleep,
    /// End the game and the sidecar, keep the data.
    Stop,
    /// Remove all, the data included.
    Destroy,
}

impl Step {
    /// All of them, for tables and tests.
    pub const ALL: [Step; 5] = [Step::Prepare, Step::Start, Step::Sleep, Step::Stop, Step::Destroy];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Prepare => "prepare",
            Step::Start => "start",
            Step::Sleep => "sleep",
            Step::Stop => "stop",
            Step::Destroy => "destroy",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.as_str() == text)
    }

    /// What the page shows while it runs.
    pub fn phase(self) -> Phase {
        match self {
            Step::Prepare => Phase::Preparing,
            Step::Start => Phase::Starting,
            Step::Sleep | Step::Stop | Step::Destroy => Phase::Stopping,
        }
    }

    /// Longest time without progress, in milliseconds, before it counts as failed and is tried again. `ready_within` is the
    /// game's own limit for its start and `stop_wait` for its end, in milliseconds.
    pub fn patience(self, ready_within: i64, stop_wait: i64) -> i64 {
        match self {
            Step::Prepare => 10 * MINUTE,
            Step::Start => ready_within + MINUTE,
            Step::Sleep | Step::Stop => stop_wait + MINUTE,
            Step::Destroy => 5 * MINUTE,
        }
    }
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// What.
    pub step: Step,
    /// The command that carries it, in the outbox.
    pub command: CommandId,
    /// When it was asked for.
    pub since: Millis,
    /// When patience ends; progress moves it on.
    pub deadline: Millis,
}

/// Why a server is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words, with what to do where something can be done.
    pub what: String,
    /// Since when.
    pub since: Millis,
    /// When it is tried again; none: somebody has to press Retry.
    pub next_try: Option<Millis>,
}

/// The three facts of a life, kept apart, and what hangs on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// Moves with every write; a write names the one it read.
    pub generation: i64,
    /// What the owner or the money says.
    pub wanted: Wanted,
    /// Since when.
    pub wanted_since: Millis,
    /// Put to sleep only if nobody is connected at the moment of stopping.
    pub gently: bool,
    /// Runs that started before this moment are to be ended: a restart.
    pub restart_before: Option<Millis>,
    /// What the pages show.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Millis,
    /// Progress of the running step, in words; empty when there is nothing to say.
    pub message: String,
    /// The step under way.
    pub doing: Option<Doing>,
    /// What went wrong last, until it is right again.
    pub trouble: Option<Trouble>,
    /// How often the step has failed in a row.
    pub attempts: u32,
    /// When the game ended by itself lately; see [`CRASH_WINDOW`].
    pub crashes: Vec<Millis>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// All is as wanted: show this phase.
    Rest(Phase),
    /// Ask the node for this step.
    Do(Step),
    /// Nothing before this moment; none: until something is reported.
    Wait(Option<Millis>),
    /// This step is past its deadline.
    Late(Step),
    /// Tries have ended; somebody has to press Retry.
    GaveUp,
    /// Nothing is left of it: the row can go.
    Forget,
}

enum Due {
    Nothing,
    Step(Step),
    Report,
    Forget,
}

fn due(life: &Life, seen: &Seen, spec_current: bool) -> Due {
    let outdated = |since: Millis| life.restart_before.is_some_and(|before| since < before);
    let prepared_then = |due: Due| if spec_current { due } else { Due::Step(Step::Prepare) };
    match (life.wanted, *seen) {
        (_, Seen::Unknown) => Due::Report,

        (Wanted::Running, Seen::Absent | Seen::Gone) => Due::Step(Step::Prepare),
        (Wanted::Running, Seen::Asleep | Seen::Exited { .. }) => prepared_then(Due::Step(Step::Start)),
        (Wanted::Running, Seen::Starting { since } | Seen::Running { since }) if outdated(since) => Due::Step(Step::Sleep),
        (Wanted::Running, Seen::Starting { .. }) => Due::Step(Step::Start),
        (Wanted::Running, Seen::Running { .. }) => Due::Nothing,

        (Wanted::Asleep, Seen::Absent | Seen::Gone) => Due::Step(Step::Prepare),
        (Wanted::Asleep, Seen::Asleep) => prepared_then(Due::Nothing),
        (Wanted::Asleep, Seen::Starting { .. } | Seen::Running { .. } | Seen::Exited { .. }) => Due::Step(Step::Sleep),

        // A step under way may still make something: only an answer to a stop says that nothing will come.
        (Wanted::Stopped | Wanted::Expired, Seen::Absent | Seen::Gone) if life.doing.is_some() => Due::Step(Step::Stop),
        (Wanted::Stopped | Wanted::Expired, Seen::Absent | Seen::Gone) => Due::Nothing,
        (Wanted::Stopped | Wanted::Expired, Seen::Asleep | Seen::Starting { .. } | Seen::Running { .. } | Seen::Exited { .. }) => {
            Due::Step(Step::Stop)
        }

        (Wanted::Deleted, Seen::Gone) if life.doing.is_none() => Due::Forget,
        (Wanted::Deleted, Seen::Absent | Seen::Gone) => Due::Step(Step::Destroy),
        (Wanted::Deleted, Seen::Asleep | Seen::Starting { .. } | Seen::Running { .. } | Seen::Exited { .. }) => Due::Step(Step::Stop),
    }
}

/// The phase in which a server rests once it is where it is wanted.
pub fn resting(wanted: Wanted) -> Phase {
    match wanted {
        Wanted::Running => Phase::Running,
        Wanted::Asleep => Phase::Sleeping,
        Wanted::Stopped => Phase::Stopped,
        Wanted::Expired => Phase::Expired,
        Wanted::Deleted => Phase::Destroyed,
    }
}

/// Names the next step. `spec_current`: the node has confirmed the settings that the row holds.
pub fn next(life: &Life, seen: &Seen, spec_current: bool, now: Millis) -> Next {
    let step = match due(life, seen, spec_current) {
        Due::Nothing => return Next::Rest(resting(life.wanted)),
        Due::Forget => return Next::Forget,
        Due::Report => return Next::Wait(None),
        Due::Step(step) => step,
    };
    match (&life.doing, &life.trouble) {
        (Some(doing), _) if doing.step == step && now >= doing.deadline => Next::Late(step),
        (Some(doing), _) if doing.step == step => Next::Wait(Some(doing.deadline)),
        (None, Some(Trouble { next_try: None, .. })) => Next::GaveUp,
        (None, Some(Trouble { next_try: Some(at), .. })) if now < *at => Next::Wait(Some(*at)),
        (Some(_) | None, _) => Next::Do(step),
    }
}

/// A step is tried this often in a row before somebody has to press Retry.
pub const ATTEMPTS_MAX: u32 = 6;

/// Longest wait between two tries, in milliseconds.
pub const WAIT_MAX: i64 = 5 * MINUTE;

/// How long to wait after the `attempts`th failure in a row: 2 s, doubling, at most [`WAIT_MAX`]. None: enough.
pub fn wait_after(attempts: u32) -> Option<i64> {
    (attempts < ATTEMPTS_MAX).then(|| ((2 * SECOND) << attempts.saturating_sub(1).min(10)).min(WAIT_MAX))
}

/// Crashes are counted over this time.
pub const CRASH_WINDOW: i64 = 10 * MINUTE;
/// So many restarts are made in [`CRASH_WINDOW`].
pub const CRASH_RESTARTS: usize = 3;

impl Life {
    /// Notes that the step under way failed.
    pub fn failed(&mut self, what: String, retry: bool, now: Millis) {
        self.doing = None;
        self.attempts = self.attempts.saturating_add(1);
        let next_try = match (self.wanted, retry) {
            // Nobody is left to press Retry, and what stays takes disk and addresses from others.
            (Wanted::Deleted, _) => Some(now + wait_after(self.attempts).unwrap_or(WAIT_MAX)),
            (_, true) => wait_after(self.attempts).map(|wait| now + wait),
            (_, false) => None,
        };
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        self.trouble = Some(Trouble { what, since, next_try });
        self.show(Phase::Failed, now);
    }

    /// Notes that the game ended by itself at `at`; false when that was known already.
    pub fn crashed(&mut self, at: Millis, what: String, now: Millis) -> bool {
        if self.crashes.contains(&at) {
            return false;
        }
        self.crashes.retain(|crash| at.since(*crash) < CRASH_WINDOW);
        self.crashes.push(at);
        self.doing = None;
        let tries = self.crashes.len();
        let next_try = (tries <= CRASH_RESTARTS).then(|| now + ((2 * SECOND) << (2 * (tries - 1))));
        self.trouble = Some(Trouble { what, since: now, next_try });
        self.show(Phase::Failed, now);
        true
    }

    /// Changes what is wanted; what went wrong before counts no more.
    pub fn want(&mut self, wanted: Wanted, now: Millis) {
        self.wanted = wanted;
        self.wanted_since = now;
        self.gently = false;
        self.forgive();
    }

    /// Tries again from the start.
    pub fn forgive(&mut self) {
        self.trouble = None;
        self.attempts = 0;
        self.crashes.clear();
    }

    /// Shows a phase; its age starts anew only when it changes.
    pub fn show(&mut self, phase: Phase, now: Millis) {
        if self.phase != phase {
            self.phase = phase;
            self.phase_since = now;
            self.message.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn life(wanted: Wanted) -> Life {
        Life {
            generation: 1,
            wanted,
            wanted_since: Millis(0),
            gently: false,
            restart_before: None,
            phase: Phase::Requested,
            phase_since: Millis(0),
            message: String::new(),
            doing: None,
            trouble: None,
            attempts: 0,
            crashes: Vec::new(),
        }
    }

    fn all_seen() -> [Seen; 7] {
        [
            Seen::Unknown,
            Seen::Absent,
            Seen::Asleep,
            Seen::Starting { since: Millis(5) },
            Seen::Running { since: Millis(6) },
            Seen::Exited { code: 1, oom: false, at: Millis(7) },
            Seen::Gone,
        ]
    }

    /// What a faithful node reports after a step.
    fn carried_out(step: Step) -> Seen {
        match step {
            Step::Prepare | Step::Sleep => Seen::Asleep,
            Step::Start => Seen::Running { since: NOW },
            Step::Stop => Seen::Absent,
            Step::Destroy => Seen::Gone,
        }
    }

    #[test]
    fn from_everything_seen_every_wish_comes_true_in_at_most_three_steps() {
        for wanted in Wanted::ALL {
            for start in all_seen() {
                for mut current in [true, false] {
                    let life = life(wanted);
                    let mut seen = start;
                    let mut steps = 0;
                    loop {
                        match next(&life, &seen, current, NOW) {
                            Next::Rest(phase) => {
                                assert_eq!(phase, resting(wanted), "{wanted:?} from {start:?}");
                                break;
                            }
                            Next::Forget => {
                                assert_eq!(wanted, Wanted::Deleted);
                                break;
                            }
                            Next::Wait(None) => {
                                assert_eq!(start, Seen::Unknown, "only silence is waited out");
                                break;
                            }
                            Next::Do(step) => {
                                current |= step == Step::Prepare;
                                seen = carried_out(step);
                                steps += 1;
                                assert!(steps <= 3, "{wanted:?} from {start:?}");
                            }
                            other @ (Next::Wait(Some(_)) | Next::Late(_) | Next::GaveUp) => panic!("{other:?} without a step or trouble"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_step_under_way_is_waited_for_then_late_and_gives_way_to_another_wish() {
        for wanted in Wanted::ALL {
            for seen in all_seen() {
                let Next::Do(due) = next(&life(wanted), &seen, true, NOW) else { continue };
                for step in Step::ALL {
                    let doing = Doing { step, command: "c".parse().unwrap(), since: Millis(0), deadline: NOW + 1 };
                    let life = Life { doing: Some(doing), ..life(wanted) };
                    let expected = if step == due { Next::Wait(Some(NOW + 1)) } else { Next::Do(due) };
                    assert_eq!(next(&life, &seen, true, NOW), expected, "{wanted:?} {seen:?} while {step:?}");
                    let expected = if step == due { Next::Late(due) } else { Next::Do(due) };
                    assert_eq!(next(&life, &seen, true, NOW + 1), expected, "{wanted:?} {seen:?} past {step:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_rests_and_no_row_goes_while_a_step_is_under_way_that_may_still_make_something() {
        for wanted in [Wanted::Stopped, Wanted::Expired, Wanted::Deleted] {
            for seen in all_seen().into_iter().filter(|seen| *seen != Seen::Unknown) {
                for step in [Step::Prepare, Step::Start, Step::Sleep] {
                    let doing = Doing { step, command: "c".parse().unwrap(), since: Millis(0), deadline: NOW + 1 };
                    let life = Life { doing: Some(doing), ..life(wanted) };
                    let next = next(&life, &seen, true, NOW);
                    assert!(matches!(next, Next::Do(Step::Stop | Step::Destroy)), "{wanted:?} {seen:?} while {step:?}: {next:?}");
                }
            }
        }
    }

    #[test]
    fn a_removal_that_fails_is_tried_for_ever() {
        let mut life = life(Wanted::Deleted);
        for n in 0..100_i64 {
            let now = NOW + n * 10 * MINUTE;
            life.failed("the disk does not answer".to_owned(), n % 2 == 0, now);
            let at = life.trouble.as_ref().and_then(|trouble| trouble.next_try).expect("there is a next try");
            assert!(at.since(now) <= WAIT_MAX);
            assert_eq!(next(&life, &Seen::Absent, true, at), Next::Do(Step::Destroy));
        }
    }

    #[test]
    fn a_failure_is_tried_again_with_growing_waits_and_then_rests() {
        let mut life = life(Wanted::Running);
        let mut now = NOW;
        let mut waits = Vec::new();
        loop {
            life.failed("no image".to_owned(), true, now);
            assert_eq!(life.phase, Phase::Failed);
            match next(&life, &Seen::Absent, true, now) {
                Next::Wait(Some(at)) => {
                    waits.push(at.since(now));
                    now = at;
                    assert_eq!(next(&life, &Seen::Absent, true, now), Next::Do(Step::Prepare));
                }
                Next::GaveUp => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000]);
        assert_eq!(life.trouble.as_ref().map(|t| t.since), Some(NOW));
        life.want(Wanted::Running, now);
        assert_eq!(next(&life, &Seen::Absent, true, now), Next::Do(Step::Prepare));
    }

    #[test]
    fn three_crashes_are_mended_the_fourth_is_not() {
        let mut life = life(Wanted::Running);
        for n in 1..=4 {
            let at = NOW + n * MINUTE;
            assert!(life.crashed(at, "exit code 1".to_owned(), at));
            assert!(!life.crashed(at, "told twice".to_owned(), at));
            let seen = Seen::Exited { code: 1, oom: false, at };
            let rests = matches!(next(&life, &seen, true, at), Next::GaveUp);
            assert_eq!(rests, n == 4, "crash {n}");
        }
        let mut life = self::life(Wanted::Running);
        for n in 1..=9 {
            let at = NOW + n * 6 * MINUTE;
            life.crashed(at, "seldom".to_owned(), at);
            assert!(life.trouble.as_ref().is_some_and(|t| t.next_try.is_some()), "crash {n} stands alone in its window");
        }
    }

    #[test]
    fn a_restart_ends_only_the_runs_before_it() {
        let life = Life { restart_before: Some(Millis(100)), ..life(Wanted::Running) };
        assert_eq!(next(&life, &Seen::Running { since: Millis(99) }, true, NOW), Next::Do(Step::Sleep));
        assert_eq!(next(&life, &Seen::Asleep, true, NOW), Next::Do(Step::Start));
        assert_eq!(next(&life, &Seen::Running { since: Millis(100) }, true, NOW), Next::Rest(Phase::Running));
    }
}
