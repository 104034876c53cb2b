"""Problems that the machine makes: busy neighbours, a slow disk or network, a halting process, a global lock."""

from collections import defaultdict
from typing import Any

from datasets.lab.core import RUN_SUBJECT, Evidence, Problem, Spec, Treatment, Verdict, metric
from datasets.lab.outside import StopAndContinue
from datasets.lab.problems._executors import (
    cpu_s,
    executor_subject,
    lives_ms,
    run_s,
    scheduler_delay_ms,
    waiting_stages,
)
from datasets.lab.shim import BLOCK_PORTS, HaltDriver, Locks, Neighbours, SlowIo, jar, slow_blocks, slow_files, work_of

NOT_BROUGHT_ABOUT = {
    "poor-locality": "all executors share one machine and one page cache: running away from the data costs nothing",
}

HALTED_SHARES = {1: 0.1, 2: 0.25, 3: 0.5, 4: 0.75}
# Processes, and the share of the time for which each wants a CPU.
NEIGHBOURS = {1: (1, 0.25), 2: (1, 0.8), 3: (2, 0.8), 4: (3, 1.0)}
DISK_MB_S = {1: 300.0, 2: 90.0, 3: 35.0, 4: 15.0}
NETWORK_MB_S_AND_CALL_MS = {1: (60.0, 3.0), 2: (25.0, 6.0), 3: (8.0, 20.0), 4: (3.0, 60.0)}
LOCK_PASSES = {1: 2, 2: 5, 3: 10, 4: 22}
# A share of its kind that says where an effect is.
SUBJECT_SHARE = 0.1


def slow_executor(spec: Spec, strength: int) -> Treatment:
    """Let one of two executors stand still in turns."""
    return Treatment(cluster="cluster-2x1", actions=[StopAndContinue(str(spec.seed % 2), HALTED_SHARES[strength])])


def slow_executor_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at how long it stood still, and how many tasks it had."""
    del strength
    done = evidence.actions["StopAndContinue"]
    tasks = [task for task in evidence.tasks() if task["Task Info"]["Executor ID"] == done.get("executor")]
    share = done.get("stopped_s", 0) / (done.get("over_s") or 1)
    measured = done | {"share": round(share, 3), "tasks": len(tasks), "task_run_s": round(run_s(tasks), 2)}
    return Verdict(share >= 0.05 and bool(tasks), [executor_subject(str(done.get("executor")))], measured)


def cpu_contention(spec: Spec, strength: int) -> Treatment:
    """Have busy processes beside the run."""
    del spec
    return Treatment(actions=[Neighbours(*NEIGHBOURS[strength])])


def cpu_contention_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the CPU that they had, and at how long threads of the run were ready and had none."""
    del strength
    done = evidence.actions["Neighbours"]
    tasks = evidence.tasks()
    measured = done | {"task_run_s": round(run_s(tasks), 2), "task_cpu_s": round(cpu_s(tasks), 2)}
    took = done["cpu_s"] >= 0.05 * evidence.wall_s and done.get("waited_s", 0) >= 0.02 * evidence.wall_s
    return Verdict(took, [RUN_SUBJECT], measured)


def disk(spec: Spec, strength: int) -> Treatment:
    """Make the files of local folders, data and results slow for executors."""
    return Treatment(cluster="cluster-2x1", environment=slow_files(spec, DISK_MB_S[strength]), actions=[SlowIo()])


def disk_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the time for which reads and writes of files were held up."""
    del strength
    measured = _sum(evidence.actions["SlowIo"])
    slept = measured.get("read_slept_s", 0) + measured.get("write_slept_s", 0)
    gaps: dict[int, float] = defaultdict(float)
    for task in evidence.tasks():
        gaps[task["Stage ID"]] += max(run_s([task]) - cpu_s([task]), 0)
    measured |= {"slept_s": round(slept, 2), "task_run_s": round(run_s(evidence.tasks()), 2)}
    return Verdict(slept >= 0.01 * measured["task_run_s"], waiting_stages(gaps, SUBJECT_SHARE), measured)


def fetch(spec: Spec, strength: int) -> Treatment:
    """Make what executors send to one another slow."""
    conf = {"spark.blockManager.port": str(BLOCK_PORTS[0]), "spark.driver.blockManager.port": str(BLOCK_PORTS[1] + 50)}
    environment = slow_blocks(spec, *NETWORK_MB_S_AND_CALL_MS[strength])
    return Treatment(cluster="cluster-2x1", conf=conf, environment=environment, actions=[SlowIo()])


def fetch_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the time for which blocks were held up, and at how long tasks waited for them."""
    del strength
    measured = _sum(evidence.actions["SlowIo"])
    waits: dict[int, float] = defaultdict(float)
    remote = 0
    for task in evidence.tasks():
        waits[task["Stage ID"]] += metric(task, "Shuffle Read Metrics", "Fetch Wait Time") / 1000
        remote += metric(task, "Shuffle Read Metrics", "Remote Bytes Read")
    waited = sum(waits.values())
    whole = run_s(evidence.tasks())
    measured |= {"fetch_wait_s": round(waited, 2), "remote_bytes": remote, "task_run_s": round(whole, 2)}
    took = measured.get("send_slept_s", 0) > 0 and waited >= 0.01 * whole
    return Verdict(took, waiting_stages(waits, SUBJECT_SHARE), measured)


def _sum(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for report in reports.values():
        for name, value in report.items():
            whole[name] = round(whole.get(name, 0) + value, 3)
    return whole


def halted_driver(spec: Spec, strength: int) -> Treatment:
    """Let the driver's JVM stand still in turns."""
    del spec
    return Treatment(cluster="cluster-2x1", actions=[HaltDriver(HALTED_SHARES[strength])])


def halted_driver_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at how long it stood still, and at what tasks waited for."""
    del strength
    done = evidence.actions["HaltDriver"]
    delays: dict[int, float] = defaultdict(float)
    for task in evidence.tasks():
        delays[task["Stage ID"]] += scheduler_delay_ms(task) / 1000
    whole = run_s(evidence.tasks()) + sum(delays.values())
    share = sum(delays.values()) / (whole or 1)
    measured = done | {"scheduler_delay_s": round(sum(delays.values()), 2), "share_of_task_time": round(share, 3)}
    took = done.get("stopped_s", 0) >= 0.05 * (done.get("over_s") or 1) and share >= 0.02
    return Verdict(took, waiting_stages(delays, SUBJECT_SHARE), measured)


def lock(spec: Spec, strength: int) -> Treatment:
    """Have files read by a client that has one lock for all threads of a process."""
    path = str(jar("LockedFiles.java"))
    conf = {
        "spark.driver.extraClassPath": path,
        "spark.executor.extraClassPath": path,
        "spark.hadoop.fs.file.impl": "LockedFiles",
    }
    environment = {"LAB_LOCK_PASSES": str(LOCK_PASSES[strength]), "LAB_LOCK_REPORT": str(work_of(spec) / "locks")}
    return Treatment(cluster="cluster-1x2", conf=conf, environment=environment, actions=[Locks()])


def lock_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the time for which threads waited for the lock."""
    del strength
    measured = _sum(evidence.actions["Locks"])
    read: dict[int, float] = defaultdict(float)
    for task in evidence.tasks():
        read[task["Stage ID"]] += metric(task, "Input Metrics", "Bytes Read")
    whole = run_s(evidence.tasks())
    measured |= {"task_run_s": round(whole, 2), "cores": sum(cores for _, _, cores in lives_ms(evidence).values())}
    return Verdict(measured.get("waited_s", 0) >= 0.01 * whole, waiting_stages(read, SUBJECT_SHARE), measured)


PROBLEMS = [
    Problem(
        "slow-executor",
        "SIGSTOP and SIGCONT to one of two executors in turns",
        ("feature_table", "window_sessions", "tpch_joins", "web_sessions", "ad_auctions", "hotel_bookings"),
        slow_executor,
        slow_executor_took,
    ),
    Problem(
        "cpu-contention",
        "busy processes that have nothing to do with the run",
        ("star_join", "kmeans", "cube_report", "basket_pairs", "film_ratings", "song_clusters"),
        cpu_contention,
        cpu_contention_took,
    ),
    Problem(
        "disk-io-bound",
        "reads and writes of executors' files are held to a rate by a preloaded library",
        ("compaction", "feature_table", "merge_upsert", "energy_rollup", "flight_delays", "port_calls"),
        disk,
        disk_took,
    ),
    Problem(
        "shuffle-fetch-wait",
        "blocks that executors send to one another are held to a rate by a preloaded library",
        ("window_sessions", "tpch_joins", "energy_rollup", "flight_delays", "port_calls"),
        fetch,
        fetch_took,
    ),
    Problem(
        "scheduler-delay",
        "SIGSTOP and SIGCONT to the driver's JVM in turns",
        ("feature_table", "log_text", "bank_ledger", "parcel_routes", "library_loans"),
        halted_driver,
        halted_driver_took,
    ),
    Problem(
        "lock-contention",
        "files are read through a client with one lock for all threads of an executor",
        ("compaction", "tpch_joins", "energy_rollup", "flight_delays", "port_calls"),
        lock,
        lock_took,
    ),
]
