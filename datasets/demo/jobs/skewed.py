"""Sessions of a web shop: events of user 0 (not logged in) are the hot key."""

import argparse

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

SESSION_GAP_S = 1_800


def views_by_country(events: DataFrame, users: DataFrame) -> DataFrame:
    """Add up the views by country; the join is by user."""
    joined = events.join(users, "user_id", "left")
    return joined.groupBy("country", "page_id").agg(F.count("*").alias("views"), F.avg("view_ms").alias("view_ms"))


def sessions(events: DataFrame) -> DataFrame:
    """Cut each user's events into sessions where nothing happened for half an hour."""
    by_user = Window.partitionBy("user_id").orderBy("at_s")
    gap = F.col("at_s") - F.lag("at_s").over(by_user)
    marked = events.withColumn("opens", (F.coalesce(gap, F.lit(SESSION_GAP_S)) >= SESSION_GAP_S))
    numbered = marked.withColumn("session", F.sum(F.col("opens").cast("int")).over(by_user))
    return numbered.groupBy("user_id", "session").agg(
        F.min("at_s").alias("from_s"), F.max("at_s").alias("to_s"), F.count("*").alias("views")
    )


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("web-sessions").getOrCreate()
    events = spark.read.parquet(f"{arguments.data}/events")
    users = spark.read.parquet(f"{arguments.data}/users")
    views_by_country(events, users).write.mode("overwrite").parquet(f"{arguments.out}/views")
    sessions(events).write.mode("overwrite").parquet(f"{arguments.out}/sessions")
    spark.stop()


if __name__ == "__main__":
    main()
