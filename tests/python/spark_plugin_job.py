"""What the tests of the Spark plugin run: tasks of a known length, a shuffle, spills, garbage, a failure, a kill."""

import sys
import threading
import time

from pyspark import SparkContext
from pyspark.sql import SparkSession

SLEEP_S = 0.1


def sleep(number: int) -> int:
    """Take as long as a task of the tests takes."""
    time.sleep(SLEEP_S)
    return number


def fail(number: int) -> int:
    """Fail one task."""
    if number == 1:
        raise ValueError("one task fails")
    return number


def cancelled(context: SparkContext) -> None:
    """Run a job in the JVM that is cancelled when its tasks have started."""
    context.setJobGroup("long", "is cancelled", interruptOnCancel=True)
    timer = threading.Timer(4.0, context.cancelJobGroup, ["long"])
    timer.start()
    try:
        context.parallelize(range(2), 2).map(lambda number: time.sleep(60) or number).count()
    except Exception as error:
        print("cancelled:", type(error).__name__)
    timer.join()
    context.setLocalProperty("spark.jobGroup.id", None)


def main() -> None:
    """Run them; `quick` stops after the first."""
    spark = SparkSession.builder.appName("plugin-test").getOrCreate()
    context = spark.sparkContext
    print("sum:", context.parallelize(range(8), 8).map(sleep).sum())
    if "quick" not in sys.argv:
        # First, so that its tasks have ended when the application does.
        cancelled(context)
        spark.range(0, 400_000, 1, 4).selectExpr("id % 7 AS k", "id").createOrReplaceTempView("numbers")
        print("groups:", spark.sql("SELECT k, count(*) FROM numbers GROUP BY k").count())
        # Sorts more rows than may stay in memory (see the test's configuration), and makes garbage.
        rows = spark.range(0, 3_000_000, 1, 4).selectExpr("hash(id) AS h", "repeat(string(id), 8) AS text")
        rows.sort("h").write.format("noop").mode("overwrite").save()
        try:
            context.parallelize(range(2), 2).map(fail).count()
        except Exception as error:
            print("failed:", type(error).__name__)
    spark.stop()


if __name__ == "__main__":
    main()
