"""What the streaming families have in common: files that come second by second, and a query until all has come."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs
from datasets.lab.workloads._tables import write

FIRST_SECONDS = 4
FILES_A_BATCH = 4
PATIENCE_S = 10.0


def write_seconds(folder: Path, knobs: Knobs, columns: Callable[[int, int, int], dict[str, Any]]) -> None:
    """Write what comes in each second as four files, of which each second's are newer than those before.

    In the first seconds less comes: `rows_first` in each. `columns` gives those of a second, from the number of its
    first row on, for so many rows.
    """
    now, first = time.time(), 0
    for second in range(knobs["seconds"]):
        rows = knobs["rows_first" if second < FIRST_SECONDS else "rows_per_second"]
        batch = folder / "coming" / f"second-{second:04}"
        write(pa.table(columns(second, first, rows)), batch, FILES_A_BATCH)
        first += rows
        newest = now - knobs["seconds"] + second
        for path in sorted(batch.iterdir()):
            os.utime(path, (newest, newest))


def there(job: Any, schema: str) -> DataFrame:
    """Give all that comes, as a table."""
    return job.spark.read.schema(schema).parquet(f"{job.path('coming')}/*")


def coming(job: Any, schema: str) -> DataFrame:
    """Give what comes as a stream, a second's files in a batch."""
    source = job.spark.readStream.schema(schema).option("maxFilesPerTrigger", FILES_A_BATCH)
    return source.parquet(f"{job.path('coming')}/*")


def hashed(work: int, *columns: str) -> Column:
    """Hash these columns of a row, in so many rounds more."""
    if not work:
        return F.xxhash64(*columns)
    rounds = f"aggregate(sequence(1, {work}), xxhash64({', '.join(columns)}), (found, turn) -> xxhash64(found, turn))"
    return F.expr(rounds)


def run_until_all_came(job: Any, writer: Any) -> None:
    """Start a query, wait until all has come and the last batch is over, and note how long each batch took."""
    query = (
        writer.outputMode("update")
        .option("checkpointLocation", job.target("checkpoint"))
        .trigger(processingTime=f"{job.knobs['trigger_s']} seconds")
        .start()
    )
    query.processAllAvailable()
    end = time.monotonic() + PATIENCE_S
    while query.status["isTriggerActive"] and time.monotonic() < end:
        time.sleep(0.05)
    progress = query.recentProgress
    query.stop()
    job.note("batch_ms", [batch["durationMs"]["triggerExecution"] for batch in progress])
    job.note("batch_rows", [batch["numInputRows"] for batch in progress])
