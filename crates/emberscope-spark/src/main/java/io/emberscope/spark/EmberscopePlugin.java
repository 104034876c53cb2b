package io.emberscope.spark;

import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.SparkPlugin;

/**
 * Emits LTTng-UST tracepoints for what an application does; {@code spark.plugins} names this class.
 *
 * <p>Nothing here may harm the application: without the native library, or with no session listening, it does nothing.
 */
public final class EmberscopePlugin implements SparkPlugin {
    @Override
    public DriverPlugin driverPlugin() {
        return new DriverSide();
    }

    @Override
    public ExecutorPlugin executorPlugin() {
        return new ExecutorSide();
    }
}
