//! Runs made by hand for the tests of the rules: tasks are laid on executors' cores in the order they are given.

use emberscope_extract::features::Features;
use emberscope_extract::features::catalogue::Table;
use emberscope_run::{
    AccumulatorId, Executor, ExecutorId, Job, JobId, JobResult, PlanMetric, PlanNode, Run, SqlExecution,
    SqlExecutionId, StageAttempt, StageId, StageKey, TaskColumn, TaskEndKind, TaskRow, TaskStatus, Timestamp, Unit,
};

use crate::finding::{Evidence, Finding, Value};
use crate::rule::{Context, Outcome, Rule};
use crate::settings::Settings;

/// The application's start in every test run.
pub(crate) const START: i64 = 1_700_000_000_000;

/// A run under construction: Spark 3.5 with a known, empty environment, one job of all its stages.
#[derive(Debug, Clone)]
pub(crate) struct RunBuilder {
    /// The run so far; tests may change what the builder has no method for.
    pub(crate) run: Run,
    /// Where the next stage begins, in ms since the start.
    pub(crate) now: i64,
    next_task: u64,
    unfinished: bool,
}

/// A run that begins now and has nothing yet.
pub(crate) fn run() -> RunBuilder {
    let mut run = Run::default();
    run.application.id = Some("app-test".to_owned());
    run.application.spark_version = Some("3.5.1".to_owned());
    run.application.started_at = Some(Timestamp(START));
    run.environment.known = true;
    RunBuilder { run, now: 0, next_task: 0, unfinished: false }
}

impl RunBuilder {
    /// Sets a Spark property.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.run.environment.spark.set(key, value);
        self
    }

    /// Adds an executor that is there from the start, on a host of its own.
    pub(crate) fn executor(mut self, id: &str, cores: u64) -> Self {
        let executor = Executor {
            id: ExecutorId::from(id),
            host: Some(format!("host-{id}")),
            cores: Some(cores),
            added_at: Some(Timestamp(START)),
            ..Executor::default()
        };
        self.run.executor_names.push(executor.id.clone());
        self.run.host_names.push(format!("host-{id}"));
        self.run.executors.insert(executor.id.clone(), executor);
        self
    }

    /// Lets `ms` go by without a task.
    pub(crate) fn idle(mut self, ms: i64) -> Self {
        self.now += ms;
        self
    }

    /// Adds a stage (attempt 0) whose tasks `fill` gives; it begins when the last one ended. Tasks are laid on the core
    /// that is free first, round robin over the executors, unless they name theirs.
    pub(crate) fn stage(self, id: u64, fill: impl FnOnce(&mut StageBuilder)) -> Self {
        self.stage_attempt(id, 0, fill)
    }

    /// The same for any attempt.
    pub(crate) fn stage_attempt(mut self, id: u64, attempt: u32, fill: impl FnOnce(&mut StageBuilder)) -> Self {
        let mut builder = StageBuilder::default();
        fill(&mut builder);
        let key = StageKey { stage_id: StageId(id), attempt };
        let start = START + self.now;
        let mut cores: Vec<(i64, usize)> = Vec::new();
        let most = self.run.executors.values().filter_map(|executor| executor.cores).max().unwrap_or(0);
        for round in 0..most {
            for (index, name) in self.run.executor_names.iter().enumerate() {
                if self.run.executors.get(name).and_then(|e| e.cores).is_some_and(|cores| round < cores) {
                    cores.push((start, index));
                }
            }
        }
        let mut stage = StageAttempt {
            key,
            name: format!("stage{id} at Main.scala:{id}"),
            num_tasks: builder.tasks.len() as u64,
            submitted_at: Some(Timestamp(start)),
            task_type: Some("ShuffleMapTask".to_owned()),
            ..StageAttempt::default()
        };
        stage.job_ids.insert(JobId(0));
        let mut end = start;
        for task in builder.tasks {
            let mut row = task.row;
            let wanted = task.executor.and_then(|id| self.run.executor_names.iter().position(|name| name.0 == id));
            let free =
                cores.iter_mut().filter(|(_, e)| wanted.is_none_or(|wanted| wanted == *e)).min_by_key(|core| core.0);
            let (launch, executor) = match free {
                Some(core) => {
                    let at = *core;
                    core.0 += task.duration_ms as i64;
                    at
                }
                None => (start, 0),
            };
            let finish = launch + task.duration_ms as i64;
            row.set(TaskColumn::TaskId, self.next_task);
            row.set(TaskColumn::LaunchTime, launch as u64);
            row.set(TaskColumn::FinishTime, finish as u64);
            row.set(TaskColumn::Executor, executor as u64);
            row.set(TaskColumn::Host, executor as u64);
            self.next_task += 1;
            end = end.max(finish);
            stage.tasks.push(row);
        }
        stage.tasks.seal();
        stage.completed_at = Some(Timestamp(end));
        stage.tasks_started = stage.num_tasks;
        self.now = end - START;
        builder.edit.into_iter().for_each(|edit| edit(&mut stage));
        self.run.stages.insert(key, stage);
        self
    }

    /// Adds a SQL execution with its plan. Nodes are numbered in pre-order from 0; the metrics of node n of execution e have
    /// the accumulators from `e * 10_000 + n * 100` on.
    pub(crate) fn sql(mut self, id: u64, mut plan: PlanNode) -> Self {
        let mut next = 0;
        number(&mut plan, id, &mut next);
        let id = SqlExecutionId(id);
        self.run.sql_executions.insert(id, SqlExecution { id, plan: Some(plan), ..SqlExecution::default() });
        self
    }

    /// Adds a stage (attempt 0) of a SQL execution that ran the nodes of these numbers.
    pub(crate) fn sql_stage(self, id: u64, sql: u64, nodes: &[u64], fill: impl FnOnce(&mut StageBuilder)) -> Self {
        let nodes = nodes.to_vec();
        self.stage(id, |stage| {
            fill(stage);
            stage.with(move |attempt| {
                attempt.sql_execution_id = Some(SqlExecutionId(sql));
                for node in nodes {
                    attempt.accumulators.extend((0..100).map(|n| AccumulatorId(sql * 10_000 + node * 100 + n)));
                }
            });
        })
    }

    /// Leaves out the end of the application: the log was taken before it.
    pub(crate) fn unfinished(mut self) -> Self {
        self.unfinished = true;
        self
    }

    /// Changes the run directly.
    pub(crate) fn with(mut self, edit: impl FnOnce(&mut Run)) -> Self {
        edit(&mut self.run);
        self
    }

    /// The finished run: the job and the application end with the last stage.
    pub(crate) fn build(&self) -> Run {
        let mut run = self.run.clone();
        let end = Timestamp(START + self.now);
        if !self.unfinished {
            run.application.ended_at.get_or_insert(end);
        }
        run.application.last_event_at = Some(end);
        run.jobs.entry(JobId(0)).or_insert_with(|| Job {
            id: JobId(0),
            submitted_at: Some(Timestamp(START)),
            completed_at: Some(end),
            result: Some(JobResult::Succeeded),
            stage_ids: self.run.stages.keys().map(|key| key.stage_id).collect(),
            ..Job::default()
        });
        run
    }
}

fn number(node: &mut PlanNode, sql: u64, next: &mut u64) {
    node.id = *next;
    *next += 1;
    for (index, metric) in node.metrics.iter_mut().enumerate() {
        metric.accumulator_id = AccumulatorId(sql * 10_000 + node.id * 100 + index as u64);
    }
    node.children.iter_mut().for_each(|child| number(child, sql, next));
}

/// A plan node, written as `NAME` or, with Spark's description of it, `NAME | DESCRIPTION`; metrics and inputs follow.
pub(crate) fn node(text: &str) -> PlanNode {
    let (name, description) = text.split_once(" | ").unwrap_or((text, text));
    PlanNode { name: name.to_owned(), description: description.to_owned(), ..PlanNode::default() }
}

/// What plan nodes are made with.
pub(crate) trait PlanNodeExt {
    /// Adds a metric; times in ms (`timing`).
    fn metric(self, name: &str, value: i64) -> Self;
    /// Adds an input.
    fn over(self, input: PlanNode) -> Self;
}

impl PlanNodeExt for PlanNode {
    fn metric(mut self, name: &str, value: i64) -> Self {
        let kind = if name.contains("time") {
            "timing"
        } else if name.contains("size") || name.contains("bytes") {
            "size"
        } else {
            "sum"
        };
        self.metrics.push(PlanMetric {
            name: name.into(),
            accumulator_id: AccumulatorId(0),
            kind: kind.into(),
            value: Some(value),
        });
        self
    }

    fn over(mut self, input: PlanNode) -> Self {
        self.children.push(input);
        self
    }
}

/// A change to a finished stage attempt.
type StageEdit = Box<dyn FnOnce(&mut StageAttempt)>;

/// A stage under construction.
#[derive(Default)]
pub(crate) struct StageBuilder {
    tasks: Vec<TaskBuilder>,
    edit: Vec<StageEdit>,
}

impl StageBuilder {
    /// Adds a task of a partition: successful, 100 ms, with zero for the metrics that every task has.
    pub(crate) fn task(&mut self, partition: u64) -> &mut TaskBuilder {
        let mut row = TaskRow::default();
        row.set(TaskColumn::Partition, partition);
        row.set(TaskColumn::Attempt, 0);
        row.set(TaskColumn::Speculative, 0);
        row.set(TaskColumn::Status, TaskStatus::Success.code());
        row.set(TaskColumn::EndReason, TaskEndKind::Success.code());
        self.tasks.push(TaskBuilder { row, duration_ms: 100, executor: None });
        let last = self.tasks.len() - 1;
        &mut self.tasks[last]
    }

    /// Changes the stage attempt directly when it is finished.
    pub(crate) fn with(&mut self, edit: impl FnOnce(&mut StageAttempt) + 'static) {
        self.edit.push(Box::new(edit));
    }
}

/// A task under construction.
pub(crate) struct TaskBuilder {
    row: TaskRow,
    duration_ms: u64,
    executor: Option<String>,
}

impl TaskBuilder {
    /// Its duration; the run time is the same and the CPU time too, unless set afterwards.
    pub(crate) fn duration_ms(&mut self, ms: u64) -> &mut Self {
        self.duration_ms = ms;
        self
    }

    /// Sets run time, CPU time, deserialize and result serialization times and GC time: a task with metrics.
    pub(crate) fn metrics(&mut self, run_ms: u64, cpu_ms: u64, gc_ms: u64) -> &mut Self {
        self.set(TaskColumn::ExecutorRunTime, run_ms)
            .set(TaskColumn::ExecutorCpuTime, cpu_ms * 1_000_000)
            .set(TaskColumn::JvmGcTime, gc_ms)
            .set(TaskColumn::ExecutorDeserializeTime, 0)
            .set(TaskColumn::ResultSerializationTime, 0)
    }

    /// Bytes and records read from shuffles on the same host.
    pub(crate) fn shuffle_read(&mut self, bytes: u64, records: u64) -> &mut Self {
        self.set(TaskColumn::ShuffleLocalBytesRead, bytes)
            .set(TaskColumn::ShuffleRemoteBytesRead, 0)
            .set(TaskColumn::ShuffleRecordsRead, records)
    }

    /// Bytes and records read from storage.
    pub(crate) fn input(&mut self, bytes: u64, records: u64) -> &mut Self {
        self.set(TaskColumn::InputBytes, bytes).set(TaskColumn::InputRecords, records)
    }

    /// The executor it runs on.
    pub(crate) fn on(&mut self, executor: &str) -> &mut Self {
        self.executor = Some(executor.to_owned());
        self
    }

    /// How it ended.
    pub(crate) fn status(&mut self, status: TaskStatus, reason: TaskEndKind) -> &mut Self {
        self.set(TaskColumn::Status, status.code()).set(TaskColumn::EndReason, reason.code())
    }

    /// Any column.
    pub(crate) fn set(&mut self, column: TaskColumn, value: u64) -> &mut Self {
        self.row.set(column, value);
        self
    }
}

/// What a rule says of a run.
pub(crate) fn outcome(rule: &Rule, builder: &RunBuilder) -> Outcome {
    let run = builder.build();
    let features = Features::of(&run);
    let settings = Settings::of_run(&run);
    let none = std::collections::BTreeMap::new();
    let outcome = (rule.check)(&Context::new(&run, &features, &settings, &none));
    if let Outcome::Found(findings) = &outcome {
        findings.iter().for_each(reads_well);
    }
    outcome
}

/// Asserts of a finding of any rule what all of them promise: evidence is named as the catalogue names, and an estimate
/// counts in plain plurals.
fn reads_well(finding: &Finding) {
    for fact in &finding.evidence {
        assert_eq!(evidence_fault(fact), None, "{}: {fact:?}", finding.problem);
    }
    let texts = [&finding.summary, &finding.savings.how].into_iter().chain(finding.advice.iter().map(|one| &one.text));
    for text in texts {
        assert!(!text.contains("(s)") && !text.contains("  "), "{}: {text}", finding.problem);
    }
}

/// What is wrong with the name of a fact; `None` when nothing is.
fn evidence_fault(fact: &Evidence) -> Option<&'static str> {
    let name = fact.feature.as_str();
    if fact.value == Value::Text(String::new()) {
        return Some("it says nothing");
    }
    // A key of Spark's configuration is called as Spark calls it.
    if name.starts_with("spark.") {
        return None;
    }
    let features = Table::ALL.iter().flat_map(|table| table.features());
    let units: Vec<&str> = features.filter(|known| known.name == name).map(|known| known.unit.symbol()).collect();
    if !units.is_empty() {
        return (!units.contains(&fact.unit)).then_some("the feature of that name has another unit");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        return Some("its name is not in snake_case");
    }
    let suffix = match fact.unit {
        "" => return None,
        "per second" => "_per_second".to_owned(),
        unit => format!("_{unit}"),
    };
    (!name.ends_with(&suffix)).then_some("its name does not end with its unit")
}

#[test]
fn names_of_evidence_without_a_unit_or_in_words_are_faults() {
    let number = |name: &str| evidence_fault(&Evidence::number(name, 1.0, Unit::Bytes));
    assert_eq!(number("data_size_bytes"), None);
    assert_eq!(number("spark.executor.memory"), None);
    assert_eq!(number("data_size"), Some("its name does not end with its unit"));
    assert_eq!(number("data size (small side)"), Some("its name is not in snake_case"));
    assert_eq!(number("jvm_gc_time_sum_ms"), Some("the feature of that name has another unit"));
    assert_eq!(evidence_fault(&Evidence::text("root_cause_class", "")), Some("it says nothing"));
}

/// The findings of a rule on a run; none when it is clear. Panics when the rule was skipped.
pub(crate) fn check(rule: &Rule, builder: &RunBuilder) -> Vec<Finding> {
    match outcome(rule, builder) {
        Outcome::Clear => Vec::new(),
        Outcome::Found(findings) => findings,
        Outcome::Skipped { missing } => panic!("skipped for want of {missing:?}"),
    }
}
