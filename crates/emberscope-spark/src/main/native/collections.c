/*
 * A JVM calls these back while all its threads stand still for a collection. Neither JNI nor most of JVMTI may be used
 * there; writing a tracepoint needs neither.
 */
#include "collections.h"

#include <jvmti.h>
#include <stdint.h>

#include "tracepoints.h"

/* One pause at a time: no lock. A pause may hold another (G1's for want of metaspace does): the outermost counts. */
static uint64_t pauses;
static unsigned depth;

static void JNICALL on_start(jvmtiEnv *jvmti)
{
    (void) jvmti;
    if (depth++ > 0)
        return;
    pauses++;
    lttng_ust_tracepoint(emberscope, gc_start, pauses);
}

static void JNICALL on_finish(jvmtiEnv *jvmti)
{
    (void) jvmti;
    if (depth == 0 || --depth > 0)
        return;
    lttng_ust_tracepoint(emberscope, gc_end, pauses);
}

bool emberscope_watch_collections(JavaVM *vm)
{
    jvmtiEnv *jvmti = NULL;
    jvmtiCapabilities wanted = {.can_generate_garbage_collection_events = 1};
    jvmtiEventCallbacks callbacks = {.GarbageCollectionStart = on_start, .GarbageCollectionFinish = on_finish};

    if ((*vm)->GetEnv(vm, (void **) &jvmti, JVMTI_VERSION_1_2) != JNI_OK)
        return false;
    if ((*jvmti)->AddCapabilities(jvmti, &wanted) != JVMTI_ERROR_NONE
        || (*jvmti)->SetEventCallbacks(jvmti, &callbacks, sizeof callbacks) != JVMTI_ERROR_NONE
        || (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_GARBAGE_COLLECTION_START, NULL)
            != JVMTI_ERROR_NONE
        || (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_GARBAGE_COLLECTION_FINISH, NULL)
            != JVMTI_ERROR_NONE) {
        (*jvmti)->DisposeEnvironment(jvmti);
        return false;
    }
    return true;
}
