"""A change feed merged into a table of accounts: the last change of each account wins."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import kept, side, troubled_frame, write_in_files
from datasets.lab.workloads._tables import keys, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

BRANCHES = 400


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the accounts, the changes (several for each changed account), and the branches."""
    rows, changes = knobs["rows"], knobs["changes"]
    random = random_of(seed, "accounts")
    write(pa.table({"account_id": np.arange(rows)} | _state(random, rows)), folder / "accounts", 8)
    random = random_of(seed, "changes")
    changed = random.permutation(rows)[: max(1, changes // 4)]
    which = keys(random, changes, len(changed) - 1, knobs["hot_share"])
    feed = {
        "account_id": changed[which],
        "sequence": random.permutation(changes),
        "operation": pa.array(np.array(["U", "U", "U", "U", "D"])[random.integers(0, 5, changes)]),
    }
    write(pa.table(feed | _state(random, changes)), folder / "changes", knobs["files"])
    random = random_of(seed, "branches")
    ids = np.repeat(np.arange(1, BRANCHES + 1), knobs["copies"])
    regions = [f"region {number}" for number in random.integers(0, 16, len(ids))]
    write(pa.table({"branch_id": ids, "region": regions}), folder / "branches", 1)


def _state(random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {
        "branch_id": keys(random, rows, BRANCHES),
        "balance": random.integers(-90_000, 9_000_000, rows) / 100,
        "opened": random.integers(0, 20_000, rows),
        "note": pa.array(random.integers(0, 1 << 62, rows)).cast(pa.string()),
    }


def run(job: Any) -> None:
    """Find the last changes, see what they change, write the merged table and read it back."""
    spark, knobs = job.spark, job.knobs
    accounts, changes, branches = (spark.read.parquet(job.path(name)) for name in ("accounts", "changes", "branches"))
    newest = Window.partitionBy("account_id").orderBy(F.desc("sequence"))
    latest = changes.withColumn("place", F.row_number().over(newest)).filter("place = 1").drop("place", "sequence")
    latest = kept(job, latest)
    with job.step("latest"):
        latest.groupBy("operation").count().collect()
    driver_work(job, 0.5)
    changed = side(latest.select("account_id"), knobs["broadcast"])
    with job.step("before"):
        before = accounts.join(changed, "account_id", "left_semi").groupBy("branch_id")
        sums = before.agg(F.sum("balance"), F.max("note"))
        troubled_frame(job, sums).collect()
    with job.step("merge"):
        untouched = accounts.join(changed, "account_id", "left_anti")
        fresh = latest.filter("operation <> 'D'").select(*accounts.columns)
        write_in_files(untouched.union(fresh), knobs["rows"], knobs["write_files"], job.target("accounts"))
    driver_work(job, 0.5)
    with job.step("check"):
        merged = spark.read.parquet(job.target("accounts"))
        by_region = merged.join(side(branches, knobs["broadcast"]), "branch_id").groupBy("region")
        by_region.agg(F.count("*"), F.sum("balance"), F.max("note")).collect()
    with job.step("extract"):
        collect_rows(job, merged)


WORKLOAD = Workload(
    name="merge_upsert",
    about="a change feed deduplicated and merged into a table (SQL/DataFrame, window)",
    knobs=HEALTHY
    | {
        "rows": 880_000,
        "changes": 500_000,
        "files": 8,
        "write_files": 8,
        "hot_share": 0.0,
        "copies": 1,
        "broadcast": "hint",
        "cache": True,
        "storage_level": "MEMORY_AND_DISK_DESER",
    },
    data_knobs=("rows", "changes", "files", "hot_share", "copies"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
