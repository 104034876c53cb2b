import java.util.HashMap;
import org.apache.spark.api.java.JavaSparkContext;

/** Counts lines by a table that travels inside the function, with every task, instead of as a broadcast variable. */
public final class LargeClosure {
    private LargeClosure() {}

    /** Count the lines whose hash is in a table of so many entries, in at least so many tasks. */
    public static long count(JavaSparkContext context, String path, int tasks, int entries) {
        HashMap<Long, String> table = new HashMap<>();
        for (long key = 0; key < entries; key++) {
            table.put(key, "zone " + key);
        }
        return context.textFile(path, tasks)
                .filter(line -> table.containsKey(Math.floorMod(line.hashCode(), 2L * entries)))
                .count();
    }
}
