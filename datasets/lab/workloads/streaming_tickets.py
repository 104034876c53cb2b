"""Structured Streaming: support messages as JSON, delivered once or twice; what parts they name (foreachBatch)."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._streams import FILES_A_BATCH, run_until_all_came
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

# Before more comes, so many batches are calm.
CALM_BATCHES = 5
BATCH_S = 2
FIRST_MOMENT = np.datetime64("2025-11-03T08:00:00", "ms")
AGAIN_SHARE = 0.04
MESSAGE = "message STRING, ticket BIGINT, at TIMESTAMP, channel STRING, urgency INT, text STRING"
CHANNELS = np.array(["mail", "chat", "phone", "form"])
WORDS = np.array(
    (
        *("please", "help", "again", "since", "update", "today", "the", "printer", "screen", "is", "not", "working"),
        *("lost", "power", "after", "paper", "jam", "noise", "returned", "my", "order", "warranty", "cannot", "login"),
        *("cable", "broken", "second", "time", "urgent", "thanks", "waiting", "reply", "it", "still", "fails", "with"),
    )
)
PARTS = np.array([f"{series}-{100 + 4 * number}" for number in range(200) for series in ("KX", "LM", "PR", "TS", "VQ")])


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write each batch's messages as JSON, of which each batch's files are newer than those before.

    A few of them come once more, in the same batch or in the next one.
    """
    random, now, first, before = random_of(seed, "messages"), time.time(), 0, pa.array([], pa.string())
    for batch in range(knobs["batches"]):
        rows = knobs["rows_first" if batch < CALM_BATCHES else "rows_a_batch"]
        lines = _messages(random, batch, first, rows)
        known = pa.concat_arrays([before, lines])
        again = known.take(pa.array(random.integers(0, len(known), round(rows * AGAIN_SHARE))))
        come = folder / "coming" / f"batch-{batch:04}"
        write_text(pa.concat_arrays([lines, again]), come, FILES_A_BATCH)
        first, before = first + rows, lines
        newest = now - knobs["batches"] + batch
        for path in sorted(come.iterdir()):
            os.utime(path, (newest, newest))


def _messages(random: np.random.Generator, batch: int, first: int, rows: int) -> pa.Array:
    """Give a batch's messages in the order of time, each with its line break; most name a part."""
    after_ms = np.sort(random.integers(0, BATCH_S * 1_000, rows)) + batch * BATCH_S * 1_000
    words = WORDS[random.integers(0, len(WORDS), (11, rows))]
    part = np.where(random.random(rows) < 0.7, PARTS[random.integers(0, len(PARTS), rows)], "none")
    fields = {
        '{"message":"m': np.arange(first, first + rows),
        '","ticket":': random.integers(1, 40_000, rows),
        ',"at":"': np.datetime_as_string(FIRST_MOMENT + after_ms),
        'Z","channel":"': CHANNELS[random.integers(0, len(CHANNELS), rows)],
        '","urgency":': random.integers(1, 6, rows),
        ',"text":"': pc.binary_join_element_wise(*map(pa.array, (*words[:5], part, *words[5:])), " "),
    }
    pieces = [piece for name, values in fields.items() for piece in (name, pa.array(values).cast(pa.string()))]
    return pc.binary_join_element_wise(*pieces, '"}\n', "")


def named(messages: DataFrame, parts: int) -> DataFrame:
    """Give, for each message, which of the watched parts its text names."""
    pattern = rf"\b({'|'.join(PARTS[:parts])})\b"
    found = F.array_distinct(F.regexp_extract_all("text", F.lit(pattern))).alias("parts")
    return messages.select("message", "at", "channel", "urgency", found)


def board(messages: DataFrame) -> DataFrame:
    """Count the messages that name a part, by overlapping windows, each message once."""
    once = messages.dropDuplicates(["message", "at"])
    each = once.select("at", "channel", "urgency", F.explode("parts").alias("part"))
    return each.groupBy(F.window("at", "8 seconds", "4 seconds"), "part").agg(
        F.count("*").alias("messages"),
        F.count_if(F.col("channel") == "phone").alias("calls"),
        F.avg("urgency").alias("urgency"),
        F.max("at").alias("newest"),
    )


def run(job: Any) -> None:
    """Look at the first batch's board, then run the stream until all has come, and write the board as it ended."""
    spark, knobs = job.spark, job.knobs
    with job.step("baseline"):
        first = named(spark.read.schema(MESSAGE).json(job.path("coming/batch-0000")), knobs["parts"])
        job.note("first", board(first).groupBy("part").agg(F.sum("messages")).count())
    driver_work(job, 0.5)

    def show(changed: DataFrame, batch: int) -> None:
        rows = changed.select(F.col("window.start").alias("window"), "part", "messages", "calls", "urgency", "newest")
        rows.write.mode("overwrite").parquet(f"{job.target('board')}/batch={batch}")

    with job.step("stream"):
        source = spark.readStream.schema(MESSAGE).option("maxFilesPerTrigger", FILES_A_BATCH)
        coming = named(source.json(f"{job.path('coming')}/*"), knobs["parts"]).withWatermark("at", "4 seconds")
        run_until_all_came(job, board(coming).writeStream.queryName("board").foreachBatch(show))
    driver_work(job, 0.5)
    with job.step("report"):
        shown = spark.read.parquet(job.target("board"))
        columns = F.struct("messages", "calls", "urgency", "newest")
        last = shown.groupBy("window", "part").agg(F.max_by(columns, "batch").alias("last"))
        last.select("window", "part", "last.*").coalesce(1).write.mode("overwrite").parquet(job.target("final"))
    if knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, spark.read.schema(MESSAGE).json(f"{job.path('coming')}/*"))


WORKLOAD = Workload(
    name="streaming_tickets",
    about="messages as JSON, each counted once by sliding window and part named (Structured Streaming, foreachBatch)",
    knobs=HEALTHY | {"rows_a_batch": 8_000, "rows_first": 8_000, "batches": 6, "trigger_s": BATCH_S, "parts": 60},
    data_knobs=("rows_a_batch", "rows_first", "batches"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.shuffle.partitions": "2"},
)
