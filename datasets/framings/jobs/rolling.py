"""Many small SQL jobs one after the other, so that a rolling log has several parts."""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def main() -> None:
    """Run `--queries` times the same query with another constant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=16)
    queries: int = parser.parse_args().queries
    spark = SparkSession.builder.appName("rolling").getOrCreate()
    for query in range(queries):
        table = spark.range(0, 2_000, 1, 8).withColumn("key", F.col("id") % (query + 2))
        table.groupBy("key").agg(F.sum("id"), F.max("id")).collect()
    spark.stop()


if __name__ == "__main__":
    main()
