"""A job of equal tasks: some rounds to warm up, then the rounds that count, while `MARKER` is there."""

import sys
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

WARM_ROUNDS = 4


def query(spark: SparkSession, kind: str, data: str, rows: int) -> DataFrame:
    """Give the query of a round."""
    if kind == "files":
        return spark.read.text(data).selectExpr("sum(length(value))")
    if kind == "shuffle":
        wide = spark.range(0, rows, 1, 8).selectExpr("id", "repeat(uuid(), 20) AS text")
        return wide.repartition(8, "id").selectExpr("sum(length(text))")
    return spark.range(0, rows, 1, 8).selectExpr("sum(hash(id, id + 1, id + 2) % 7)")


def main(kind: str, rounds: int, rows: int, data: str, marker: Path) -> None:
    """Run it."""
    spark = SparkSession.builder.appName(f"traced-{kind}").getOrCreate()
    for _ in range(WARM_ROUNDS):
        query(spark, kind, f"{data}/warm", rows).collect()
    first = spark.sparkContext._jsc.sc().dagScheduler().nextStageId()
    marker.write_text(str(first))
    while not marker.with_suffix(".go").exists():
        spark._jvm.Thread.sleep(50)
    for round_number in range(rounds):
        query(spark, kind, f"{data}/{round_number}", rows).collect()
    marker.with_suffix(".done").touch()
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
