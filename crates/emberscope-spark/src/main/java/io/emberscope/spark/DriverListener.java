package io.emberscope.spark;

import java.util.Properties;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerApplicationEnd;
import org.apache.spark.scheduler.SparkListenerApplicationStart;
import org.apache.spark.scheduler.SparkListenerEvent;
import org.apache.spark.scheduler.SparkListenerExecutorAdded;
import org.apache.spark.scheduler.SparkListenerExecutorRemoved;
import org.apache.spark.scheduler.SparkListenerJobEnd;
import org.apache.spark.scheduler.SparkListenerJobStart;
import org.apache.spark.scheduler.SparkListenerStageCompleted;
import org.apache.spark.scheduler.SparkListenerStageSubmitted;
import org.apache.spark.scheduler.StageInfo;
import scala.Option;

/**
 * Emits what the scheduler tells, from the thread of Spark's listener bus: fields say when it was, not the trace's time.
 *
 * <p>Only what has one signature in Scala 2.12 and 2.13 is used: no {@code Seq}, which is another class in each.
 */
final class DriverListener extends SparkListener {
    private static final int MAX_TEXT = 512;
    private static final String SQL_START = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart";
    private static final String SQL_END = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionEnd";

    private final String sparkVersion;

    DriverListener(String sparkVersion) {
        this.sparkVersion = sparkVersion;
    }

    @Override
    public void onApplicationStart(SparkListenerApplicationStart event) {
        Tracepoints.applicationStart(text(event.appId()), shortened(event.appName()), sparkVersion, event.time());
    }

    @Override
    public void onApplicationEnd(SparkListenerApplicationEnd event) {
        Tracepoints.applicationEnd(event.time());
    }

    @Override
    public void onJobStart(SparkListenerJobStart event) {
        Tracepoints.jobStart(event.jobId(), sqlExecution(event.properties()), event.time());
    }

    @Override
    public void onJobEnd(SparkListenerJobEnd event) {
        boolean succeeded = event.jobResult().getClass().getSimpleName().startsWith("JobSucceeded");
        Tracepoints.jobEnd(event.jobId(), Status.of(!succeeded), event.time());
    }

    @Override
    public void onStageSubmitted(SparkListenerStageSubmitted event) {
        StageInfo stage = event.stageInfo();
        String name = shortened(stage.name());
        long time = millis(stage.submissionTime());
        Tracepoints.stageStart(stage.stageId(), stage.attemptNumber(), stage.numTasks(), name, time);
    }

    @Override
    public void onStageCompleted(SparkListenerStageCompleted event) {
        StageInfo stage = event.stageInfo();
        int status = Status.of(stage.failureReason().isDefined());
        Tracepoints.stageEnd(stage.stageId(), stage.attemptNumber(), status, millis(stage.completionTime()));
    }

    @Override
    public void onExecutorAdded(SparkListenerExecutorAdded event) {
        String host = event.executorInfo().executorHost();
        Tracepoints.executorAdded(event.executorId(), host, event.executorInfo().totalCores(), event.time());
    }

    @Override
    public void onExecutorRemoved(SparkListenerExecutorRemoved event) {
        Tracepoints.executorRemoved(event.executorId(), shortened(event.reason()), event.time());
    }

    /** SQL executions are of a module that an application need not have: by name. */
    @Override
    public void onOtherEvent(SparkListenerEvent event) {
        String kind = event.getClass().getName();
        if (!kind.equals(SQL_START) && !kind.equals(SQL_END)) {
            return;
        }
        try {
            long execution = (Long) get(event, "executionId");
            long time = (Long) get(event, "time");
            if (kind.equals(SQL_START)) {
                Tracepoints.sqlStart(execution, shortened((String) get(event, "description")), time);
            } else {
                // Some("") is success in newer versions, None in all.
                boolean failed = !text((Option<?>) get(event, "errorMessage")).isEmpty();
                Tracepoints.sqlEnd(execution, Status.of(failed), time);
            }
        } catch (ReflectiveOperationException | ClassCastException unknown) {
            Tracing.warn("cannot tell SQL executions of this version of Spark", unknown);
        }
    }

    private static Object get(Object event, String field) throws ReflectiveOperationException {
        return event.getClass().getMethod(field).invoke(event);
    }

    private static String text(Option<?> option) {
        return option.isDefined() ? String.valueOf(option.get()) : "";
    }

    /** A moment in milliseconds since 1970, -1 where Spark has none. */
    private static long millis(Option<?> time) {
        return time.isDefined() ? ((Number) time.get()).longValue() : -1;
    }

    private static long sqlExecution(Properties properties) {
        String id = properties == null ? null : properties.getProperty("spark.sql.execution.id");
        try {
            return id == null ? -1 : Long.parseLong(id);
        } catch (NumberFormatException notOne) {
            return -1;
        }
    }

    /** An event must fit in a sub-buffer, and a description may be a whole program. */
    static String shortened(String text) {
        return text == null || text.length() <= MAX_TEXT ? text : text.substring(0, MAX_TEXT);
    }
}
