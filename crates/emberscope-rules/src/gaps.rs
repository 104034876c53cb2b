//! Times in which no task ran, and whose they were: the driver's, the cluster's, or a person's.

use emberscope_extract::features::Gap;
use emberscope_run::{Run, StageKey, Timestamp};

use crate::deployment;
use crate::rule::Context;
use crate::support::total;

/// What the driver was about in a time without tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doing {
    /// Inside a job, between its stages or after its last: the scheduler, a broadcast, the collection of results.
    Job,
    /// Inside a SQL execution and outside its jobs, before the first of them: analysis, planning, listing files.
    Planning,
    /// Inside a SQL execution after tasks that wrote output: the commit.
    Commit,
    /// Inside a SQL execution, otherwise.
    Sql,
    /// With no job and no SQL execution open: the program's own code on the driver.
    Program,
}

/// A time in which no task ran and executors were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriverGap {
    /// Its beginning.
    pub(crate) from: Timestamp,
    /// Its end.
    pub(crate) to: Timestamp,
    /// What the driver was about for most of it.
    pub(crate) doing: Doing,
    /// The stage attempt whose task ended last before it.
    pub(crate) previous: Option<StageKey>,
    /// The stage attempt whose task came next.
    pub(crate) next: Option<StageKey>,
}

impl DriverGap {
    /// Its length in ms.
    pub(crate) fn ms(&self) -> u64 {
        self.to.since(self.from).0
    }
}

/// What became of the times without tasks between the first launch and the end of the last action.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Gaps {
    /// The driver worked and executors waited.
    pub(crate) driver: Vec<DriverGap>,
    /// A stage was ready and there was no executor to run it, in ms.
    pub(crate) no_executor_ms: u64,
    /// No action was under way and a person or a trigger decides when the next comes, in ms.
    pub(crate) between_actions_ms: u64,
}

/// Divides the gaps of a run; those shorter than `min_ms` are left out.
pub(crate) fn gaps(ctx: &Context<'_>, min_ms: f64) -> Gaps {
    let run = ctx.run;
    let waits_by_nature = deployment::is_interactive(run) || deployment::is_streaming(run);
    let open = OpenTimes::of(run);
    let mut all = Gaps::default();
    if waits_by_nature {
        // Before the first action and after the last one too.
        let outer =
            ctx.features.timeline.gaps.iter().filter(|gap| gap.previous_stage.is_none() || gap.next_stage.is_none());
        for gap in outer {
            let idle = gap.ms().saturating_sub(open.actions.covered(gap.from, gap.to));
            all.between_actions_ms = all.between_actions_ms.saturating_add(idle);
        }
    }
    let inner = ctx.features.timeline.inner_gaps().copied();
    // A task that had not ended when the log did ran through every gap after its launch.
    let unfinished =
        run.stages.values().flat_map(|stage| stage.running.values()).filter_map(|task| task.launched_at).min();
    // After the last task only what an action still does counts: its commit, the collection of its result.
    let trailing = ctx.features.timeline.gaps.iter().filter(|gap| gap.next_stage.is_none()).filter_map(|gap| {
        let to = open.ended.at(gap.from)?.min(gap.to);
        Some(Gap { to, ..*gap })
    });
    for gap in inner.chain(trailing).filter(|gap| gap.ms() as f64 >= min_ms) {
        // Clocks that disagree can put a gap outside of the run.
        let within = run.application.start().is_none_or(|start| start <= gap.from)
            && run.application.end().is_none_or(|end| gap.to <= end);
        if !within || unfinished.is_some_and(|launched| launched < gap.to) {
            continue;
        }
        // Once the next stage is submitted the driver has done its part.
        let submitted = gap.next_stage.and_then(|key| run.stages.get(&key)?.submitted_at);
        let ready = submitted.map_or(gap.to, |at| at.clamp(gap.from, gap.to));
        let waited = gap.to.since(ready).0;
        if waited as f64 >= min_ms && without_slots(run, ready, gap.to) {
            all.no_executor_ms = all.no_executor_ms.saturating_add(waited);
        }
        let driver_ms = ready.since(gap.from).0;
        if (driver_ms as f64) < min_ms {
            continue;
        }
        let in_job = open.jobs.covered(gap.from, ready);
        let in_action = open.actions.covered(gap.from, ready);
        if waits_by_nature && in_action.saturating_mul(2) < driver_ms {
            all.between_actions_ms = all.between_actions_ms.saturating_add(driver_ms - in_action);
            continue;
        }
        let doing = if in_job.saturating_mul(2) >= driver_ms {
            Doing::Job
        } else if in_action.saturating_mul(2) < driver_ms {
            Doing::Program
        } else if wrote(ctx, gap.previous_stage) && open.open_until(gap.from).is_some() {
            Doing::Commit
        } else if open.open_until(gap.from).is_none() {
            Doing::Planning
        } else {
            Doing::Sql
        };
        all.driver.push(DriverGap {
            from: gap.from,
            to: ready,
            doing,
            previous: gap.previous_stage,
            next: gap.next_stage,
        });
    }
    all
}

fn wrote(ctx: &Context<'_>, key: Option<StageKey>) -> bool {
    let stage = key.and_then(|key| ctx.features.stages.get(&key));
    stage.and_then(|stage| stage.sum(emberscope_extract::features::Metric::OutputBytes)).is_some_and(|bytes| bytes > 0)
}

/// Whether there was no slot at the beginning of a time: `false` when slots are not known.
fn without_slots(run: &Run, from: Timestamp, to: Timestamp) -> bool {
    to > from && (run.slots_at(from) == Some(0) || no_executor_at(run, from))
}

/// Whether every executor whose times are known had gone or not yet come.
fn no_executor_at(run: &Run, at: Timestamp) -> bool {
    let mut known = run.worker_executors().filter(|executor| executor.added_at.is_some()).peekable();
    known.peek().is_some()
        && known
            .all(|e| e.added_at.is_some_and(|added| added > at) || e.removed_at.is_some_and(|removed| removed <= at))
}

/// Times in which jobs, or actions (jobs and SQL executions), were open: disjoint, in order.
struct OpenTimes {
    jobs: Spans,
    actions: Spans,
    /// Actions whose end was seen.
    ended: Spans,
}

impl OpenTimes {
    fn of(run: &Run) -> Self {
        let end = run.application.end();
        let jobs: Vec<_> =
            run.jobs.values().filter_map(|job| Some((job.submitted_at?, job.completed_at.or(end)?))).collect();
        let sql = run.sql_executions.values().filter_map(|sql| Some((sql.started_at?, sql.ended_at.or(end)?)));
        let actions = jobs.iter().copied().chain(sql).collect();
        let ended_jobs = run.jobs.values().filter_map(|job| Some((job.submitted_at?, job.completed_at?)));
        let ended_sql = run.sql_executions.values().filter_map(|sql| Some((sql.started_at?, sql.ended_at?)));
        Self {
            jobs: Spans::of(jobs),
            actions: Spans::of(actions),
            ended: Spans::of(ended_jobs.chain(ended_sql).collect()),
        }
    }

    /// The end of the action that is open at `at`; `None` when none is.
    fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        self.actions.at(at)
    }
}

struct Spans(Vec<(Timestamp, Timestamp)>);

impl Spans {
    fn of(mut spans: Vec<(Timestamp, Timestamp)>) -> Self {
        spans.retain(|(from, to)| from < to);
        spans.sort_unstable();
        let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (from, to) in spans {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    fn at(&self, at: Timestamp) -> Option<Timestamp> {
        let index = self.0.partition_point(|(_, to)| *to <= at);
        self.0.get(index).filter(|(from, _)| *from <= at).map(|(_, to)| *to)
    }

    fn covered(&self, from: Timestamp, to: Timestamp) -> u64 {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let overlapping = self.0.iter().skip(first).take_while(|(start, _)| *start < to);
        total(overlapping.map(|(start, end)| (*end).min(to).since((*start).max(from)).0))
    }
}
