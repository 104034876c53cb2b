"""Record the demo runs: `python -m datasets.demo.record [NAME...]`.

Runs each job of `jobs/` under the Spark of this interpreter (Java 17 needed) and leaves its event log,
zstd-compressed by Spark, as `<name>.zstd` beside this script. Data is made once, from fixed seeds.
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from datasets import spark

HERE = Path(__file__).resolve().parent
CLUSTER = "local-cluster[2,1,1024]"


@dataclass(frozen=True)
class Run:
    """One demo run: its job, its cluster and what it sets."""

    script: str
    master: str = CLUSTER
    fails: bool = False
    conf: dict[str, str] = field(default_factory=dict)


RUNS: dict[str, Run] = {
    "healthy": Run(
        "healthy.py",
        conf={
            "spark.sql.shuffle.partitions": "8",
            "spark.sql.files.maxPartitionBytes": "24m",
            "spark.sql.autoBroadcastJoinThreshold": "2m",
            "spark.sql.adaptive.advisoryPartitionSizeInBytes": "24m",
            "spark.eventLog.logStageExecutorMetrics": "true",
        },
    ),
    "skewed": Run(
        "skewed.py",
        master="local-cluster[2,1,1536]",
        conf={
            "spark.executor.memory": "1536m",
            "spark.sql.shuffle.partitions": "16",
            "spark.sql.autoBroadcastJoinThreshold": "-1",
            "spark.sql.adaptive.advisoryPartitionSizeInBytes": "4m",
            "spark.eventLog.logStageExecutorMetrics": "true",
        },
    ),
    "failures": Run("failures.py", fails=True, conf={"spark.sql.shuffle.partitions": "8"}),
    "python-udf": Run("python_udf.py", conf={"spark.sql.shuffle.partitions": "8"}),
    "spill": Run(
        "spill.py",
        master="local-cluster[1,2,1024]",
        conf={
            "spark.executor.memory": "640m",
            "spark.sql.shuffle.partitions": "4",
            "spark.eventLog.logStageExecutorMetrics": "true",
        },
    ),
}


def make_data(work: Path) -> None:
    """Make the jobs' input, unless it is there."""
    if (work / "data" / "raw_orders" / "_SUCCESS").exists():
        return
    script = HERE / "jobs" / "make_data.py"
    if spark.submit(["--master", "local[2]", str(script), "--data", str(work / "data")], work):
        raise SystemExit(f"making the data failed, see {work / 'spark.log'}")


def log_conf(folder: Path) -> dict[str, str]:
    """Ask Spark for a single zstd event log in `folder`."""
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folder.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "true",
        "spark.eventLog.compression.codec": "zstd",
        "spark.ui.enabled": "false",
    }


def record(name: str, work: Path) -> Path:
    """Record one run and give the path of its log."""
    run = RUNS[name]
    job = work / Path(run.script).name
    shutil.copyfile(HERE / "jobs" / run.script, job)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        conf = log_conf(Path(folder)) | run.conf
        job_options = ["--data", str(work / "data"), "--out", str(work / "out" / name)]
        status = spark.submit(["--master", run.master, *spark.options(conf), str(job), *job_options], work)
        if (status != 0) != run.fails:
            raise SystemExit(f"{name}: spark-submit gave {status}, see {work / 'spark.log'}")
        [log] = Path(folder).iterdir()
        return Path(shutil.copyfile(log, HERE / f"{name}.zstd"))


def main() -> None:
    """Record the runs named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/emberscope-demo"))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(RUNS):
        parser.error(f"no such run: {', '.join(sorted(unknown))} (there are {', '.join(RUNS)})")
    arguments.work.mkdir(parents=True, exist_ok=True)
    make_data(arguments.work)
    for name in arguments.names:
        log = record(name, arguments.work)
        print(f"{log.name}: {log.stat().st_size} bytes")


if __name__ == "__main__":
    main()
