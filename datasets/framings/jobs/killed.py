"""A driver that dies in the middle of its work, so that its log stays `.inprogress`."""

import os
import signal
import threading
import time

from pyspark.sql import SparkSession

SECONDS_TO_LIVE = 4.0
TASK_SECONDS = 0.4


def work(number: int) -> int:
    """Take some time."""
    time.sleep(TASK_SECONDS)
    return number


def main() -> None:
    """Finish one job, begin another, and kill the driver's JVM (spark-submit, our parent) under it."""
    spark = SparkSession.builder.appName("killed").getOrCreate()
    spark.range(0, 1_000, 1, 4).groupBy().sum("id").collect()
    threading.Timer(SECONDS_TO_LIVE, os.kill, (os.getppid(), signal.SIGKILL)).start()
    spark.sparkContext.parallelize(range(80), 80).map(work).count()


if __name__ == "__main__":
    main()
