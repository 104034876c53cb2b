use super::*;
use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

fn plan(id: u64) -> PlanNode {
    let scan = node(&format!(
        "Scan parquet  | FileScan parquet [k#{id}L] Format: Parquet, Location: InMemoryFileIndex(1 paths)[s3://lake/t], \
         PartitionFilters: [], PushedFilters: [], ReadSchema: struct<k:bigint>"
    ));
    node(&format!("HashAggregate | HashAggregate(keys=[], functions=[f{id}(1)])")).over(
        node(&format!("Exchange | Exchange hashpartitioning(k#{id}L, 200), ENSURE_REQUIREMENTS, [plan_id={id}]"))
            .metric("data size", 1_048_576)
            .over(node("WholeStageCodegen (1)").over(scan.metric("number of output rows", 10))),
    )
}

/// Executions that read, shuffle and aggregate the same table, each with another function: 4 s and 1 s of stages.
fn loops(times: u64) -> RunBuilder {
    let mut builder = run().executor("1", 4);
    for id in 0..times {
        builder = builder
            .sql(id, plan(id))
            .sql_stage(2 * id, id, &[1, 3], |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(4_000);
                });
            })
            .sql_stage(2 * id + 1, id, &[0], |stage| {
                stage.task(0).duration_ms(1_000);
            });
    }
    builder
}

#[test]
fn the_part_that_executions_share_is_found_once() {
    let findings = check(&RULE, &loops(4));
    assert_eq!(findings.len(), 1);
    // The exchange and what is below it, 4 s in each: three of four could be read from a cache.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(12_000));
    assert_eq!(findings[0].more_subjects.len(), 3);
    assert!(findings[0].summary.contains("s3://lake/t"), "{}", findings[0].summary);
}

#[test]
fn parts_that_differ_in_their_columns_only_are_told_with_less_confidence() {
    let mut pruned = loops(4);
    for (id, execution) in &mut pruned.run.sql_executions {
        let exchange = &mut execution.plan.as_mut().unwrap().children[0];
        let scan = &mut exchange.children[0].children[0];
        scan.description = scan.description.replace("[k#", &format!("[column{id}#1,k#"));
    }
    let findings = check(&RULE, &pruned);
    assert_eq!(findings.len(), 1);
    // The final aggregate, which updates no metric that would tell its stage, and all below it: 4 s in each.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(12_000));
    assert!(findings[0].confidence < 0.6);
}

#[test]
fn queries_that_only_read_and_shuffle_the_same_table_for_other_columns_are_left_alone() {
    let mut pruned = loops(4);
    for (id, execution) in &mut pruned.run.sql_executions {
        let top = execution.plan.as_mut().unwrap();
        (top.name, top.description) = ("Sort".to_owned(), format!("Sort [k#{id}L ASC NULLS FIRST], true, 0"));
        let scan = &mut top.children[0].children[0].children[0];
        scan.description = scan.description.replace("[k#", &format!("[column{id}#1,k#"));
    }
    assert_eq!(check(&RULE, &pruned), []);
}

#[test]
fn twice_is_not_again_and_again() {
    assert_eq!(check(&RULE, &loops(2)), []);
}

#[test]
fn micro_batches_of_a_stream_are_no_repetition() {
    let mut builder = loops(4);
    for id in 0..4 {
        let job = emberscope_run::Job {
            id: emberscope_run::JobId(id + 1),
            sql_execution_id: Some(SqlExecutionId(id)),
            streaming_query_id: Some("q".to_owned()),
            ..emberscope_run::Job::default()
        };
        builder.run.jobs.insert(job.id, job);
    }
    assert_eq!(check(&RULE, &builder), []);
}

/// Stages that each compute RDD 1 and one of their own on top of it.
fn lineage(cached: bool, tasks: u64) -> RunBuilder {
    let mut builder = run().executor("1", 4);
    for id in 0..4 {
        builder = builder.stage(id, |stage| {
            (0..tasks).for_each(|partition| {
                stage.task(partition).duration_ms(2_000);
            });
            stage.with(move |attempt| {
                let rdd = |id, parents: &[u64]| RddInfo {
                    id: RddId(id),
                    name: "MapPartitionsRDD".to_owned(),
                    parent_ids: parents.iter().copied().map(RddId).collect(),
                    partitions: 4,
                    cached: cached && id == 1,
                    ..RddInfo::default()
                };
                attempt.rdds = vec![rdd(10 + attempt.key.stage_id.0, &[1]), rdd(1, &[0]), rdd(0, &[])];
            });
        });
    }
    builder
}

#[test]
fn an_rdd_that_four_stages_compute_is_found_and_the_last_of_the_chain_named() {
    let findings = check(&RULE, &lineage(false, 4));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].subject.rdd_id, Some(1));
    assert_eq!(findings[0].savings.wall_clock_ms, Some(6_000));
}

#[test]
fn a_cached_rdd_and_steps_of_take_are_no_repetition() {
    assert_eq!(check(&RULE, &lineage(true, 4)), []);
    assert_eq!(check(&RULE, &lineage(false, 1)), []);
}

#[test]
fn without_tasks_the_rule_is_skipped() {
    assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
}

#[test]
fn the_passes_of_a_sort_over_its_input_are_no_repetition() {
    let sorted = |types: [&'static str; 4]| {
        lineage(false, 4).with(move |run| {
            for (stage, task_type) in run.stages.values_mut().zip(types) {
                stage.name = "sortByKey at routes.py:114".to_owned();
                stage.task_type = Some(task_type.to_owned());
            }
        })
    };
    assert_eq!(check(&RULE, &sorted(["ResultTask", "ResultTask", "ShuffleMapTask", "ShuffleMapTask"])), []);
    // Four sorts of one RDD that is not kept are.
    assert_eq!(check(&RULE, &sorted(["ShuffleMapTask"; 4])).len(), 1);
}
