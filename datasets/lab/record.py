"""Record runs of the lab: `python -m datasets.lab.record [RUN...]`; without names, all that are not there yet.

Each run leaves `logs/NAME.zstd` and `records/NAME.json`. What is there is not recorded again, so that recording goes on
where it stopped; a run that fails where it should not is kept under `records/` as failed, without a log, and stops
nothing.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import eventlog
from datasets.lab import machine
from datasets.lab.clusters import ROOT, WORK, Spark, cluster, spark_of
from datasets.lab.core import CLUSTERS, Conf, Evidence, Injection, Running, Spec, Treatment
from datasets.lab.pack import as_record, packed, write_whole
from datasets.lab.plan import PLAN
from datasets.lab.problems import PROBLEMS
from datasets.lab.workloads import WORKLOADS

HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("LAB_OUT", HERE))
LOGS = OUT / "logs"
RECORDS = OUT / "records"
TIMEOUT_S = 150
FORMAT = 1

BASE_CONF: Conf = {
    "spark.eventLog.enabled": "true",
    "spark.eventLog.rolling.enabled": "false",
    "spark.eventLog.compress": "true",
    "spark.eventLog.compression.codec": "zstd",
    "spark.eventLog.logStageExecutorMetrics": "true",
    "spark.eventLog.logBlockUpdates.enabled": "true",
    "spark.executor.processTreeMetrics.enabled": "true",
    "spark.executor.metrics.pollingInterval": "500ms",
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Megabytes take the place of the gigabytes that Spark's defaults are made for: four to eight tasks a stage.
    "spark.sql.shuffle.partitions": "8",
    "spark.sql.files.minPartitionNum": "8",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "1m",
    "spark.sql.warehouse.dir": "warehouse",
    "spark.log.level": "ERROR",
}
DYNAMIC_CONF: Conf = {
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.minExecutors": "1",
    "spark.dynamicAllocation.initialExecutors": "2",
    "spark.dynamicAllocation.maxExecutors": "2",
}


def treatment_of(spec: Spec) -> Treatment:
    """Put what all injections of a run change into one."""
    whole = Treatment(cluster=spec.cluster, dynamic=spec.dynamic, adaptive=spec.adaptive)
    for injection in spec.injections:
        whole.take(PROBLEMS[injection.problem].treat(spec, injection.strength))
    assert whole.cluster in CLUSTERS
    return whole


def conf_of(spec: Spec, treatment: Treatment, logs: Path) -> Conf:
    """Give all settings of a run."""
    conf = BASE_CONF | dict(WORKLOADS[spec.family].conf)
    conf |= {
        "spark.eventLog.dir": logs.as_uri(),
        "spark.sql.adaptive.enabled": str(bool(treatment.adaptive)).lower(),
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        "spark.executorEnv.PYTHONHASHSEED": "0",
    }
    if treatment.dynamic:
        conf |= DYNAMIC_CONF
    return conf | treatment.conf


def data_of(spec: Spec, knobs: dict[str, Any]) -> Path:
    """Give the folder of a run's data, which is made when it is not there."""
    workload = WORKLOADS[spec.family]
    chosen = {name: knobs[name] for name in workload.data_knobs}
    key = hashlib.sha256(json.dumps([spec.seed, chosen], sort_keys=True).encode()).hexdigest()[:12]
    folder = WORK / "data" / spec.family / key
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        workload.make_data(folder, spec.seed, knobs)
        (folder / "ready").touch()
    return folder


def checksum_of(folder: Path) -> str:
    """Give one checksum of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ready"):
        whole.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def submit(running: Running, treatment: Treatment, spark: Spark, master: str, job: Path) -> int:
    """Run spark-submit; gives its exit status. One that takes too long is ended, and no run."""
    spec, work = running.spec, running.work
    conf = conf_of(spec, treatment, work / "events")
    for process, own in (("driver", ""), ("executor", f"-Dlab.run={spec.name}")):
        key = f"spark.{process}.extraJavaOptions"
        conf[key] = " ".join(filter(None, (own, spark.java_options, conf.get(key))))
    options = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    command = [str(spark.home / "bin" / "spark-submit"), "--master", master, *options, str(HERE / "job.py"), str(job)]
    environment = spark.environment(work) | treatment.environment
    with (work / "spark.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            raise RuntimeError(f"ended by the recorder after {TIMEOUT_S} s") from None


@contextmanager
def acting(treatment: Treatment, running: Running, done: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Do what is done from outside for the length of a `with`; what it did comes into `done`, by the action's name."""
    started = []
    try:
        for action in treatment.actions:
            action.start(running)
            started.append(action)
        yield
    finally:
        for action in reversed(started):
            done[type(action).__name__] = action.stop()


def record(spec: Spec, logs_to: Path = LOGS, more: Treatment | None = None) -> dict[str, Any]:
    """Record one run: its log goes to `logs_to`, what is known of it is returned; `more` wins over the injections."""
    spark = spark_of(spec.spark, WORK)
    treatment = treatment_of(spec)
    if more:
        treatment.take(more)
    workload = WORKLOADS[spec.family]
    knobs = dict(workload.knobs) | treatment.knobs
    data = data_of(spec, knobs)
    work = WORK / "runs" / spec.name
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("events", "out", "local"):
        (work / folder).mkdir(parents=True)
    job = work / "spec.json"
    job.write_text(
        json.dumps(
            {
                "family": spec.family,
                "application": f"lab {spec.family}",
                "seed": spec.seed,
                "knobs": knobs,
                "data": str(data),
                "out": str(work / "out"),
            }
        )
    )
    load = machine.wait_until_idle()
    done: dict[str, dict[str, Any]] = {}
    delays = tuple(float(delay) for delay in treatment.environment.pop("LAB_WORKER_DELAYS_S", "").split(",") if delay)
    with cluster(str(treatment.cluster), spark, work, delays) as master:
        before = machine.Usage.now()
        started = time.monotonic()
        running = Running(spec, work)
        with acting(treatment, running, done):
            status = submit(running, treatment, spark, master, job)
        wall_s = time.monotonic() - started
        load |= machine.Usage.now().since(before)
    logs = [path for path in (work / "events").iterdir() if not path.name.startswith(".")]
    if len(logs) != 1:
        raise RuntimeError(f"{len(logs)} event logs, exit status {status}; see {work / 'spark.log'}")
    facts_path = work / "out" / "facts.json"
    facts = json.loads(facts_path.read_text()) if facts_path.exists() else {"steps": []}
    events, _ = eventlog.events(logs[0])
    evidence = Evidence(spec, knobs, events, facts, done, status, wall_s)
    if treatment.fails is not None and (status != 0) != treatment.fails:
        raise RuntimeError(f"exit status {status}; see {work / 'spark.log'}")
    logs_to.mkdir(parents=True, exist_ok=True)
    log = logs_to / f"{spec.name}.zstd"
    log.write_bytes(packed(logs[0].read_bytes()))
    return {
        "labels": [label(injection, evidence) for injection in brought_about(spec)],
        "exit_status": status,
        "wall_s": round(wall_s, 3),
        "application_s": application_s(evidence),
        "log_bytes": log.stat().st_size,
        "log_sha256": hashlib.sha256(log.read_bytes()).hexdigest(),
        "data_sha256": checksum_of(data),
        "cluster": treatment.cluster,
        "adaptive": treatment.adaptive,
        "dynamic": treatment.dynamic,
        "knobs": {name: knobs[name] for name in sorted(knobs)},
        "conf": dict(sorted((dict(workload.conf) | treatment.conf).items())),
        "actions": done,
        "steps": [step["name"] for step in facts["steps"]],
        "load": load,
    }


def brought_about(spec: Spec) -> list[Injection]:
    """Give the injections of a run, and those that come with them."""
    found = list(spec.injections)
    for injection in spec.injections:
        brings = PROBLEMS[injection.problem].brings
        found += [brings[injection.strength]] if injection.strength in brings else []
    return found


def label(injection: Injection, evidence: Evidence) -> dict[str, Any]:
    """Give a label: what was done, and whether it took."""
    problem = PROBLEMS[injection.problem]
    verdict = problem.confirm(evidence, injection.strength)
    return {
        "problem": injection.problem,
        "strength": injection.strength,
        "how": problem.how,
        "took": verdict.took,
        "subjects": verdict.subjects,
        "measured": verdict.measured,
    }


def application_s(evidence: Evidence) -> float | None:
    """Give the time from the application's start to its end by the log."""
    times = [event["Timestamp"] for name in ("ApplicationStart", "ApplicationEnd") for event in evidence.named(name)]
    return (times[-1] - times[0]) / 1000 if len(times) == 2 else None


def write(spec: Spec, result: dict[str, Any]) -> None:
    """Write a run's record, whole or not at all."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    whole = {
        "format": FORMAT,
        "run": spec.name,
        "family": spec.family,
        "seed": spec.seed,
        "spark": spec.spark,
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        **result,
    }
    write_whole(RECORDS / f"{spec.name}.json", as_record(whole))


def main() -> None:
    """Record the runs named, or all that are not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="RUN", help="record these again; default: all that are missing")
    parser.add_argument("--minutes", type=float, help="begin no run after this many minutes")
    parser.add_argument("--list", action="store_true", help="only list the plan")
    parser.add_argument("--again", action="store_true", help="record the runs named once more and only compare")
    parser.add_argument("--keep", action="store_true", help="keep each run's working folder")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PLAN):
        parser.error(f"no such run: {', '.join(sorted(unknown))}")
    names = arguments.names or [name for name in PLAN if not (RECORDS / f"{name}.json").exists()]
    if arguments.list:
        print(*PLAN, sep="\n")
        return
    if arguments.again and not arguments.names:
        parser.error("--again needs the runs named")
    if arguments.again:
        raise SystemExit(max(map(differences, names), default=0))
    end = time.monotonic() + 60 * (arguments.minutes or float("inf"))
    for at, name in enumerate(names):
        if time.monotonic() > end:
            print(f"{len(names) - at} runs are left", flush=True)
            break
        spec = PLAN[name]
        try:
            result = record(spec)
        except Exception as error:
            traceback.print_exc()
            result = {"failed": f"{type(error).__name__}: {error}"}
            (LOGS / f"{name}.zstd").unlink(missing_ok=True)
        write(spec, result)
        if not arguments.keep and "failed" not in result:
            shutil.rmtree(WORK / "runs" / name, ignore_errors=True)
        print(summary(at + 1, len(names), name, result), flush=True)


# What two recordings of one run have in common; times and sizes of logs differ.
SAME = ("family", "seed", "spark", "cluster", "adaptive", "dynamic", "knobs", "conf", "data_sha256", "steps")


def differences(name: str) -> int:
    """Record a run once more, beside the set, and say how data and labels differ from those recorded; 1 if they do."""
    old = json.loads((RECORDS / f"{name}.json").read_text())
    spec = PLAN[name]
    new = {"family": spec.family, "seed": spec.seed, "spark": spec.spark, **record(spec, WORK / "again")}
    wrong = [key for key in SAME if old[key] != new[key]]
    for before, after in zip(old["labels"], new["labels"], strict=True):
        wrong += [
            f"{before['problem']}: {key}" for key in ("strength", "took", "subjects") if before[key] != after[key]
        ]
    print(f"{name}: {'differs in ' + ', '.join(wrong) if wrong else 'the same data and labels'}", flush=True)
    return int(bool(wrong))


def summary(at: int, count: int, name: str, result: dict[str, Any]) -> str:
    """Say in a line what became of a run."""
    if "failed" in result:
        return f"[{at}/{count}] {name}: FAILED: {result['failed']}"
    labels = ", ".join(
        f"{found['problem']} {found['strength']} {'took' if found['took'] else 'DID NOT TAKE'} "
        + json.dumps(found["measured"])
        for found in result["labels"]
    )
    return f"[{at}/{count}] {name}: {result['wall_s']:.1f} s, {result['log_bytes']} bytes; {labels or 'healthy'}"


if __name__ == "__main__":
    main()
