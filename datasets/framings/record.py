"""Record small logs in every framing Spark writes: `python -m datasets.framings.record [NAME...]`.

Runs under the Spark of this interpreter and writes to `spark-<major>.<minor>/` beside this script.
"""

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import spark

HERE = Path(__file__).resolve().parent
CLUSTER = "local-cluster[2,1,1024]"
ZSTD = {"spark.eventLog.compress": "true", "spark.eventLog.compression.codec": "zstd"}
ROLLING = {"spark.eventLog.rolling.enabled": "true", "spark.eventLog.rolling.maxFileSize": "10m"}
SINGLE = {"spark.eventLog.rolling.enabled": "false"}
DYNAMIC = {
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.timeout": "3s",
    "spark.dynamicAllocation.minExecutors": "0",
    "spark.dynamicAllocation.executorIdleTimeout": "3s",
}
REST_FIELDS = (
    "status",
    "numTasks",
    "numCompleteTasks",
    "numFailedTasks",
    "numKilledTasks",
    "executorRunTime",
    "executorCpuTime",
    "executorDeserializeTime",
    "jvmGcTime",
    "resultSize",
    "memoryBytesSpilled",
    "diskBytesSpilled",
    "inputBytes",
    "inputRecords",
    "shuffleReadBytes",
    "shuffleReadRecords",
    "shuffleWriteBytes",
    "shuffleWriteRecords",
    "shuffleWriteTime",
)


@dataclass(frozen=True)
class Log:
    """One log: the job that makes it, its cluster, its settings and its place in the version's folder."""

    job: str
    place: str
    master: str = "local[2]"
    conf: dict[str, str] = field(default_factory=lambda: SINGLE | ZSTD)
    arguments: tuple[str, ...] = ()
    dies: bool = False
    since: str = "3.5"


def codec(name: str) -> Log:
    """Give the small run in one compression codec."""
    conf = SINGLE | {"spark.eventLog.compress": "true", "spark.eventLog.compression.codec": name}
    return Log("small.py", f"small.{name}", conf=conf)


LOGS: dict[str, Log] = {
    "plain": Log("small.py", "small", conf=SINGLE | {"spark.eventLog.compress": "false"}),
    **{name: codec(name) for name in ("lz4", "snappy", "lzf", "zstd")},
    "rolling": Log("rolling.py", "rolling", conf=ROLLING | ZSTD),
    "killed": Log("killed.py", "killed.inprogress", conf=SINGLE | {"spark.eventLog.compress": "false"}, dies=True),
    "killed-zstd": Log("killed.py", "killed.zstd.inprogress", dies=True),
    "killed-lz4": Log("killed.py", "killed.lz4.inprogress", conf=codec("lz4").conf, dies=True),
    "killed-rolling": Log("killed.py", "killed-rolling", conf=ROLLING | ZSTD, dies=True),
    "streaming": Log("streaming.py", "streaming.zstd"),
    "connect": Log("connect.py", "connect.zstd", master="connect", since="4.0"),
    "exclusion": Log(
        "exclusion.py",
        "exclusion.zstd",
        master=CLUSTER,
        conf=SINGLE
        | ZSTD
        | {
            "spark.excludeOnFailure.enabled": "true",
            "spark.excludeOnFailure.task.maxTaskAttemptsPerExecutor": "1",
            "spark.excludeOnFailure.stage.maxFailedTasksPerExecutor": "2",
            "spark.excludeOnFailure.stage.maxFailedExecutorsPerNode": "9",
            "spark.excludeOnFailure.application.maxFailedTasksPerExecutor": "2",
            "spark.excludeOnFailure.application.maxFailedExecutorsPerNode": "9",
        },
    ),
    "eviction": Log(
        "eviction.py",
        "eviction.zstd",
        conf=SINGLE | ZSTD | {"spark.driver.memory": "512m", "spark.eventLog.logBlockUpdates.enabled": "true"},
    ),
    "dynamic-allocation": Log("idle.py", "dynamic-allocation.zstd", master=CLUSTER, conf=SINGLE | ZSTD | DYNAMIC),
    "decommission": Log(
        "idle.py",
        "decommission.zstd",
        master=CLUSTER,
        conf=SINGLE
        | ZSTD
        | DYNAMIC
        | {"spark.decommission.enabled": "true", "spark.storage.decommission.enabled": "true"},
    ),
    "speculation": Log(
        "speculation.py",
        "speculation.zstd",
        master="standalone",
        conf=SINGLE
        | ZSTD
        | {
            "spark.executor.memory": "1g",
            "spark.speculation": "true",
            "spark.speculation.interval": "100ms",
            "spark.speculation.quantile": "0.5",
        },
    ),
}
COMMON = {
    "spark.eventLog.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
}
ROLLING_QUERIES = {
    "spark.sql.shuffle.partitions": "120",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
    "spark.io.compression.zstd.level": "15",
}


def run(log: Log, folder: Path, work: Path) -> None:
    """Record one log into `folder`."""
    job = work / log.job
    shutil.copyfile(HERE / "jobs" / log.job, job)
    conf = COMMON | {"spark.eventLog.dir": folder.as_uri()} | log.conf
    conf |= ROLLING_QUERIES if log.job == "rolling.py" else {}
    rest = [*spark.options(conf), str(job), *log.arguments]
    if log.master == "standalone":
        with spark.standalone(["127.0.0.2", "127.0.0.3"], work) as master:
            status = spark.submit(["--master", master, *rest], work)
    elif log.master == "connect":
        status = spark.run_python(conf, job, work)
    else:
        status = spark.submit(["--master", log.master, *rest], work)
    if (status != 0) != log.dies:
        raise SystemExit(f"{log.place}: spark-submit gave {status}, see {work / 'spark.log'}")


def keep(folder: Path, place: Path) -> None:
    """Copy what Spark wrote: a file under our name, a rolling log's folder under its own."""
    [made] = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if place.is_dir():
        shutil.rmtree(place)
    if made.is_dir():
        shutil.copytree(made, place / made.name, ignore=shutil.ignore_patterns(".*"))
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, place)


def record(name: str, target: Path, work: Path) -> None:
    """Record one log, keep it in `target` and in the work folder under Spark's names."""
    folder = work / "logs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(LOGS[name], folder, work)
    keep(folder, target / LOGS[name].place)


def gather(names: list[str], work: Path, to: Path) -> None:
    """Copy the logs of these runs into one folder, as the History Server wants them."""
    shutil.rmtree(to, ignore_errors=True)
    for name in names:
        shutil.copytree(work / "logs" / name, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))


def compact(place: Path, work: Path, *, compressed: bool) -> None:
    """Let a History Server compact the rolling log, and keep what it leaves.

    Whether the compacted part is compressed follows the History Server's settings, not the log's: without
    compression it is plain text under a name that ends in `.zstd.compact`.
    """
    logs = work / "compacting"
    gather(["rolling"], work, logs)
    conf = {
        "spark.history.fs.eventLog.rolling.maxFilesToRetain": "1",
        "spark.history.fs.eventLog.rolling.compaction.score.threshold": "0.0",
        "spark.eventLog.compress": str(compressed).lower(),
    }
    with spark.history_server(logs, work, conf):
        spark.wait_for(lambda: list(logs.glob("*/*.compact")), "the compacted log")
        spark.wait_for(lambda: not list(logs.glob("*/events_1_*[!t]")), "the end of the first part")
    keep(logs, place)


def application_id(name: str, work: Path) -> str:
    """Read the application's id off the name of its log."""
    [path] = [path for path in (work / "logs" / name).iterdir() if not path.name.startswith(".")]
    return path.name.removeprefix("eventlog_v2_").split(".")[0]


def stages(address: str, application: str) -> dict[str, dict[str, Any]]:
    """Ask the History Server for the stages of an application."""
    answer = json.loads(spark.fetch(f"{address}/applications/{application}/stages") or b"[]")
    found = {f"{stage['stageId']}.{stage['attemptId']}": stage for stage in answer}
    return {
        key: {name: found[key].get(name) for name in REST_FIELDS}
        for key in sorted(found, key=lambda key: tuple(map(int, key.split("."))))
    }


def serve(names: list[str], target: Path, work: Path) -> None:
    """Download the zips of two applications, and what Spark's REST API says about the stages of all."""
    logs = work / "served"
    gather(names, work, logs)
    place = target / "history-server"
    place.mkdir(parents=True, exist_ok=True)
    ids = {name: application_id(name, work) for name in names}
    with spark.history_server(logs, work, {}) as address:
        spark.wait_for(lambda: len(spark.applications(address)) >= len(names), "the list of applications")
        for name in ("zstd", "rolling"):
            data = spark.fetch(f"{address}/applications/{ids[name]}/logs") or b""
            (place / f"{LOGS[name].job.removesuffix('.py')}.zip").write_bytes(data)
        answers = {LOGS[name].place: stages(address, ids[name]) for name in names}
    (place / "stages.json").write_text(json.dumps(answers, indent=1) + "\n")


def main() -> None:
    """Record the logs named on the command line, or all, then `compacted` and `history-server`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/emberscope-framings"))
    arguments = parser.parse_args()
    release = ".".join(spark.version().split(".")[:2])
    target, work = HERE / f"spark-{release}", arguments.work / release
    work.mkdir(parents=True, exist_ok=True)
    able = [name for name, log in LOGS.items() if float(log.since) <= float(release)]
    names = arguments.names or [*able, "compacted", "history-server"]
    if unknown := set(names) - {*able, "compacted", "history-server"}:
        parser.error(f"no such log with Spark {release}: {', '.join(sorted(unknown))}")
    for name in (name for name in names if name in able):
        record(name, target, work)
        print(f"{release} {name}", flush=True)
    if "compacted" in names:
        compact(target / "compacted", work, compressed=True)
        compact(target / "compacted-plain", work, compressed=False)
    if "history-server" in names:
        serve(able, target, work)


if __name__ == "__main__":
    main()
