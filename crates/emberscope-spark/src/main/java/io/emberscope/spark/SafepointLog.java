package io.emberscope.spark;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.management.JMException;
import javax.management.ObjectName;

/**
 * Stops of all threads, from the JVM's unified log: nothing else tells those that are no collection.
 *
 * <p>The log is turned on while the JVM runs, into a file that has no name any more once it is open, and each line
 * carries the JVM's monotonic clock, which is the one that LTTng uses. Java 8 has no such log: there, nothing is told.
 */
final class SafepointLog {
    /** The file is emptied when it is longer, and all of it has been read. */
    private static final long MAX_BYTES = 1 << 20;
    /** Java 13 and newer: the line is written at the end of the stop. */
    private static final Pattern NEWER = Pattern.compile(
            "\\[(\\d+)ns\\]\\s*Safepoint \"([^\"]*)\",.*Reaching safepoint:\\s*(\\d+) ns,.*Total:\\s*(\\d+) ns");
    /** Java 9 to 12, which names the operation in another line. */
    private static final Pattern OLDER = Pattern.compile(
            "\\[(\\d+)ns\\]\\s*Total time for which application threads were stopped: ([\\d.]+) seconds, "
                    + "Stopping threads took: ([\\d.]+) seconds");

    /** Takes a stop: what for, when it was asked for, when all threads stood and when they went on (nanoseconds). */
    interface Sink {
        void accept(String operation, long beginNs, long reachedNs, long endNs);
    }

    private final Sink sink;
    private final StringBuilder unfinished = new StringBuilder();
    private RandomAccessFile log;
    private String path;
    private boolean failed;

    SafepointLog(Sink sink) {
        this.sink = sink;
    }

    /** Tells what is new in the log while it is wanted; opens and closes it as needed. */
    void follow(boolean wanted) {
        if (failed) {
            return;
        }
        try {
            if (wanted && log == null) {
                open();
            }
            if (log != null) {
                read();
                if (!wanted) {
                    close();
                }
            }
        } catch (IOException | JMException | RuntimeException notHere) {
            // The JVM has no such log: what else it tells is worth having.
            failed = true;
        }
    }

    private void open() throws IOException, JMException {
        Path folder = Files.createTempDirectory("emberscope-");
        Path file = folder.resolve("safepoints.log");
        try {
            path = file.toString();
            Files.createFile(file);
            command("what=safepoint=info", "decorators=timenanos", "output_options=filecount=0");
            log = new RandomAccessFile(file.toFile(), "rw");
        } finally {
            Files.deleteIfExists(file);
            Files.deleteIfExists(folder);
        }
    }

    private void close() throws IOException, JMException {
        command("what=all=off");
        log.close();
        log = null;
        unfinished.setLength(0);
    }

    private void command(String... arguments) throws JMException {
        String[] all = new String[arguments.length + 1];
        all[0] = "output=\"" + path + "\"";
        System.arraycopy(arguments, 0, all, 1, arguments.length);
        ManagementFactory.getPlatformMBeanServer()
                .invoke(
                        new ObjectName("com.sun.management:type=DiagnosticCommand"),
                        "vmLog",
                        new Object[] {all},
                        new String[] {String[].class.getName()});
    }

    private void read() throws IOException {
        byte[] fresh = new byte[(int) Math.min(log.length() - log.getFilePointer(), MAX_BYTES)];
        log.readFully(fresh);
        unfinished.append(new String(fresh, StandardCharsets.ISO_8859_1));
        int start = 0;
        for (int end; (end = unfinished.indexOf("\n", start)) >= 0; start = end + 1) {
            tell(unfinished.substring(start, end));
        }
        unfinished.delete(0, start);
        if (log.getFilePointer() >= MAX_BYTES && log.getFilePointer() == log.length()) {
            log.setLength(0);
            log.seek(0);
        }
    }

    /** Tells the stop that a line is about, if it is about one. */
    void tell(String line) {
        Matcher newer = NEWER.matcher(line);
        if (newer.lookingAt()) {
            tell(newer.group(2), newer.group(1), Long.parseLong(newer.group(4)), Long.parseLong(newer.group(3)));
            return;
        }
        Matcher older = OLDER.matcher(line);
        if (older.lookingAt()) {
            tell("", older.group(1), nanoseconds(older.group(2)), nanoseconds(older.group(3)));
        }
    }

    private void tell(String operation, String end, long total, long reaching) {
        long begin = Long.parseLong(end) - total;
        sink.accept(operation, begin, begin + reaching, begin + total);
    }

    private static long nanoseconds(String seconds) {
        return Math.round(Double.parseDouble(seconds) * 1e9);
    }
}
