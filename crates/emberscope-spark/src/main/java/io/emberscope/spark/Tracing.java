package io.emberscope.spark;

import java.io.IOException;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.storage.BlockManagerId;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The one library and the one watch of a JVM. With a local master, driver and executor share them. */
final class Tracing {
    /** Where the native library is, when it is not to come from the jar. */
    static final String LIBRARY = "spark.emberscope.library";

    /** One task in so many, by its id, emits tracepoints. */
    static final String SAMPLE = "spark.emberscope.sample";

    private static final Logger LOG = LoggerFactory.getLogger(EmberscopePlugin.class);

    /** Of the last application: a JVM may have one after another. */
    private static volatile SparkConf conf;

    private static boolean tried;
    private static boolean warned;
    private static JvmWatch watch;

    private Tracing() {}

    /** Loads the library if that was not tried yet; true when it is there. */
    static synchronized boolean start(PluginContext plugin) {
        conf = plugin.conf();
        if (!tried) {
            tried = true;
            try {
                NativeLibrary.load(conf.get(LIBRARY, System.getProperty(LIBRARY)));
                Tracepoints.setExecutor(plugin.executorID());
                watch = new JvmWatch(() -> conf.get("spark.app.id", ""), plugin.executorID(), host(plugin));
                watch.start();
            } catch (IOException | LinkageError | RuntimeException absent) {
                warn("no tracepoints, because the native library cannot be loaded (is liblttng-ust1 there?)", absent);
            }
        }
        return watch != null;
    }

    /** One in how many tasks is traced: all of them where the setting is no whole number over 0. */
    static long sample(SparkConf conf) {
        String value = conf.get(SAMPLE, "1");
        try {
            long sample = Long.parseLong(value.trim());
            if (sample > 0) {
                return sample;
            }
        } catch (NumberFormatException isNone) {
            // As below.
        }
        LOG.warn("Emberscope: {} is {}, which is no whole number over 0: every task is traced", SAMPLE, value);
        return 1;
    }

    /** The host as the event log has it. The plugin's API fails in executors, which have no address of their own. */
    private static String host(PluginContext plugin) {
        BlockManagerId blocks = SparkEnv.get().blockManager().blockManagerId();
        return blocks == null ? plugin.hostname() : blocks.host();
    }

    /** Emits what is not told yet. */
    static synchronized void flush() {
        if (watch != null) {
            watch.look();
        }
    }

    /** Warns the first time in this JVM, and no more. */
    static synchronized void warn(String what, Throwable cause) {
        if (!warned) {
            warned = true;
            LOG.warn("Emberscope: {}: {}", what, cause.toString());
        }
    }
}
