import java.util.HashMap;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;

/** Counts lines by a table that travels inside the function, with every task, instead of as a broadcast variable. */
public final class LargeClosure {
    private LargeClosure() {}

    /** Count the lines whose hash is in a table of so many entries, in at least so many tasks. */
    public static long count(JavaSparkContext context, String path, int tasks, int entries) {
        HashMap<Long, String> table = table(entries);
        return context.textFile(path, tasks)
                .filter(line -> table.containsKey(Math.floorMod(line.hashCode(), 2L * entries)))
                .count();
    }

    /** The same, with the table as a broadcast variable. */
    public static long countByBroadcast(JavaSparkContext context, String path, int tasks, int entries) {
        Broadcast<HashMap<Long, String>> table = context.broadcast(table(entries));
        return context.textFile(path, tasks)
                .filter(line -> table.value().containsKey(Math.floorMod(line.hashCode(), 2L * entries)))
                .count();
    }

    private static HashMap<Long, String> table(int entries) {
        HashMap<Long, String> table = new HashMap<>();
        for (long key = 0; key < entries; key++) {
            table.put(key, "zone " + key);
        }
        return table;
    }
}
