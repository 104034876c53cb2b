package io.emberscope.spark;

/** How something ended; the numbers are those of the enumeration {@code status} in tracepoints.h. */
final class Status {
    static final int SUCCEEDED = 0;
    static final int FAILED = 1;
    static final int KILLED = 2;

    private Status() {}

    static int of(boolean failed) {
        return failed ? FAILED : SUCCEEDED;
    }
}
