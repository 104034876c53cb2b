"""A stateful streaming query over the rate source, a few micro-batches long."""

import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

BATCHES = 4


def show(batch: DataFrame, number: int) -> None:
    """Count the rows of a batch, as a sink would write them."""
    print(number, batch.count())


def main() -> None:
    """Run one query with a state store and a sink in Python, then stop it."""
    spark = SparkSession.builder.appName("streaming").getOrCreate()
    rows = spark.readStream.format("rate").option("rowsPerSecond", 50).load()
    counts = rows.withWatermark("timestamp", "10 seconds").groupBy((F.col("value") % 5).alias("key")).count()
    query = (
        counts.writeStream.queryName("counts by key")
        .outputMode("update")
        .trigger(processingTime="1 second")
        .foreachBatch(show)
        .start()
    )
    while len([p for p in query.recentProgress if p["numInputRows"]]) < BATCHES:
        time.sleep(0.2)
    query.stop()
    spark.stop()


if __name__ == "__main__":
    main()
