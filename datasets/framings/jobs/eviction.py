"""Three cached tables where two fit: blocks are dropped and one table is unpersisted."""

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

ROWS = 1_000_000


def table(spark: SparkSession, salt: int) -> DataFrame:
    """Make a table of about 60 MB."""
    text = F.sha2(F.concat(F.col("id").cast("string"), F.lit(salt)), 256)
    return spark.range(0, ROWS, 1, 4).select("id", text.alias("text"))


def main() -> None:
    """Cache one after the other, and read the first again."""
    spark = SparkSession.builder.appName("eviction").getOrCreate()
    levels = (StorageLevel.MEMORY_ONLY, StorageLevel.MEMORY_ONLY, StorageLevel.MEMORY_AND_DISK)
    tables = [table(spark, salt).persist(level) for salt, level in enumerate(levels)]
    for cached in [*tables, tables[0]]:
        cached.count()
    tables[2].unpersist(blocking=True)
    spark.stop()


if __name__ == "__main__":
    main()
