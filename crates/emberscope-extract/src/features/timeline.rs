//! When tasks ran: how many at a time, which stages shared the time, and when nothing ran.

use std::collections::BTreeMap;

use emberscope_run::{Run, StageKey, TaskColumn, TaskStatus, Timestamp, NULL};

/// A time in which a job was running and no task was, or no job was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its beginning: the end of the last task before it (or the start of the application).
    pub from: Timestamp,
    /// Its end: the launch of the next task (or the end of the application).
    pub to: Timestamp,
    /// The stage attempt whose task ended it; `None` for the gap at the end.
    pub next_stage: Option<StageKey>,
    /// The stage attempt whose task ended last before it; `None` for the gap at the start.
    pub previous_stage: Option<StageKey>,
}

impl Gap {
    /// Its length in ms.
    pub fn ms(&self) -> u64 {
        self.to.since(self.from).0
    }
}

/// The run by the clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    /// Time in which at least one task ran, in ms.
    pub busy_ms: u64,
    /// Task-milliseconds: the sum of all tasks' durations.
    pub task_ms: u64,
    /// The most tasks that ran at once.
    pub peak_tasks: u64,
    /// Launch of the first task.
    pub first_launch: Option<Timestamp>,
    /// End of the last task.
    pub last_finish: Option<Timestamp>,
    /// Times without any task, from the start of the application to its end, in order; none shorter than 1 ms.
    pub gaps: Vec<Gap>,
    /// Each stage attempt's share of the wall clock in ms: time in which it had a task running, divided among the
    /// stages that did so at the same time. The shares sum to `busy_ms`.
    pub stage_ms: BTreeMap<StageKey, f64>,
}

impl Timeline {
    /// The timeline of a run.
    pub fn of(run: &Run) -> Self {
        let (edges, task_ms) = edges(run);
        let mut timeline = Self { task_ms, ..Self::default() };
        let mut running: BTreeMap<StageKey, u64> = BTreeMap::new();
        let mut tasks = 0_u64;
        let mut now = run.application.start().map(|start| start.0);
        let mut previous_stage = None;
        for (at, delta, stage) in edges {
            let before = now.unwrap_or(at);
            if at > before {
                let step = (at - before) as u64;
                if tasks == 0 {
                    timeline.gaps.push(Gap {
                        from: Timestamp(before),
                        to: Timestamp(at),
                        next_stage: Some(stage),
                        previous_stage,
                    });
                } else {
                    timeline.busy_ms += step;
                    let share = step as f64 / running.len() as f64;
                    for stage in running.keys() {
                        *timeline.stage_ms.entry(*stage).or_default() += share;
                    }
                }
            }
            now = Some(now.map_or(at, |now| now.max(at)));
            if delta > 0 {
                tasks += 1;
                timeline.first_launch.get_or_insert(Timestamp(at));
                *running.entry(stage).or_default() += 1;
            } else {
                tasks = tasks.saturating_sub(1);
                timeline.last_finish = Some(Timestamp(at));
                previous_stage = Some(stage);
                if let Some(count) = running.get_mut(&stage) {
                    *count -= 1;
                    if *count == 0 {
                        running.remove(&stage);
                    }
                }
            }
            timeline.peak_tasks = timeline.peak_tasks.max(tasks);
        }
        if let (Some(from), Some(to)) = (timeline.last_finish, run.application.end())
            && to > from
        {
            timeline.gaps.push(Gap { from, to, next_stage: None, previous_stage });
        }
        timeline
    }

    /// Gaps between the first launch and the last finish: the driver had started work and had not finished it.
    pub fn inner_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.next_stage.is_some() && gap.previous_stage.is_some())
    }
}

/// Launches (+1) and finishes (-1) in order of time, finishes first at the same time; and the sum of all durations.
fn edges(run: &Run) -> (Vec<(i64, i8, StageKey)>, u64) {
    let mut edges = Vec::with_capacity(run.task_count() * 2);
    let mut task_ms = 0_u64;
    let resubmitted = TaskStatus::Resubmitted.code();
    for (key, stage) in &run.stages {
        let launches = stage.tasks.column(TaskColumn::LaunchTime);
        let finishes = stage.tasks.column(TaskColumn::FinishTime);
        let statuses = stage.tasks.column(TaskColumn::Status);
        for ((&launch, &finish), &status) in launches.iter().zip(&finishes).zip(&statuses) {
            if launch == NULL || finish == NULL || finish <= launch || status == resubmitted {
                continue;
            }
            edges.push((launch as i64, 1, *key));
            edges.push((finish as i64, -1, *key));
            task_ms = task_ms.saturating_add(finish - launch);
        }
    }
    edges.sort_unstable();
    (edges, task_ms)
}
