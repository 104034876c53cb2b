package io.emberscope.spark;

import java.util.Collections;
import java.util.Map;
import org.apache.spark.SparkContext;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.PluginContext;

/** The plugin in the driver: watches its JVM and listens to what Spark tells of jobs, stages, executors and SQL. */
final class DriverSide implements DriverPlugin {
    @Override
    public Map<String, String> init(SparkContext context, PluginContext plugin) {
        if (Tracing.start(plugin)) {
            context.addSparkListener(new DriverListener(context.version()));
        }
        return Collections.emptyMap();
    }

    @Override
    public void shutdown() {
        Tracing.flush();
    }
}
