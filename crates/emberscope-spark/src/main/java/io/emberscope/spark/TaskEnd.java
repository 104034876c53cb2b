package io.emberscope.spark;

import org.apache.spark.TaskContext;
import org.apache.spark.executor.ShuffleReadMetrics;
import org.apache.spark.executor.TaskMetrics;
import org.apache.spark.util.TaskCompletionListener;

/** Emits what a task was, in its own thread, when its last line has run or thrown. */
final class TaskEnd implements TaskCompletionListener {
    private static final long serialVersionUID = 1;

    @Override
    public void onTaskCompletion(TaskContext task) {
        try {
            emit(task);
        } catch (Exception | LinkageError notOurs) {
            // What a completion listener throws fails the task.
            Tracing.warn("cannot tell the end of a task", notOurs);
        }
    }

    private static void emit(TaskContext task) {
        long id = task.taskAttemptId();
        TaskMetrics metrics = task.taskMetrics();
        ShuffleReadMetrics read = metrics.shuffleReadMetrics();
        long localBlocks = read.localBlocksFetched();
        long remoteBlocks = read.remoteBlocksFetched();
        if (localBlocks + remoteBlocks > 0) {
            Tracepoints.shuffleFetch(
                    id,
                    read.fetchWaitTime(),
                    localBlocks,
                    remoteBlocks,
                    read.localBytesRead(),
                    read.remoteBytesRead(),
                    read.recordsRead());
        }
        long spilled = metrics.memoryBytesSpilled();
        if (spilled > 0) {
            Tracepoints.spill(id, spilled, metrics.diskBytesSpilled());
        }
        Tracepoints.taskEnd(
                id,
                task.stageId(),
                task.stageAttemptNumber(),
                task.partitionId(),
                task.attemptNumber(),
                // A task that was told to stop ends as killed, whatever it made of it.
                task.isInterrupted() ? Status.KILLED : Status.of(task.isFailed()));
    }
}
