import java.io.File;
import java.lang.instrument.Instrumentation;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * A Java agent that holds memory in executors, as a library's own cache does.
 *
 * <p>Environment: LAB_HOARD_SHARE of the heap is held; LAB_HOARD_KIND is "small" (objects of 80 bytes) or "large" (arrays of
 * 16 KB); LAB_HOARD_CHURN_MB_S of it is replaced each second; LAB_HOARD_EXECUTORS: only in executors with smaller ids;
 * LAB_HOARD_MARKER: begin when this file is there; LAB_HOARD_MB: so much is held, whatever the heap.
 */
public final class Hoard implements Runnable {
    private static final int SMALL_BYTES = 80;
    private static final int LARGE_BYTES = 16 << 10;
    private static final long RESERVE_BYTES = 2L << 20;
    /** How long an executor takes to come up; one that dies before that has had no task yet. */
    private static final long START_UP_NS = 6_000_000_000L;

    private final double share = number("LAB_HOARD_SHARE", 0.5);
    private final double megabytes = number("LAB_HOARD_MB", 0);
    private final double churnMbPerSecond = number("LAB_HOARD_CHURN_MB_S", 0);
    private final boolean small = "small".equals(System.getenv("LAB_HOARD_KIND"));
    private volatile boolean over;
    private volatile List<byte[]> large = new ArrayList<>();
    private long[][] cells = new long[0][];

    private static double number(String name, double otherwise) {
        String text = System.getenv(name);
        return text == null ? otherwise : Double.parseDouble(text);
    }

    public static void premain(String arguments, Instrumentation instrumentation) {
        String command = System.getProperty("sun.java.command", "");
        if (!command.contains("CoarseGrainedExecutorBackend")) {
            return;
        }
        String[] parts = command.split(" ");
        for (int at = 0; at + 1 < parts.length; at++) {
            if (parts[at].equals("--executor-id") && Integer.parseInt(parts[at + 1]) >= number("LAB_HOARD_EXECUTORS", 1e9)) {
                return;
            }
        }
        Thread thread = new Thread(new Hoard(), "library-cache");
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void run() {
        try {
            String marker = System.getenv("LAB_HOARD_MARKER");
            long begin = System.nanoTime();
            while (marker != null && (!new File(marker).exists() || System.nanoTime() - begin < START_UP_NS)) {
                Thread.sleep(50);
            }
            long bytes = (long) (megabytes > 0 ? megabytes * (1 << 20) : Runtime.getRuntime().maxMemory() * share);
            if (share >= 1) {
                everything(megabytes > 0 ? bytes : Long.MAX_VALUE);
            } else if (small) {
                smallOnes(bytes);
            } else {
                largeOnes(bytes);
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    /** Take what there is, up to a limit, again and again, and leave next to nothing to others. */
    private void everything(long limit) throws InterruptedException {
        long held = 0;
        Runtime.getRuntime().addShutdownHook(new Thread(this::release));
        while (!over) {
            // Few large arrays: what a full heap costs is to be the failure, not the collections before it.
            for (int size = 8 << 20; size >= LARGE_BYTES; size /= 8) {
                byte[] reserve = null;
                try {
                    reserve = new byte[(int) RESERVE_BYTES];
                    while (!over && held < limit) {
                        large.add(new byte[size - 16]);
                        held += size;
                    }
                } catch (OutOfMemoryError full) {
                    reserve = null;
                }
            }
            Thread.sleep(500);
        }
        large.clear();
    }

    /** Let a process that ends have the memory to do so. */
    private void release() {
        over = true;
        large = new ArrayList<>();
    }

    private void largeOnes(long bytes) throws InterruptedException {
        while ((long) large.size() * LARGE_BYTES < bytes) {
            large.add(new byte[LARGE_BYTES - 16]);
            if (large.size() % 1024 == 0) {
                Thread.sleep(20);
            }
        }
        Thread.sleep(Long.MAX_VALUE);
    }

    private void smallOnes(long bytes) throws InterruptedException {
        cells = new long[(int) (bytes / (SMALL_BYTES + 4))][];
        for (int at = 0; at < cells.length; at++) {
            cells[at] = new long[8];
            if (at % 200_000 == 0) {
                Thread.sleep(20);
            }
        }
        Random random = new Random(1);
        int each = (int) (churnMbPerSecond * 1e6 / SMALL_BYTES / 50);
        while (true) {
            long begin = System.nanoTime();
            for (int count = 0; count < each; count++) {
                cells[random.nextInt(cells.length)] = new long[8];
            }
            Thread.sleep(Math.max(1, 20 - (System.nanoTime() - begin) / 1_000_000));
        }
    }
}
