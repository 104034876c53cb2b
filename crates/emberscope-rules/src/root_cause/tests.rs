//! Stacks as Spark writes them, and hostile ones.

use std::time::{Duration, Instant};

use super::*;

#[track_caller]
fn sentence(text: &str, expected: &str) {
    assert_eq!(RootCause::of_text(text).unwrap().sentence(), expected);
}

#[test]
fn the_deepest_cause_counts_and_not_its_wrapper() {
    sentence(
        "org.apache.spark.SparkException: Task failed while writing rows.\n\
         \tat org.apache.spark.sql.errors.QueryExecutionErrors$.taskFailedWhileWritingRowsError(QueryExecutionErrors.scala:642)\n\
         \tat org.apache.spark.sql.execution.datasources.FileFormatWriter$.executeTask(FileFormatWriter.scala:348)\n\
         \tat java.base/java.lang.Thread.run(Thread.java:840)\n\
         Caused by: java.lang.NumberFormatException: For input string: \"x7\"\n\
         \tat java.base/java.lang.Integer.parseInt(Integer.java:668)\n\
         \tat scala.collection.immutable.StringOps.toInt(StringOps.scala:33)\n\
         \tat com.acme.etl.Orders$.parse(Orders.scala:57)\n\
         \tat com.acme.etl.Orders$.$anonfun$run$1(Orders.scala:31)\n\
         \t... 12 more",
        "NumberFormatException: For input string: \"x7\", at com.acme.etl.Orders$.parse(Orders.scala:57)",
    );
}

#[test]
fn an_aborted_job_is_taken_down_to_its_task() {
    sentence(
        "Job aborted due to stage failure: Task 3 in stage 1.0 failed 4 times, most recent failure: Lost task 3.3 in stage \
         1.0 (TID 12) (10.0.0.7 executor 1): java.lang.IllegalStateException: bad row\n\
         \tat Main$.$anonfun$main$1(Main.scala:9)\n\
         \tat scala.collection.Iterator$$anon$10.next(Iterator.scala:461)\n\n\
         Driver stacktrace:\n\
         \tat com.acme.NotTheCause.run(NotTheCause.scala:1)",
        "IllegalStateException: bad row, at Main$.$anonfun$main$1(Main.scala:9)",
    );
    // Spark 1.x puts host and executor otherwise.
    sentence(
        "Job aborted due to stage failure: Task 3 in stage 2.0 failed 1 times, most recent failure: Lost task 3.0 in stage \
         2.0 (TID 19, localhost): java.lang.RuntimeException: got a 3, failing\n\
         \tat $line11.$read$$iwC$$anonfun$1.apply(<console>:18)",
        "RuntimeException: got a 3, failing, at $line11.$read$$iwC$$anonfun$1.apply(<console>:18)",
    );
}

#[test]
fn a_python_traceback_gives_the_last_frame_that_is_the_users_own() {
    let text = "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 4.0 failed 1 times, most \
        recent failure: Lost task 0.0 in stage 4.0 (TID 4) (host executor driver): \
        org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  \
        File \"/opt/spark/python/lib/pyspark.zip/pyspark/worker.py\", line 1247, in main\n    process()\n  \
        File \"/opt/spark/python/lib/pyspark.zip/pyspark/serializers.py\", line 274, in dump_stream\n    vs = list(itertools.islice(iterator, batch))\n  \
        File \"/app/job.py\", line 12, in parse\n    return helper(row)\n  \
        File \"/app/job.py\", line 7, in helper\n    return 1 / row.n\n           ~~^~~~~~~\n\
        ZeroDivisionError: division by zero\n\n\
        \tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)\n\
        \tat java.base/java.lang.Thread.run(Thread.java:840)\n\n\
        Driver stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2856)";
    sentence(text, "ZeroDivisionError: division by zero, at /app/job.py:7 in helper");
}

#[test]
fn in_a_chain_of_python_exceptions_the_first_is_the_root() {
    sentence(
        "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in get\n    return d[k]\nKeyError: 'id'\n\n\
         During handling of the above exception, another exception occurred:\n\n\
         Traceback (most recent call last):\n  File \"/app/a.py\", line 5, in get\n    raise ValueError('no id')\n\
         ValueError: no id\n",
        "KeyError: 'id', at /app/a.py:3 in get",
    );
}

#[test]
fn error_conditions_and_sql_states_are_told_apart_from_the_message() {
    let text = "org.apache.spark.SparkArithmeticException: [DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate \
        divisor being 0. SQLSTATE: 22012\n== DataFrame ==\n\"__truediv__\" was called from\n/app/report.py:31\n\
        \tat org.apache.spark.sql.errors.QueryExecutionErrors$.divideByZeroError(QueryExecutionErrors.scala:203)";
    let cause = RootCause::of_text(text).unwrap();
    assert_eq!(cause.condition.as_deref(), Some("DIVIDE_BY_ZERO"));
    assert_eq!(
        cause.sentence(),
        "SparkArithmeticException [DIVIDE_BY_ZERO]: Division by zero. Use `try_divide` to tolerate divisor being 0, at \
         /app/report.py:31"
    );
}

#[test]
fn a_failed_udf_without_its_cause_still_names_it() {
    sentence(
        "org.apache.spark.SparkException: [FAILED_EXECUTE_UDF] User defined function (`f`: (int) => int) failed due to: \
         java.lang.ArithmeticException: / by zero. SQLSTATE: 39000\n\tat com.acme.Udfs$.f(Udfs.scala:4)",
        "ArithmeticException: / by zero, at com.acme.Udfs$.f(Udfs.scala:4)",
    );
}

#[test]
fn lost_executors_and_fetch_failures_say_their_reason() {
    sentence(
        "Job aborted due to stage failure: Task 1 in stage 3.0 failed 4 times, most recent failure: Lost task 1.3 in stage \
         3.0 (TID 44) (h executor 9): ExecutorLostFailure (executor 9 exited caused by one of the running tasks) Reason: \
         Container killed by YARN for exceeding memory limits. 5.5 GB of 5.5 GB physical memory used.\nDriver stacktrace:",
        "ExecutorLostFailure: Container killed by YARN for exceeding memory limits. 5.5 GB of 5.5 GB physical memory used",
    );
    sentence(
        "Job aborted due to stage failure: ShuffleMapStage 5 (count at A.scala:1) has failed the maximum allowable number \
         of times: 4. Most recent failure reason:\norg.apache.spark.shuffle.FetchFailedException: Failed to connect to \
         h/10.0.0.1:7337\n\tat org.apache.spark.storage.ShuffleBlockFetcherIterator.next(ShuffleBlockFetcherIterator.scala:70)\n\
         Caused by: java.net.ConnectException: Connection refused\n\tat io.netty.channel.X.y(X.java:1)",
        "FetchFailedException: Failed to connect to h/10.0.0.1:7337, at \
         org.apache.spark.storage.ShuffleBlockFetcherIterator.next(ShuffleBlockFetcherIterator.scala:70)",
    );
}

#[test]
fn a_dead_python_worker_is_the_cause_and_not_the_end_of_its_stream() {
    sentence(
        "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)\n\
         \tat org.apache.spark.api.python.BasePythonRunner.read(PythonRunner.scala:550)\n\
         Caused by: java.io.EOFException\n\tat java.base/java.io.DataInputStream.readInt(DataInputStream.java:386)",
        "SparkException: Python worker exited unexpectedly (crashed), at \
         org.apache.spark.api.python.BasePythonRunner.read(PythonRunner.scala:550)",
    );
}

#[test]
fn user_frames_of_the_wrapper_serve_where_the_cause_has_none() {
    sentence(
        "com.acme.JobException: could not load\n\tat com.acme.Load.run(Load.java:9)\n\
         Caused by: java.io.IOException: disk full\n\tat java.io.FileOutputStream.write(FileOutputStream.java:1)\n\t... 3 more",
        "IOException: disk full, at com.acme.Load.run(Load.java:9)",
    );
}

#[test]
fn failures_that_differ_in_numbers_have_one_key() {
    let key = |text: &str| RootCause::of_text(text).unwrap().key();
    assert_eq!(key("java.io.IOException: block 17 of 204 is gone"), key("java.io.IOException: block 3 of 9 is gone"));
    assert_ne!(key("java.io.IOException: block 17 is gone"), key("java.io.IOException: no block"));
    let at = |message: &str, line: u32| key(&format!("a.B: {message}\n\tat com.acme.C.d(C.java:{line})"));
    assert_eq!(at("row 1", 4), at("row two", 4));
    assert_ne!(at("row 1", 4), at("row 1", 5));
}

#[test]
fn nothing_gives_nothing() {
    assert_eq!(RootCause::of_text(""), None);
    assert_eq!(RootCause::of_text("\n \n\t\n"), None);
}

#[test]
fn ten_megabytes_of_hostile_text_are_read_in_linear_time() {
    let size = 10 << 20;
    let repeat = |part: &str| part.repeat(size / part.len());
    for text in [
        repeat("Caused by: "),
        repeat("Caused by: a.B: c\n"),
        repeat("\tat a.b.c(d:1)\n"),
        repeat("Job aborted due to stage failure: "),
        repeat("Task most recent failure: Lost task ): "),
        repeat("Traceback (most recent call last):\n"),
        format!("Traceback (most recent call last):\n{}", repeat("  File \"a\", line 1, in b\n")),
        format!("Traceback (most recent call last):\n{}", repeat("KeyError: 1\n")),
        repeat("["),
        repeat("SQLSTATE: "),
        repeat("é"),
        repeat("\n"),
        repeat("at ("),
        repeat("was called from\n"),
        format!("a.B: [{}", repeat("A")),
        format!("\tat {}", repeat("a.")),
    ] {
        let started = Instant::now();
        if let Some(cause) = RootCause::of_text(&text) {
            assert!(cause.sentence().len() < 4 * MAX_MESSAGE, "{}", cause.sentence().len());
            assert!(cause.key().len() < 4 * MAX_MESSAGE);
        }
        // Linear work takes some tens of milliseconds; quadratic would take hours.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", &text[..20.min(text.len())]);
    }
}

#[test]
fn an_error_that_no_case_matched_is_the_cause() {
    let text = "scala.MatchError: java.lang.OutOfMemoryError: GC overhead limit exceeded (of class java.lang.OutOfMemoryError)\n\tat \
                org.apache.spark.sql.execution.datasources.v2.FileDataSourceV2$.attachFilePath(FileDataSourceV2.scala:127)";
    let cause = RootCause::of_text(text).unwrap();
    assert_eq!(
        (cause.class.as_str(), cause.message.as_str()),
        ("java.lang.OutOfMemoryError", "GC overhead limit exceeded")
    );
    let value = RootCause::of_text("scala.MatchError: 7 (of class java.lang.Integer)").unwrap();
    assert_eq!(value.class, "scala.MatchError");
}
