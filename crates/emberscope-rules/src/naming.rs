//! What people call a stage or a job whose call site is one of the JVM's or of a bridge, not of the program.
//!
//! `parquet at NativeMethodAccessorImpl.java:0` is every write of a Python program, and `$anonfun$withThreadLocalCaptured$1 at
//! CompletableFuture.java:1768` every broadcast. The SQL execution that such a stage belongs to has more to say.

use emberscope_run::{Job, PlanNode, RddId, Run, SqlExecution, SqlExecutionId, StageKey};

use crate::plan;

/// Longest description in a sentence, in characters; a longer one is in the subject's label only.
const MAX_IN_SENTENCE: usize = 80;

/// Files of the JVM, Py4J and reflection that stand in call sites instead of the program's own.
const FOREIGN_FILES: &[&str] = &[
    "AccessController.java",
    "CompletableFuture.java",
    "DelegatingMethodAccessorImpl.java",
    "DirectMethodHandleAccessor.java",
    "Executors.java",
    "ForkJoinPool.java",
    "ForkJoinTask.java",
    "ForkJoinWorkerThread.java",
    "FutureTask.java",
    "Gateway.java",
    "Method.java",
    "MethodInvoker.java",
    "NativeMethodAccessorImpl.java",
    "ReflectionEngine.java",
    "SQLExecution.scala",
    "Thread.java",
    "ThreadPoolExecutor.java",
];

/// Whether a call site names no code of the program: it is in a file of the JVM, or of no known file.
pub(crate) fn says_nothing(call_site: &str) -> bool {
    let Some((method, place)) = call_site.trim().rsplit_once(" at ") else { return call_site.trim().is_empty() };
    let Some((file, _line)) = place.rsplit_once(':') else { return false };
    method.starts_with("$anonfun$withThreadLocalCaptured")
        || file == "<unknown>"
        || file.starts_with("GeneratedMethodAccessor")
        || FOREIGN_FILES.contains(&file)
}

/// A better name of a stage than its call site: `SQL 5: count at job.py:31`; `None` when the call site is good, or nothing
/// better is known.
pub(crate) fn stage_label(run: &Run, key: StageKey) -> Option<String> {
    let stage = run.stages.get(&key).filter(|stage| says_nothing(&stage.name))?;
    sql_label(run, stage.sql_execution_id?)
}

/// The same for a job of this name.
pub(crate) fn job_label(run: &Run, job: &Job, name: &str) -> Option<String> {
    if !says_nothing(name) {
        return None;
    }
    sql_label(run, job.sql_execution_id?)
}

/// A SQL execution by its number and description, or by its number and the top node of its plan.
pub(crate) fn sql_label(run: &Run, id: SqlExecutionId) -> Option<String> {
    let sql = run.sql_executions.get(&id)?;
    let description = one_line(&sql.description);
    let said = if says_nothing(&description) { plan_label(sql) } else { Some(description) };
    Some(said.map_or_else(|| format!("SQL {id}"), |said| format!("SQL {id}: {said}")))
}

/// The top node of a SQL execution's plan, where its description says nothing; `None` when the description is good, or no
/// plan is known.
pub(crate) fn plan_label(sql: &SqlExecution) -> Option<String> {
    if !says_nothing(&sql.description) {
        return None;
    }
    sql.plan.as_ref().and_then(top_node).map(str::to_owned)
}

/// A label as a sentence can hold it: without the description when that is long. It is never cut within, so that whoever
/// hides names in a diagnosis sees them whole.
pub(crate) fn in_sentence(label: &str) -> &str {
    if label.chars().count() <= MAX_IN_SENTENCE {
        return label;
    }
    label.split_once(": ").map_or(label, |(number, _)| number)
}

/// What people call an RDD, the same in every finding: the name that the program gave it (`setName` may come after its first
/// use), else its class. That of a cached DataFrame is named by Spark after its whole plan: the first operator that is no
/// wrapper says most of it. `RDD 7` where nothing is known.
pub(crate) fn rdd(run: &Run, id: RddId) -> String {
    let stored = run.rdds.get(&id).map(|rdd| rdd.name.as_str());
    // The latest stage knows names best.
    let seen = run.stages.values().rev().flat_map(|stage| &stage.rdds).filter(|rdd| rdd.id == id);
    let names: Vec<&str> = stored.into_iter().chain(seen.map(|rdd| rdd.name.as_str())).collect();
    let given = names.iter().find(|name| !name.trim().is_empty() && !is_class(name));
    let name = given.or_else(|| names.iter().find(|name| !name.trim().is_empty())).copied().unwrap_or_default();
    let mut lines = name.lines().map(|line| line.trim_start_matches([' ', '+', '-', ':', '*']));
    let first = lines.next().unwrap_or("");
    if first.is_empty() {
        return format!("RDD {id}");
    }
    match lines.next() {
        None => first.chars().take(MAX_IN_SENTENCE).collect(),
        Some(second) => {
            let line = if first.starts_with("AdaptiveSparkPlan") { second } else { first };
            format!("DataFrame of {}", line.chars().take(MAX_IN_SENTENCE).collect::<String>())
        }
    }
}

/// Whether a name is that of an RDD's class, which Spark takes where the program gives none: `MapPartitionsRDD`.
fn is_class(name: &str) -> bool {
    name.ends_with("RDD") && name.chars().all(char::is_alphanumeric)
}

/// The first node of a plan that does something.
fn top_node(plan: &PlanNode) -> Option<&str> {
    let mut node = plan;
    while plan::operator(node) == plan::Operator::Wrapper {
        node = node.children.first()?;
    }
    Some(plan::canonical(&node.name)).filter(|name| !name.is_empty())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, node, run};
    use emberscope_run::StageId;

    const KEY: StageKey = StageKey { stage_id: StageId(0), attempt: 0 };

    fn stage_of_sql(call_site: &'static str, description: &'static str) -> RunBuilder {
        let plan = node("AdaptiveSparkPlan").over(node("WholeStageCodegen (2)").over(node("GpuHashAggregate")));
        let builder = run().executor("1", 1).sql(5, plan).with(|run| {
            if let Some(sql) = run.sql_executions.get_mut(&SqlExecutionId(5)) {
                description.clone_into(&mut sql.description);
            }
        });
        builder.sql_stage(0, 5, &[], move |stage| {
            stage.task(0);
            stage.with(move |stage| call_site.clone_into(&mut stage.name));
        })
    }

    fn label(call_site: &'static str, description: &'static str) -> Option<String> {
        stage_label(&stage_of_sql(call_site, description).build(), KEY)
    }

    #[test]
    fn call_sites_of_the_jvm_say_nothing_and_those_of_programs_do() {
        for foreign in [
            "$anonfun$withThreadLocalCaptured$1 at CompletableFuture.java:1768",
            "parquet at NativeMethodAccessorImpl.java:0",
            "save at NativeMethodAccessorImpl.java:0",
            "run at ThreadPoolExecutor.java:1136",
            "load at <unknown>:0",
            "",
        ] {
            assert!(says_nothing(foreign), "{foreign}");
        }
        for own in [
            "count at <console>:22",
            "count at /opt/jobs/job.py:31",
            "save at Orders.scala:88",
            "My RDD Name",
            "select name at home from people",
        ] {
            assert!(!says_nothing(own), "{own}");
        }
    }

    #[test]
    fn a_stage_of_a_foreign_call_site_is_called_by_its_query() {
        let foreign = "run at ThreadPoolExecutor.java:1136";
        assert_eq!(label(foreign, "count at job.py:31").as_deref(), Some("SQL 5: count at job.py:31"));
        assert_eq!(label(foreign, "select *\n  from t").as_deref(), Some("SQL 5: select * from t"));
    }

    #[test]
    fn a_query_of_a_foreign_call_site_is_called_by_the_top_node_of_its_plan() {
        let foreign = "parquet at NativeMethodAccessorImpl.java:0";
        assert_eq!(label(foreign, foreign).as_deref(), Some("SQL 5: HashAggregate"));
        let without_plan = stage_of_sql(foreign, foreign).with(|run| {
            run.sql_executions.values_mut().for_each(|sql| sql.plan = None);
        });
        assert_eq!(stage_label(&without_plan.build(), KEY).as_deref(), Some("SQL 5"));
    }

    #[test]
    fn an_rdd_has_one_name_wherever_it_is_told_of() {
        let named = |stored: Option<&str>, seen: &[&str]| {
            let mut builder = run().executor("1", 1);
            for (stage, name) in seen.iter().enumerate() {
                let info = emberscope_run::RddInfo { id: RddId(7), name: (*name).to_owned(), ..Default::default() };
                builder = builder.stage(stage as u64, |stage| {
                    stage.task(0);
                    stage.with(move |stage| stage.rdds.push(info));
                });
            }
            let mut run = builder.build();
            if let Some(name) = stored {
                let storage = emberscope_run::RddStorage { id: RddId(7), name: name.to_owned(), ..Default::default() };
                run.rdds.insert(RddId(7), storage);
            }
            rdd(&run, RddId(7))
        };
        // The program named it after the first stage that used it.
        assert_eq!(named(None, &["MapPartitionsRDD", "My RDD Name"]), "My RDD Name");
        assert_eq!(named(Some("MapPartitionsRDD"), &["My RDD Name", "MapPartitionsRDD"]), "My RDD Name");
        assert_eq!(named(Some("My RDD Name"), &["MapPartitionsRDD"]), "My RDD Name");
        assert_eq!(named(None, &["MapPartitionsRDD"]), "MapPartitionsRDD");
        assert_eq!(named(None, &[]), "RDD 7");
        let plan = "AdaptiveSparkPlan isFinalPlan=false\n+- Exchange RoundRobinPartitioning(24)\n   +- Range (0, 6)\n";
        assert_eq!(named(Some(plan), &[]), "DataFrame of Exchange RoundRobinPartitioning(24)");
    }

    #[test]
    fn a_stage_of_the_programs_own_call_site_keeps_it() {
        assert_eq!(label("count at job.py:31", "select 1"), None);
    }

    #[test]
    fn a_long_statement_is_left_out_of_a_sentence_and_never_cut() {
        let long = format!("SQL 5: select {}", "a, ".repeat(40));
        assert_eq!(in_sentence(&long), "SQL 5");
        assert_eq!(in_sentence("SQL 5: count at job.py:31"), "SQL 5: count at job.py:31");
    }
}
