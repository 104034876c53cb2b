//! When tasks ran: how many at a time, which stages shared the time, and when nothing ran.

use std::collections::BTreeMap;

use emberscope_run::{NULL, Run, StageAttempt, StageKey, TaskColumn, TaskStatus, Timestamp};

use super::slots::Slots;

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
    /// Core-milliseconds in which tasks ran: tasks at a time, but no more than there were slots, times `spark.task.cpus`. As
    /// `task_ms` times that where the slots are not known.
    pub core_ms: u64,
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

/// Parts of a millisecond in which shares of the wall clock are counted.
const PARTS: u128 = 1 << 40;

impl Timeline {
    /// The timeline of a run.
    pub fn of(run: &Run) -> Self {
        Self::with_slots(run, &Slots::of(run))
    }

    /// The same for slots that are known already.
    pub(super) fn with_slots(run: &Run, slots: &Slots) -> Self {
        let cpus = run.environment.spark.integer("spark.task.cpus").ok().flatten().unwrap_or(1).max(1) as u64;
        let edges = Edges::of(run);
        let mut timeline = Self { task_ms: edges.task_ms, ..Self::default() };
        let mut running = vec![0_u64; edges.stages.len()];
        let mut opened = vec![0_u128; edges.stages.len()];
        let mut shares = vec![0_u128; edges.stages.len()];
        // The number of stages that run something divides the time. What a stage would have got by now had it run from the
        // start grows alike for all of them, so each is only looked at when it opens and closes. In parts of a ms (`PARTS`),
        // so that a stage that runs alone gets whole milliseconds.
        let (mut open, mut share) = (0_u128, 0_u128);
        let mut tasks = 0_u64;
        let mut now = run.application.start().map(|start| start.0);
        let mut previous_stage = None;
        for (at, launch, stage) in edges.in_order() {
            let before = now.unwrap_or(at);
            if at > before {
                let step = (at - before) as u64;
                if tasks == 0 {
                    let (from, to) = (Timestamp(before), Timestamp(at));
                    timeline.gaps.push(Gap { from, to, next_stage: Some(edges.stages[stage]), previous_stage });
                } else {
                    timeline.busy_ms += step;
                    // Of executors that come or go in between, those that were there for the whole time. A task that ran when
                    // none is known to have been there counts as it is.
                    let there = |at| slots.at(Timestamp(at)).unwrap_or(u64::MAX);
                    let at_once = tasks.min(there(before)).min(there(at - 1));
                    let used = step.saturating_mul(at_once).saturating_mul(cpus);
                    timeline.core_ms = timeline.core_ms.saturating_add(used);
                    share += u128::from(step) * PARTS / open.max(1);
                }
            }
            now = Some(now.map_or(at, |now| now.max(at)));
            if launch {
                tasks += 1;
                timeline.first_launch.get_or_insert(Timestamp(at));
                if running[stage] == 0 {
                    open += 1;
                    opened[stage] = share;
                }
                running[stage] += 1;
            } else {
                tasks -= 1;
                timeline.last_finish = Some(Timestamp(at));
                previous_stage = Some(edges.stages[stage]);
                running[stage] -= 1;
                if running[stage] == 0 {
                    open -= 1;
                    shares[stage] += share - opened[stage];
                }
            }
            timeline.peak_tasks = timeline.peak_tasks.max(tasks);
        }
        timeline.stage_ms = edges
            .stages
            .iter()
            .copied()
            .zip(shares)
            .filter(|&(_, parts)| parts > 0)
            .map(|(key, parts)| (key, parts as f64 / PARTS as f64))
            .collect();
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

/// Launches and finishes of all tasks, each packed into a word: time since the first in the upper bits, the stage's
/// place in the lower ones. That is 16 bytes a task, and sorts as a number.
struct Edges {
    stages: Vec<StageKey>,
    launches: Vec<u64>,
    finishes: Vec<u64>,
    stage_bits: u32,
    origin: i64,
    task_ms: u64,
}

impl Edges {
    fn of(run: &Run) -> Self {
        let with_tasks = || run.stages.iter().filter(|(_, stage)| !stage.tasks.is_empty());
        let stages: Vec<StageKey> = with_tasks().map(|(&key, _)| key).collect();
        let stage_bits = usize::BITS - stages.len().leading_zeros();
        let (mut starts, mut ends, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
        let mut origin = u64::MAX;
        for (_, stage) in with_tasks() {
            read(stage, TaskColumn::LaunchTime, &mut starts);
            origin = starts.iter().fold(origin, |first, &launch| first.min(launch));
        }
        let (mut launches, mut finishes) = (Vec::with_capacity(run.task_count()), Vec::with_capacity(run.task_count()));
        let mut task_ms = 0_u64;
        for (place, (_, stage)) in with_tasks().enumerate() {
            read(stage, TaskColumn::LaunchTime, &mut starts);
            read(stage, TaskColumn::FinishTime, &mut ends);
            read(stage, TaskColumn::Status, &mut statuses);
            for ((&launch, &finish), &status) in starts.iter().zip(&ends).zip(&statuses) {
                if launch == NULL || finish == NULL || status == TaskStatus::Resubmitted.code() {
                    continue;
                }
                let word = |at: u64| at.saturating_sub(origin).min(u64::MAX >> stage_bits) << stage_bits | place as u64;
                if word(launch) < word(finish) {
                    launches.push(word(launch));
                    finishes.push(word(finish));
                    task_ms = task_ms.saturating_add(finish - launch);
                }
            }
        }
        launches.sort_unstable();
        finishes.sort_unstable();
        Self { stages, launches, finishes, stage_bits, origin: origin as i64, task_ms }
    }

    /// Time, whether it is a launch, and the stage's place; finishes first at the same time.
    fn in_order(&self) -> impl Iterator<Item = (i64, bool, usize)> + '_ {
        let (mut launch, mut finish) = (self.launches.iter().peekable(), self.finishes.iter().peekable());
        std::iter::from_fn(move || {
            let time = |word: u64| word >> self.stage_bits;
            let is_launch = match (launch.peek(), finish.peek()) {
                (Some(&&launch), Some(&&finish)) => time(launch) < time(finish),
                (launch, _) => launch.is_some(),
            };
            let word = *if is_launch { launch.next()? } else { finish.next()? };
            let stage = (word & ((1 << self.stage_bits) - 1)) as usize;
            Some((self.origin.saturating_add(time(word) as i64), is_launch, stage))
        })
    }
}

fn read(stage: &StageAttempt, column: TaskColumn, out: &mut Vec<u64>) {
    out.clear();
    stage.tasks.read_column(column, out);
}

#[cfg(test)]
mod tests {
    use emberscope_run::{Executor, ExecutorId, StageId, TaskRow};

    use super::*;

    /// A run with an executor of `cores` (`None`: none that says) and tasks from and to these times.
    fn run(cores: Option<u64>, tasks: &[(u64, u64)]) -> Run {
        let mut run = Run::default();
        let id = ExecutorId::from("driver");
        let executor = Executor { id: id.clone(), added_at: Some(Timestamp(0)), cores, ..Executor::default() };
        run.executors.insert(id, executor);
        let key = StageKey { stage_id: StageId(0), attempt: 0 };
        let mut stage = StageAttempt { key, ..StageAttempt::default() };
        for (id, &(launch, finish)) in tasks.iter().enumerate() {
            let mut row = TaskRow::default();
            row.set(TaskColumn::TaskId, id as u64);
            row.set(TaskColumn::LaunchTime, launch);
            row.set(TaskColumn::FinishTime, finish);
            row.set(TaskColumn::Status, TaskStatus::Success.code());
            stage.tasks.push(row);
        }
        stage.tasks.seal();
        run.stages.insert(key, stage);
        run
    }

    #[test]
    fn tasks_that_overlap_in_their_hand_over_use_no_more_than_the_cores() {
        // On one core each task begins while the end of the one before is still on its way: 3 x 15 ms in 35 ms.
        let tasks = [(0, 15), (10, 25), (20, 35)];
        let timeline = Timeline::of(&run(Some(1), &tasks));
        assert_eq!((timeline.task_ms, timeline.busy_ms, timeline.core_ms), (45, 35, 35));
        assert_eq!(Timeline::of(&run(Some(2), &tasks)).core_ms, 45);
        // What is not known caps nothing.
        assert_eq!(Timeline::of(&run(None, &tasks)).core_ms, 45);
    }

    #[test]
    fn a_task_that_needs_two_cores_uses_two() {
        let mut run = run(Some(4), &[(0, 10), (0, 10), (0, 10)]);
        run.environment.spark.set("spark.task.cpus", "2");
        // 4 cores are 2 slots: of three tasks at once two are counted, 2 x 2 x 10 ms.
        assert_eq!(Timeline::of(&run).core_ms, 40);
    }
}
