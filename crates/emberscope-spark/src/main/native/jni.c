/*
 * What Tracepoints.java calls. Each function asks first whether a session listens, so that no string is copied for
 * nothing.
 */
#include <jni.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collections.h"
#include "tracepoints.h"

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_io_emberscope_spark_Tracepoints_##name
#define ENABLED(name) lttng_ust_tracepoint_enabled(emberscope, name)

/* A copy of a Java string, or an empty one: JNI has no memory, or the string is null. */
struct text {
    jstring of;
    const char *chars;
};

static struct text text(JNIEnv *env, jstring string)
{
    struct text text = {string, string ? (*env)->GetStringUTFChars(env, string, NULL) : NULL};
    return text;
}

static const char *chars(struct text text)
{
    return text.chars ? text.chars : "";
}

static void release(JNIEnv *env, struct text text)
{
    if (text.chars)
        (*env)->ReleaseStringUTFChars(env, text.of, text.chars);
    else
        (*env)->ExceptionClear(env);
}

/* The executor's id as every task event has it. It is set before the first task and never freed: no lock on the way. */
static const char *executor_id = "";

static bool collections;

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *vm, void *reserved)
{
    (void) reserved;
    collections = emberscope_watch_collections(vm);
    return JNI_VERSION_1_8;
}

/* Another number than Tracepoints.REVISION: the jar and this library do not belong together. */
NATIVE(jint, revision)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return 1;
}

NATIVE(jboolean, watchesCollections)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return collections;
}

NATIVE(void, setExecutor)(JNIEnv *env, jclass class, jstring executor)
{
    (void) class;
    struct text id = text(env, executor);
    char *copy = strdup(chars(id));
    release(env, id);
    if (copy)
        executor_id = copy;
}

NATIVE(jboolean, processEnabled)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return ENABLED(process);
}

NATIVE(jboolean, taskEnabled)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return ENABLED(task_start) || ENABLED(task_end) || ENABLED(shuffle_fetch) || ENABLED(spill);
}

NATIVE(jboolean, gcInfoEnabled)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return ENABLED(gc_info);
}

NATIVE(jboolean, safepointEnabled)(JNIEnv *env, jclass class)
{
    (void) env, (void) class;
    return ENABLED(safepoint);
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

NATIVE(void, process)(JNIEnv *env, jclass class, jstring app_id, jstring executor, jstring host)
{
    (void) class;
    if (!ENABLED(process))
        return;
    struct text app = text(env, app_id), id = text(env, executor), name = text(env, host);
    /* The middle of two readings ties the clocks to within half of what lies between them. */
    int64_t before = nanoseconds(CLOCK_MONOTONIC);
    int64_t epoch = nanoseconds(CLOCK_REALTIME);
    int64_t monotonic = before + (nanoseconds(CLOCK_MONOTONIC) - before) / 2;
    lttng_ust_tracepoint(emberscope, process, chars(app), chars(id), chars(name), epoch, monotonic);
    release(env, name);
    release(env, id);
    release(env, app);
}

NATIVE(void, taskStart)(JNIEnv *env, jclass class, jlong task, jint stage, jint stage_attempt, jint partition,
                        jint attempt)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, task_start, task, stage, stage_attempt, partition, attempt, executor_id);
}

NATIVE(void, taskEnd)(JNIEnv *env, jclass class, jlong task, jint stage, jint stage_attempt, jint partition,
                      jint attempt, jint status)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, task_end, task, stage, stage_attempt, partition, attempt, status, executor_id);
}

NATIVE(void, shuffleFetch)(JNIEnv *env, jclass class, jlong task, jlong wait_ms, jlong local_blocks,
                           jlong remote_blocks, jlong local_bytes, jlong remote_bytes, jlong records)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, shuffle_fetch, task, wait_ms, local_blocks, remote_blocks, local_bytes,
                         remote_bytes, records);
}

NATIVE(void, spill)(JNIEnv *env, jclass class, jlong task, jlong memory_bytes, jlong disk_bytes)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, spill, task, memory_bytes, disk_bytes);
}

NATIVE(void, applicationStart)(JNIEnv *env, jclass class, jstring app_id, jstring name, jstring version, jlong time)
{
    (void) class;
    if (!ENABLED(application_start))
        return;
    struct text app = text(env, app_id), called = text(env, name), spark = text(env, version);
    lttng_ust_tracepoint(emberscope, application_start, chars(app), chars(called), chars(spark), time);
    release(env, spark);
    release(env, called);
    release(env, app);
}

NATIVE(void, applicationEnd)(JNIEnv *env, jclass class, jlong time)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, application_end, time);
}

NATIVE(void, jobStart)(JNIEnv *env, jclass class, jint job, jlong sql_execution, jlong time)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, job_start, job, sql_execution, time);
}

NATIVE(void, jobEnd)(JNIEnv *env, jclass class, jint job, jint status, jlong time)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, job_end, job, status, time);
}

NATIVE(void, stageStart)(JNIEnv *env, jclass class, jint stage, jint attempt, jint tasks, jstring name, jlong time)
{
    (void) class;
    if (!ENABLED(stage_start))
        return;
    struct text called = text(env, name);
    lttng_ust_tracepoint(emberscope, stage_start, stage, attempt, tasks, chars(called), time);
    release(env, called);
}

NATIVE(void, stageEnd)(JNIEnv *env, jclass class, jint stage, jint attempt, jint status, jlong time)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, stage_end, stage, attempt, status, time);
}

NATIVE(void, executorAdded)(JNIEnv *env, jclass class, jstring executor, jstring host, jint cores, jlong time)
{
    (void) class;
    if (!ENABLED(executor_added))
        return;
    struct text id = text(env, executor), name = text(env, host);
    lttng_ust_tracepoint(emberscope, executor_added, chars(id), chars(name), cores, time);
    release(env, name);
    release(env, id);
}

NATIVE(void, executorRemoved)(JNIEnv *env, jclass class, jstring executor, jstring reason, jlong time)
{
    (void) class;
    if (!ENABLED(executor_removed))
        return;
    struct text id = text(env, executor), why = text(env, reason);
    lttng_ust_tracepoint(emberscope, executor_removed, chars(id), chars(why), time);
    release(env, why);
    release(env, id);
}

NATIVE(void, sqlStart)(JNIEnv *env, jclass class, jlong execution, jstring description, jlong time)
{
    (void) class;
    if (!ENABLED(sql_start))
        return;
    struct text what = text(env, description);
    lttng_ust_tracepoint(emberscope, sql_start, execution, chars(what), time);
    release(env, what);
}

NATIVE(void, sqlEnd)(JNIEnv *env, jclass class, jlong execution, jint status, jlong time)
{
    (void) env, (void) class;
    lttng_ust_tracepoint(emberscope, sql_end, execution, status, time);
}

NATIVE(void, gcInfo)(JNIEnv *env, jclass class, jstring collector, jstring action, jstring cause, jlong collection,
                     jlong start, jlong duration, jlong before, jlong after)
{
    (void) class;
    if (!ENABLED(gc_info))
        return;
    struct text who = text(env, collector), what = text(env, action), why = text(env, cause);
    lttng_ust_tracepoint(emberscope, gc_info, chars(who), chars(what), chars(why), collection, start, duration, before,
                         after);
    release(env, why);
    release(env, what);
    release(env, who);
}

NATIVE(void, safepoint)(JNIEnv *env, jclass class, jstring operation, jlong begin, jlong reached, jlong end)
{
    (void) class;
    if (!ENABLED(safepoint))
        return;
    struct text what = text(env, operation);
    lttng_ust_tracepoint(emberscope, safepoint, chars(what), begin, reached, end);
    release(env, what);
}
