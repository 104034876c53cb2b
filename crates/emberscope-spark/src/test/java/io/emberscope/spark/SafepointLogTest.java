package io.emberscope.spark;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeFalse;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.Test;

public class SafepointLogTest {
    private final List<String> told = new ArrayList<>();
    private final SafepointLog log = new SafepointLog(
            (operation, begin, reached, end) -> told.add(operation + " " + begin + " " + reached + " " + end));

    @Test
    public void aLineOfJava17BecomesAStop() {
        log.tell("[55091951159429ns] Safepoint \"G1CollectForAllocation\", Time since last: 87246000 ns, "
                + "Reaching safepoint:      11197 ns, At safepoint:   13776518 ns, Total:   13787715 ns");
        assertEquals(
                Collections.singletonList("G1CollectForAllocation 55091937371714 55091937382911 55091951159429"), told);
    }

    @Test
    public void aLineOfJava21HasOneFieldMore() {
        log.tell("[1000000ns] Safepoint \"ICBufferFull\", Time since last: 5 ns, Reaching safepoint: 100 ns, "
                + "Cleanup: 30 ns, At safepoint: 20 ns, Total: 150 ns");
        assertEquals(Collections.singletonList("ICBufferFull 999850 999950 1000000"), told);
    }

    @Test
    public void aLineOfJava11HasSecondsAndNoOperation() {
        log.tell("[2000000ns] Total time for which application threads were stopped: 0.0005000 seconds, "
                + "Stopping threads took: 0.0000400 seconds");
        assertEquals(Collections.singletonList(" 1500000 1540000 2000000"), told);
    }

    @Test
    public void whatIsNoStopIsPassedOver() {
        for (String line : Arrays.asList(
                "", "[12ns] Entering safepoint region: Cleanup", "Safepoint \"Cleanup\"", "[ns] Safepoint \"x\", ")) {
            log.tell(line);
        }
        assertEquals(Collections.emptyList(), told);
    }

    @Test
    public void stopsOfThisJvmAreOnItsMonotonicClock() {
        long before = System.nanoTime();
        List<long[]> stops = new ArrayList<>();
        SafepointLog live = new SafepointLog((operation, begin, reached, end) ->
                stops.add(new long[] {begin, reached, end}));
        live.follow(true);
        System.gc();
        live.follow(false);
        long after = System.nanoTime();
        assumeFalse("Java 8 has no such log", System.getProperty("java.version").startsWith("1."));
        assertFalse(stops.isEmpty());
        for (long[] stop : stops) {
            assertTrue(before <= stop[0] && stop[0] <= stop[1]);
            assertTrue(stop[1] <= stop[2] && stop[2] <= after);
        }
    }
}
