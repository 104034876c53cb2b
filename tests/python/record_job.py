"""What the tests of `emberscope record` run: N tasks of a tenth of a second, half of it waiting."""

import sys
import time

from pyspark.sql import SparkSession


def work(number: int) -> int:
    """Wait, and then compute."""
    time.sleep(0.05)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    return number


def main() -> None:
    """Run them; `fail` ends with another exit code."""
    tasks = int(sys.argv[1])
    spark = SparkSession.builder.appName("record-test").getOrCreate()
    if tasks >= 1000:
        print("started", flush=True)
    print("sum:", spark.sparkContext.parallelize(range(tasks), tasks).map(work).sum(), flush=True)
    spark.stop()
    if "fail" in sys.argv:
        sys.exit(3)


if __name__ == "__main__":
    main()
