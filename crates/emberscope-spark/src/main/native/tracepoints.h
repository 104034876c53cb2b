/*
 * The LTTng-UST provider `emberscope`: every tracepoint with its typed fields. README.md has them as a table; units are
 * suffixes (_ms since 1970 where it is a moment, _ns of CLOCK_MONOTONIC where it is a moment, _bytes).
 */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER emberscope

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "./tracepoints.h"

#if !defined(EMBERSCOPE_TRACEPOINTS_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define EMBERSCOPE_TRACEPOINTS_H

#include <lttng/tracepoint.h>
#include <stdint.h>

/* How a task, a stage, a job or a SQL execution ended. The numbers are those of Status.java. */
LTTNG_UST_TRACEPOINT_ENUM(emberscope, status,
    LTTNG_UST_TP_ENUM_VALUES(
        lttng_ust_field_enum_value("succeeded", 0)
        lttng_ust_field_enum_value("failed", 1)
        lttng_ust_field_enum_value("killed", 2)
    )
)

/* One JVM of the application: when the library comes up or a session starts to listen, and then every ten seconds. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, process,
    LTTNG_UST_TP_ARGS(const char *, app_id, const char *, executor, const char *, host, int64_t, epoch_ns,
                      int64_t, monotonic_ns),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(app_id, app_id)
        lttng_ust_field_string(executor, executor)
        lttng_ust_field_string(host, host)
        lttng_ust_field_integer(int64_t, epoch_ns, epoch_ns)
        lttng_ust_field_integer(int64_t, monotonic_ns, monotonic_ns)
    )
)

/* In the task's own thread. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, task_start,
    LTTNG_UST_TP_ARGS(int64_t, task_id, int32_t, stage_id, int32_t, stage_attempt, int32_t, partition, int32_t, attempt,
                      const char *, executor),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, task_id, task_id)
        lttng_ust_field_integer(int32_t, stage_id, stage_id)
        lttng_ust_field_integer(int32_t, stage_attempt, stage_attempt)
        lttng_ust_field_integer(int32_t, partition, partition)
        lttng_ust_field_integer(int32_t, attempt, attempt)
        lttng_ust_field_string(executor, executor)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, task_end,
    LTTNG_UST_TP_ARGS(int64_t, task_id, int32_t, stage_id, int32_t, stage_attempt, int32_t, partition, int32_t, attempt,
                      int32_t, status, const char *, executor),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, task_id, task_id)
        lttng_ust_field_integer(int32_t, stage_id, stage_id)
        lttng_ust_field_integer(int32_t, stage_attempt, stage_attempt)
        lttng_ust_field_integer(int32_t, partition, partition)
        lttng_ust_field_integer(int32_t, attempt, attempt)
        lttng_ust_field_enum(emberscope, status, int32_t, status, status)
        lttng_ust_field_string(executor, executor)
    )
)

/* Sums over the task, in its own thread before task_end. Only where the task fetched, or spilled. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, shuffle_fetch,
    LTTNG_UST_TP_ARGS(int64_t, task_id, int64_t, fetch_wait_ms, int64_t, local_blocks, int64_t, remote_blocks,
                      int64_t, local_bytes, int64_t, remote_bytes, int64_t, records),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, task_id, task_id)
        lttng_ust_field_integer(int64_t, fetch_wait_ms, fetch_wait_ms)
        lttng_ust_field_integer(int64_t, local_blocks, local_blocks)
        lttng_ust_field_integer(int64_t, remote_blocks, remote_blocks)
        lttng_ust_field_integer(int64_t, local_bytes, local_bytes)
        lttng_ust_field_integer(int64_t, remote_bytes, remote_bytes)
        lttng_ust_field_integer(int64_t, records, records)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, spill,
    LTTNG_UST_TP_ARGS(int64_t, task_id, int64_t, memory_bytes, int64_t, disk_bytes),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, task_id, task_id)
        lttng_ust_field_integer(int64_t, memory_bytes, memory_bytes)
        lttng_ust_field_integer(int64_t, disk_bytes, disk_bytes)
    )
)

/* On the driver, from Spark's listener bus: the time of the trace is somewhat later than `time_ms`. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, application_start,
    LTTNG_UST_TP_ARGS(const char *, app_id, const char *, name, const char *, spark_version, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(app_id, app_id)
        lttng_ust_field_string(name, name)
        lttng_ust_field_string(spark_version, spark_version)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, application_end,
    LTTNG_UST_TP_ARGS(int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, job_start,
    LTTNG_UST_TP_ARGS(int32_t, job_id, int64_t, sql_execution_id, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int32_t, job_id, job_id)
        lttng_ust_field_integer(int64_t, sql_execution_id, sql_execution_id)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, job_end,
    LTTNG_UST_TP_ARGS(int32_t, job_id, int32_t, status, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int32_t, job_id, job_id)
        lttng_ust_field_enum(emberscope, status, int32_t, status, status)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, stage_start,
    LTTNG_UST_TP_ARGS(int32_t, stage_id, int32_t, stage_attempt, int32_t, tasks, const char *, name, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int32_t, stage_id, stage_id)
        lttng_ust_field_integer(int32_t, stage_attempt, stage_attempt)
        lttng_ust_field_integer(int32_t, tasks, tasks)
        lttng_ust_field_string(name, name)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, stage_end,
    LTTNG_UST_TP_ARGS(int32_t, stage_id, int32_t, stage_attempt, int32_t, status, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int32_t, stage_id, stage_id)
        lttng_ust_field_integer(int32_t, stage_attempt, stage_attempt)
        lttng_ust_field_enum(emberscope, status, int32_t, status, status)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, executor_added,
    LTTNG_UST_TP_ARGS(const char *, executor, const char *, host, int32_t, cores, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(executor, executor)
        lttng_ust_field_string(host, host)
        lttng_ust_field_integer(int32_t, cores, cores)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, executor_removed,
    LTTNG_UST_TP_ARGS(const char *, executor, const char *, reason, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(executor, executor)
        lttng_ust_field_string(reason, reason)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, sql_start,
    LTTNG_UST_TP_ARGS(int64_t, sql_execution_id, const char *, description, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, sql_execution_id, sql_execution_id)
        lttng_ust_field_string(description, description)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, sql_end,
    LTTNG_UST_TP_ARGS(int64_t, sql_execution_id, int32_t, status, int64_t, time_ms),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(int64_t, sql_execution_id, sql_execution_id)
        lttng_ust_field_enum(emberscope, status, int32_t, status, status)
        lttng_ust_field_integer(int64_t, time_ms, time_ms)
    )
)

/* While a collection has stopped all threads of the JVM, at the moments themselves (JVMTI). `pause` counts from 1. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, gc_start,
    LTTNG_UST_TP_ARGS(uint64_t, pause),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(uint64_t, pause, pause)
    )
)

LTTNG_UST_TRACEPOINT_EVENT(emberscope, gc_end,
    LTTNG_UST_TP_ARGS(uint64_t, pause),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(uint64_t, pause, pause)
    )
)

/* What the JVM says of a collection afterwards; a concurrent one stops threads for a part of its time or not at all. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, gc_info,
    LTTNG_UST_TP_ARGS(const char *, collector, const char *, action, const char *, cause, int64_t, collection,
                      int64_t, start_ms, int64_t, duration_ms, int64_t, before_bytes, int64_t, after_bytes),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(collector, collector)
        lttng_ust_field_string(action, action)
        lttng_ust_field_string(cause, cause)
        lttng_ust_field_integer(int64_t, collection, collection)
        lttng_ust_field_integer(int64_t, start_ms, start_ms)
        lttng_ust_field_integer(int64_t, duration_ms, duration_ms)
        lttng_ust_field_integer(int64_t, before_bytes, before_bytes)
        lttng_ust_field_integer(int64_t, after_bytes, after_bytes)
    )
)

/* A stop of all threads of the JVM, told up to a second after it ended: its moments are in the fields. */
LTTNG_UST_TRACEPOINT_EVENT(emberscope, safepoint,
    LTTNG_UST_TP_ARGS(const char *, operation, int64_t, begin_ns, int64_t, reached_ns, int64_t, end_ns),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_string(operation, operation)
        lttng_ust_field_integer(int64_t, begin_ns, begin_ns)
        lttng_ust_field_integer(int64_t, reached_ns, reached_ns)
        lttng_ust_field_integer(int64_t, end_ns, end_ns)
    )
)

#endif

#include <lttng/tracepoint-event.h>
