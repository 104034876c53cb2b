"""Troubles that code brings upon itself, as workloads turn them on by their knobs; healthy by default."""

import time
from collections.abc import Callable, Iterator
from typing import Any

HEALTHY = {
    "driver_s": 0.0,  # driver-only work between steps, in all
    "burn_s": 0.0,  # CPU that one task burns without having more data than the others
    "fail_share": 0.0,  # share of the tasks of a step that fail at their first attempt
    "fail_after_s": 0.0,  # work that a failing task has done by then
    "fail_always": False,  # the failing tasks fail at every attempt
    "collect_rows": 0,  # rows of about 1 KB that come to the driver
    "closure_entries": 0,  # of a table that travels with every task of a step of its own
    "closure_tasks": 8,  # at least so many tasks
}
# Knobs that runs of the set do not have: the change of code that `advice.py` tries; and whether what a task had done
# when it failed is work that its next attempt does again (in the set only the first attempt does it).
ADVISED = "advised"
WORK_AGAIN = "work_again"


class BadRecordError(ValueError):
    """What a task raises that meets a record it cannot read."""


def advised(job: Any, change: str) -> bool:
    """Say whether a change of code is made in this run."""
    return bool(job.knobs.get(ADVISED) == change)


def driver_work(job: Any, share: float) -> None:
    """Do a share of the driver's own work: parsing that somebody wrote on the driver's side."""
    seconds = job.knobs["driver_s"] * share
    if advised(job, "work on executors"):
        parts = job.context.defaultParallelism
        job.context.parallelize(range(parts), parts).foreach(lambda _: _parse(seconds / parts, time.process_time))
    else:
        _parse(seconds, time.monotonic)


def _parse(seconds: float, clock: Callable[[], float]) -> None:
    """Parse lines for so long by a clock: that of the wall, or that of the CPU where processes share one."""
    end = clock() + seconds
    lines = [f"{number},{number * 7},{number * 13}" for number in range(1_000)]
    while clock() < end:
        for line in lines:
            sum(map(int, line.split(",")))


def troubled(job: Any, partitions: int) -> Callable[[int, Iterator[Any]], Iterator[Any]]:
    """Give a function for `mapPartitionsWithIndex` that burns CPU in one partition and fails in some."""
    knobs = {name: job.knobs[name] for name in HEALTHY}
    slow = partitions // 2 if knobs["burn_s"] else -1
    bad = set(range(round(partitions * knobs["fail_share"])))
    rejects, work_again = advised(job, "rejects"), bool(job.knobs.get(WORK_AGAIN))

    def act(index: int, rows: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext  # noqa: PLC0415 (on the worker)

        if index == slow:
            _burn(knobs["burn_s"])
        context = TaskContext.get()
        fails = index in bad and (knobs["fail_always"] or (context is not None and context.attemptNumber() == 0))
        if fails or (index in bad and work_again):
            _burn(knobs["fail_after_s"])
        if fails and not rejects:
            raise BadRecordError(f"partition {index}: field 3 is no number: 'n/a'")
        yield from rows

    return act


def is_troubled(job: Any) -> bool:
    """Say whether any of the knobs of `troubled` is on."""
    return bool(job.knobs["burn_s"] or job.knobs["fail_share"])


def _burn(seconds: float) -> None:
    end = time.process_time() + seconds
    number = 1
    while time.process_time() < end:
        number = number * 6_364_136_223_846_793_005 % (1 << 64)


def collect_rows(job: Any, frame: Any) -> int:
    """Bring so many rows of a frame to the driver, each of about 1 KB."""
    from pyspark.sql import functions as F  # noqa: PLC0415

    if not job.knobs["collect_rows"]:
        return 0
    rows = frame.limit(int(job.knobs["collect_rows"])).select(F.expr("uuid()").alias("name")).repartition(8)
    payload = [F.sha2(F.concat("name", F.lit(str(part))), 512) for part in range(8)]  # does not compress
    wide = rows.select("name", F.concat(*payload).alias("payload"))
    if advised(job, "result to storage"):
        wide.write.parquet(job.target("collected"))
        return int(job.knobs["collect_rows"])
    return len(wide.collect())


def collect_besides(job: Any, frame: Any) -> None:
    """Do the same in a step of its own, where the knob says so."""
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, frame)


def beset_rdd(job: Any, rdd: Any) -> Any:
    """Send an RDD through `troubled`, where its knobs are on; else give it as it is."""
    return rdd.mapPartitionsWithIndex(troubled(job, rdd.getNumPartitions())) if is_troubled(job) else rdd


def beset(job: Any, frame: Any) -> Any:
    """Send a frame through `troubled` in Arrow batches, where its knobs are on; else give it as it is."""
    if not is_troubled(job):
        return frame
    act = troubled(job, frame.rdd.getNumPartitions())

    def batches(rows: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext  # noqa: PLC0415 (on the worker)

        context = TaskContext.get()
        return act(context.partitionId() if context else 0, rows)

    return frame.mapInArrow(batches, frame.schema)


def carry_along(job: Any, paths: str) -> None:
    """Count lines by a table that travels inside of the function (LargeClosure.java), where the knob says so."""
    knobs = job.knobs
    if not knobs["closure_entries"]:
        return
    with job.step("closure"):
        counter = job.context._jvm.LargeClosure
        count = counter.countByBroadcast if advised(job, "broadcast variable") else counter.count
        found = count(job.context._jsc, paths, knobs["closure_tasks"], knobs["closure_entries"])
        job.note("closure_lines", found)
