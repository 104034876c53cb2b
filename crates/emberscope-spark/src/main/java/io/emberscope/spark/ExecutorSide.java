package io.emberscope.spark;

import java.util.Map;
import org.apache.spark.TaskContext;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;

/** The plugin in an executor (with a local master, in the driver too): watches its JVM and its tasks. */
final class ExecutorSide implements ExecutorPlugin {
    private volatile boolean loaded;
    private volatile long sample = 1;

    @Override
    public void init(PluginContext plugin, Map<String, String> fromDriver) {
        sample = Tracing.sample(plugin.conf());
        loaded = Tracing.start(plugin);
    }

    /** Is called in the thread of the task, before its first line. */
    @Override
    public void onTaskStart() {
        if (!loaded || !Tracepoints.taskEnabled()) {
            return;
        }
        TaskContext task = TaskContext.get();
        if (task == null || task.taskAttemptId() % sample != 0) {
            return;
        }
        // The context is gone when onTaskSucceeded comes. Listeners are called in the task's thread, last in, first out:
        // this one, the first, sees the metrics that all others have left.
        task.addTaskCompletionListener(new TaskEnd());
        Tracepoints.taskStart(
                task.taskAttemptId(),
                task.stageId(),
                task.stageAttemptNumber(),
                task.partitionId(),
                task.attemptNumber());
    }

    @Override
    public void shutdown() {
        if (loaded) {
            Tracing.flush();
        }
    }
}
