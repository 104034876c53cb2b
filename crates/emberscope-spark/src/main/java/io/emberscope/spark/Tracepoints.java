package io.emberscope.spark;

/**
 * The tracepoints of the native library. A call costs some nanoseconds when no session listens.
 *
 * <p>No call may come before {@link NativeLibrary#load} has returned.
 *
 * <p>Names, units and meanings of the fields are in tracepoints.h and README.md.
 */
final class Tracepoints {
    /** What {@link #revision()} gives when the library is the one that this class was written for. */
    static final int REVISION = 1;

    private Tracepoints() {}

    static native int revision();

    /** Whether the JVM tells {@code gc_start} and {@code gc_end} by itself. */
    static native boolean watchesCollections();

    /** The executor that task events of this JVM name. */
    static native void setExecutor(String executor);

    static native boolean processEnabled();

    static native boolean taskEnabled();

    static native boolean gcInfoEnabled();

    static native boolean safepointEnabled();

    /** The native side reads both clocks. */
    static native void process(String appId, String executor, String host);

    static native void taskStart(long task, int stage, int stageAttempt, int partition, int attempt);

    static native void taskEnd(long task, int stage, int stageAttempt, int partition, int attempt, int status);

    static native void shuffleFetch(
            long task,
            long fetchWaitMs,
            long localBlocks,
            long remoteBlocks,
            long localBytes,
            long remoteBytes,
            long records);

    static native void spill(long task, long memoryBytes, long diskBytes);

    static native void applicationStart(String appId, String name, String sparkVersion, long timeMs);

    static native void applicationEnd(long timeMs);

    static native void jobStart(int job, long sqlExecution, long timeMs);

    static native void jobEnd(int job, int status, long timeMs);

    static native void stageStart(int stage, int attempt, int tasks, String name, long timeMs);

    static native void stageEnd(int stage, int attempt, int status, long timeMs);

    static native void executorAdded(String executor, String host, int cores, long timeMs);

    static native void executorRemoved(String executor, String reason, long timeMs);

    static native void sqlStart(long execution, String description, long timeMs);

    static native void sqlEnd(long execution, int status, long timeMs);

    static native void gcInfo(
            String collector,
            String action,
            String cause,
            long collection,
            long startMs,
            long durationMs,
            long beforeBytes,
            long afterBytes);

    static native void safepoint(String operation, long beginNs, long reachedNs, long endNs);
}
