/* Pauses of the garbage collector, as JVMTI tells them. */
#ifndef EMBERSCOPE_COLLECTIONS_H
#define EMBERSCOPE_COLLECTIONS_H

#include <jni.h>
#include <stdbool.h>

/* Emits gc_start and gc_end from now on. False when this JVM cannot tell them. */
bool emberscope_watch_collections(JavaVM *vm);

#endif
