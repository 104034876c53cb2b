"""What Spark's classes are archived from: a little of everything that the families do, for `clusters.archived`."""

import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F


def main() -> None:
    """Read, write, join, aggregate, sort, and go through Python, in small."""
    folder = sys.argv[1]
    spark = SparkSession.builder.getOrCreate()
    rows = spark.range(20_000).select("id", (F.col("id") % 100).alias("key"), F.sha2(F.hex("id"), 256).alias("text"))
    rows.write.mode("overwrite").parquet(f"{folder}/rows")
    rows.write.mode("overwrite").csv(f"{folder}/csv", header=True)
    spark.read.csv(f"{folder}/csv", header=True, schema=rows.schema).filter("key > 3").count()
    rows = spark.read.parquet(f"{folder}/rows").persist()
    few = rows.groupBy("key").agg(F.count("*").alias("rows"), F.max("text").alias("most"), F.countDistinct("id"))
    rows.join(F.broadcast(few), "key").orderBy("most").limit(10).collect()
    rows.join(few.hint("merge"), "key").groupBy("key").pivot("rows").agg(F.avg("id")).toPandas()
    numbered = rows.withColumn("at", F.row_number().over(Window.partitionBy("key").orderBy("id")))
    numbered.rollup("key", "at").count().count()
    rows.select(F.udf(lambda text: text[:3])("text")).distinct().collect()
    rows.mapInArrow(lambda batches: batches, rows.schema).count()
    pairs = spark.sparkContext.parallelize(range(20_000), 4).map(lambda number: (number % 7, number))
    pairs.reduceByKey(max).sortByKey().collect()
    spark.stop()


if __name__ == "__main__":
    main()
