package io.emberscope.spark;

import com.sun.management.GarbageCollectionNotificationInfo;
import com.sun.management.GcInfo;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryUsage;
import java.util.Map;
import java.util.function.Supplier;
import javax.management.ListenerNotFoundException;
import javax.management.Notification;
import javax.management.NotificationEmitter;
import javax.management.NotificationListener;
import javax.management.openmbean.CompositeData;

/**
 * A thread that wakes once a second, turns on what a session wants to know of the JVM, and off again when none does.
 *
 * <p>Pauses of the collector need no such thread: the native library is told of them by the JVM.
 */
final class JvmWatch extends Thread {
    private static final long PERIOD_MS = 1_000;
    /** How often clocks are read together, for traces of which only the end is kept. */
    private static final int PERIODS_BETWEEN_CLOCKS = 10;

    private final Supplier<String> applicationId;
    private final String executor;
    private final String host;
    private final SafepointLog safepoints = new SafepointLog(Tracepoints::safepoint);
    private final NotificationListener onCollection = (notification, ignored) -> tell(notification);

    private String toldApplication;
    private int periods;
    private boolean listening;

    JvmWatch(Supplier<String> applicationId, String executor, String host) {
        super("emberscope-trace");
        this.applicationId = applicationId;
        this.executor = executor;
        this.host = host;
        setDaemon(true);
    }

    @Override
    public void run() {
        try {
            while (true) {
                look();
                Thread.sleep(PERIOD_MS);
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException | LinkageError notHere) {
            Tracing.warn("this JVM cannot be watched", notHere);
        }
    }

    /** Does what is due. */
    synchronized void look() {
        tellProcess();
        if (Tracepoints.gcInfoEnabled() != listening) {
            listening = !listening;
            listen(listening);
        }
        safepoints.follow(Tracepoints.safepointEnabled());
    }

    private void tellProcess() {
        if (!Tracepoints.processEnabled()) {
            toldApplication = null;
            return;
        }
        String id = applicationId.get();
        if (!id.equals(toldApplication) || ++periods >= PERIODS_BETWEEN_CLOCKS) {
            Tracepoints.process(id, executor, host);
            toldApplication = id;
            periods = 0;
        }
    }

    private void listen(boolean on) {
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            if (!(bean instanceof NotificationEmitter)) {
                continue;
            }
            NotificationEmitter emitter = (NotificationEmitter) bean;
            try {
                if (on) {
                    emitter.addNotificationListener(onCollection, null, null);
                } else {
                    emitter.removeNotificationListener(onCollection);
                }
            } catch (ListenerNotFoundException neverThere) {
                // There is nothing to remove then.
            }
        }
    }

    private static void tell(Notification notification) {
        if (!notification.getType().equals(GarbageCollectionNotificationInfo.GARBAGE_COLLECTION_NOTIFICATION)) {
            return;
        }
        GarbageCollectionNotificationInfo told =
                GarbageCollectionNotificationInfo.from((CompositeData) notification.getUserData());
        GcInfo collection = told.getGcInfo();
        Tracepoints.gcInfo(
                told.getGcName(),
                told.getGcAction(),
                told.getGcCause(),
                collection.getId(),
                ManagementFactory.getRuntimeMXBean().getStartTime() + collection.getStartTime(),
                collection.getDuration(),
                used(collection.getMemoryUsageBeforeGc()),
                used(collection.getMemoryUsageAfterGc()));
    }

    private static long used(Map<String, MemoryUsage> pools) {
        return pools.values().stream().mapToLong(MemoryUsage::getUsed).sum();
    }
}
