"""The job of `tracing.py`: for each line, a number of rows, a block of equal tasks; prints how long it took."""

import sys
import time

from pyspark.sql import SparkSession

# Blocks before the first that counts: compilers and caches.
WARM_UP_S = 20.0
# After that long, tasks have the length that they have.
MOST_S = 90.0
TASK_S = 0.1


def main() -> None:
    """Warm up, find the rows that take a task a tenth of a second, then answer requests."""
    tasks, slots = int(sys.argv[1]), int(sys.argv[2])
    spark = SparkSession.builder.appName("tracing-bench").getOrCreate()

    def block(rows: int) -> float:
        begin = time.perf_counter()
        spark.range(0, tasks * rows, 1, tasks).selectExpr("sum(hash(id, id + 1, id * 3))").collect()
        return time.perf_counter() - begin

    rows, begin, off = 200_000, time.monotonic(), 0.0
    while time.monotonic() < begin + WARM_UP_S or (not 0.85 < off < 1.15 and time.monotonic() < begin + MOST_S):
        off = block(rows) * slots / tasks / TASK_S
        rows = max(int(rows / min(max(off, 0.5), 2.0)), 100_000)
    print("ready", rows, flush=True)
    for line in sys.stdin:
        print(block(int(line)), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
