//! What happens by itself: each worker is a name, a period and one tick without input. Timer and nudge call the same tick.
//!
//! One [`Runner`] owns every task of the process. Asked to stop, they finish what they are at; whoever does not within
//! [`GRACE`] is dropped. A task that ends without being asked takes the process with it, for somebody to start it anew.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::domain::{Ctx, Refusal, backups, billing, books, figures, mails, nodes, payments, reports, servers, subscriptions};

/// How long tasks have to end.
pub const GRACE: Duration = Duration::from_secs(10);
/// How often servers whose time has come are looked at.
const DUE_EVERY: Duration = Duration::from_secs(1);
/// How often what has served its time is forgotten.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// How often backups and moves are looked at.
const BACKUPS_EVERY: Duration = Duration::from_secs(5);

/// How often is looked whether a day is over, for sums of the day and the check of the night.
const BOOKS_EVERY: Duration = Duration::from_mins(10);

/// How often payments and subscriptions are looked at.
const PAYMENTS_EVERY: Duration = Duration::from_secs(10);

/// How often the outbox of letters is looked at.
const MAILS_EVERY: Duration = Duration::from_secs(5);

/// How often the figure of the minute is looked for; more than once a minute, so that none is left out.
const FIGURES_EVERY: Duration = Duration::from_secs(20);

/// Periods that an operator sets.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    /// Comparing wanted with seen for every server.
    pub reconcile: Duration,
    /// Looking for quiet servers.
    pub auto_sleep: Duration,
    /// Posting charges.
    pub billing: Duration,
}

/// Owns every task.
#[derive(Default)]
pub struct Runner {
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Runner {
    /// The token that says stop; given to tasks that have to know.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task to its end, which must not come before the stop.
    pub fn task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Runs a tick every period.
    pub fn every<F>(&mut self, name: &'static str, period: Duration, tick: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), Refusal>> + Send,
    {
        self.beat(name, period, std::future::pending, tick);
    }

    /// Runs a tick every period, and at once when somebody nudges.
    fn nudged<F>(
        &mut self,
        name: &'static str,
        period: Duration,
        ctx: &Arc<Ctx>,
        nudge: fn(&Ctx) -> &Notify,
        tick: impl Fn(Arc<Ctx>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), Refusal>> + Send,
    {
        let (waits, ctx) = (ctx.clone(), ctx.clone());
        let nudged = move || {
            let ctx = waits.clone();
            async move { nudge(&ctx).notified().await }
        };
        self.beat(name, period, nudged, move || tick(ctx.clone()));
    }

    fn beat<N, F>(
        &mut self,
        name: &'static str,
        period: Duration,
        nudged: impl Fn() -> N + Send + Sync + 'static,
        tick: impl Fn() -> F + Send + Sync + 'static,
    ) where
        N: Future<Output = ()> + Send,
        F: Future<Output = Result<(), Refusal>> + Send,
    {
        let stop = self.stop.clone();
        self.task(name, async move {
            let mut timer = tokio::time::interval(period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = timer.tick() => {}
                    () = nudged() => {}
                }
                if let Err(error) = tick().await {
                    tracing::warn!(worker = name, error = &error as &dyn std::error::Error, "a tick failed; the next one comes");
                }
            }
        });
    }

    /// Waits for the order to stop, or for a task that ends on its own; then ends the others. True: it was ordered.
    pub async fn run(mut self, order: impl Future<Output = ()>) -> bool {
        let ordered = tokio::select! {
            () = order => true,
            ended = self.tasks.join_next() => {
                tracing::error!(task = ?ended, "a task ended on its own; the process ends with it");
                false
            }
        };
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("some tasks did not end in time and are dropped");
        }
        ordered
    }
}

/// Starts the panel's workers.
pub fn start(runner: &mut Runner, ctx: &Arc<Ctx>, periods: Periods) {
    runner.nudged("reconcile-due", DUE_EVERY, ctx, |ctx| &ctx.nudge, |ctx| async move { servers::reconcile(&ctx, false).await.map(drop) });
    runner.nudged(
        "backups",
        BACKUPS_EVERY,
        ctx,
        |ctx| &ctx.backups_nudge,
        |ctx| async move {
            backups::tick(&ctx).await?;
            servers::moves(&ctx).await
        },
    );
    let all = ctx.clone();
    runner.every("reconcile", periods.reconcile, move || {
        let ctx = all.clone();
        async move {
            servers::reconcile(&ctx, true).await?;
            servers::resend(&ctx).await.map(drop)
        }
    });
    let sleep = ctx.clone();
    runner.every("auto-sleep", periods.auto_sleep, move || {
        let ctx = sleep.clone();
        async move { servers::auto_sleep(&ctx).await.map(drop) }
    });
    runner.nudged("billing", periods.billing, ctx, |ctx| &ctx.billing_nudge, |ctx| async move { billing::tick(&ctx).await.map(drop) });
    runner.nudged(
        "payments",
        PAYMENTS_EVERY,
        ctx,
        |ctx| &ctx.payments_nudge,
        |ctx| async move {
            payments::tick(&ctx).await?;
            subscriptions::tick(&ctx).await.map(drop)
        },
    );
    let noted = ctx.clone();
    runner.every("figures", FIGURES_EVERY, move || {
        let ctx = noted.clone();
        async move { figures::note(&ctx).await.map(drop) }
    });
    let nights = ctx.clone();
    runner.every("books", BOOKS_EVERY, move || {
        let ctx = nights.clone();
        async move {
            reports::close_days(&ctx).await?;
            books::nightly(&ctx).await.map(drop)
        }
    });
    let letters = ctx.clone();
    runner.every("mails", MAILS_EVERY, move || {
        let ctx = letters.clone();
        async move { mails::tick(&ctx).await.map(drop) }
    });
    let sweeps = ctx.clone();
    runner.every("sweep", SWEEP_EVERY, move || {
        let ctx = sweeps.clone();
        async move {
            servers::sweep(&ctx).await?;
            payments::sweep(&ctx).await?;
            nodes::sweep(&ctx).await
        }
    });
}
