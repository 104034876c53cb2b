"""The job of `tracing.py`: for each line, a number of rows, a block of equal tasks; prints how long it took."""

import sys
import time

from pyspark.sql import SparkSession

# Compilers and caches are warm after this, and blocks of one length follow each other then.
WARM_UP_S = 40.0
# After so many seconds more, tasks have the length that they have.
MOST_S = 60.0
TASK_S = 0.1


def main() -> None:
    """Warm up, find the rows that take a task a tenth of a second, then answer requests."""
    tasks, slots = int(sys.argv[1]), int(sys.argv[2])
    spark = SparkSession.builder.appName("tracing-bench").getOrCreate()

    def block(rows: int) -> float:
        begin = time.perf_counter()
        spark.range(0, tasks * rows, 1, tasks).selectExpr("sum(hash(id, id + 1, id * 3))").collect()
        return time.perf_counter() - begin

    def calibrated(rows: int, least_s: float) -> int:
        """Find the rows that take a task so long: three blocks in a row must agree."""
        begin, agreed = time.monotonic(), 0
        while (passed := time.monotonic() - begin) < least_s or (agreed < 3 and passed < least_s + MOST_S):
            off = block(rows) * slots / tasks / TASK_S
            agreed = agreed + 1 if 0.9 < off < 1.1 else 0
            rows = max(int(rows / min(max(off, 0.5), 2.0)), 100_000)
        return rows

    rows = calibrated(200_000, WARM_UP_S)
    print(rows, flush=True)
    for line in sys.stdin:
        if line == "calibrate\n":
            rows = calibrated(rows, 0)
            print(rows, flush=True)
        else:
            print(block(int(line)), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
