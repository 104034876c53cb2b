"""Try the advice: `python -m datasets.lab.advice [TRIAL...]` records runs with a problem, and the same as advised.

The advice is what `emberscope diagnose --format json` says of the first run of a pair. Where a trial is of settings,
the settings of that advice are applied as they stand; where it is of code, the advice must say so in words that the
trial names, and the change is made to the workload. Each pair is `advice/TRIAL-N.json`; what is there is not recorded
again.
In the end `trials.json` of the rules is written anew from all pairs.
"""

import argparse
import json
import statistics
import subprocess
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets.lab.clusters import ROOT
from datasets.lab.core import Conf, Injection, Knobs, Spec, Treatment
from datasets.lab.record import OUT, WORK, record
from datasets.lab.workloads._troubles import ADVISED, WORK_AGAIN

FOLDER = OUT / "advice"
BINARY = ROOT / "target" / "release" / "emberscope"
SUMMARY = ROOT / "crates" / "emberscope-rules" / "src" / "trials.json"
PAIRS = 5
# What the rules are told of a trial, besides what came of it.
TOLD = ("problem", "family", "strength", "change", "says", "note", "saves")
# Seeds of the pairs, which no run of the set has.
FIRST_SEED = 41


@dataclass(frozen=True)
class Trial:
    """How a piece of advice is tried."""

    # Empty for the control: two runs of which nothing is said or changed.
    problem: str
    family: str
    strength: int
    # What is done, in the words of the table.
    change: str
    # The change of code, as knobs of the workload; None where settings are applied.
    knobs: Knobs | None = None
    # Words by which the advice is recognised that names the change of code.
    says: str = ""
    # The same in both runs: what a library holds does not grow with the heap, and clusters have room for the advice.
    environment: dict[str, str] = field(default_factory=dict)
    cluster: str | None = None
    both: Knobs = field(default_factory=dict)
    # What has to be known to read the figures.
    note: str = ""
    # What it saves where that is not time.
    saves: str = ""


HELD = "A library's cache held {} MiB in each executor, before and after."

TRIALS: dict[str, Trial] = {
    "nothing": Trial("", "star_join", 0, "nothing: the same run again"),
    # Settings, as the advice gives them.
    "data-skew": Trial("data-skew", "star_join", 4, "smaller partitions are split, for one more shuffle"),
    "too-few-partitions": Trial("too-few-partitions", "time_series", 3, "more partitions"),
    "too-many-partitions": Trial("too-many-partitions", "python_features", 4, "adaptive execution merges partitions"),
    "memory-spill": Trial(
        "memory-spill",
        "window_sessions",
        4,
        "the usual share of the heap for execution",
        note="The machine's memory held the files of the spills.",
    ),
    "gc-pressure": Trial(
        "gc-pressure",
        "feature_table",
        4,
        "a larger heap",
        environment={"LAB_HOARD_MB": "276"},
        cluster="cluster-2x1-large",
        note=HELD.format(276),
    ),
    "executor-oom": Trial(
        "executor-oom", "star_join", 3, "a larger heap", environment={"LAB_HOARD_MB": "440"}, note=HELD.format(440)
    ),
    "memory-near-limit": Trial("memory-near-limit", "film_ratings", 4, "a larger heap", cluster="cluster-2x1-large"),
    "idle-cores": Trial(
        "idle-cores",
        "feature_table",
        4,
        "4 cores asked for instead of 16",
        note="The machine has 2 cores, and 4 JVMs are a burden of their own.",
    ),
    "unused-memory": Trial("unused-memory", "time_series", 4, "1 GiB of heap asked for instead of 4", saves="memory"),
    "executor-churn": Trial("executor-churn", "time_series", 1, "a least number of executors"),
    # Spark copies tasks to other hosts only: the workers of a standalone cluster have addresses of their own.
    "slow-executor": Trial("slow-executor", "feature_table", 4, "copies of slow tasks", cluster="standalone"),
    "speculation-waste": Trial("speculation-waste", "feature_table", 4, "later and fewer copies of tasks"),
    # Changes of code that the advice names.
    "python-udf-overhead": Trial(
        "python-udf-overhead",
        "python_features",
        4,
        "built-in functions instead of the Python function",
        {ADVISED: "built-in functions"},
        "run in the JVM with generated code",
    ),
    "missed-broadcast": Trial(
        "missed-broadcast", "components", 4, "the small side broadcast by a hint", {"broadcast": "hint"}, "by a hint"
    ),
    "small-files": Trial(
        "small-files",
        "compaction",
        4,
        "the files compacted into one",
        {"files": 1},
        "Compact",
        note="The time of compacting them is not in it.",
    ),
    "repeated-computation": Trial(
        "repeated-computation", "kmeans", 3, "the DataFrame cached", {"cache": True}, "Cache the DataFrame"
    ),
    "cache-eviction": Trial(
        "cache-eviction",
        "kmeans",
        4,
        "cached on disk where memory is short",
        {"storage_level": "MEMORY_AND_DISK"},
        "With StorageLevel.MEMORY_AND_DISK it is",
    ),
    "full-scan": Trial(
        "full-scan",
        "star_join",
        4,
        "the bare column compared with a constant",
        {ADVISED: "bare column"},
        "Compare the bare column",
    ),
    "join-explosion": Trial(
        "join-explosion",
        "star_join",
        3,
        "duplicate keys dropped before the join",
        {ADVISED: "unique keys"},
        "drop duplicates",
        note="One of several rows of a key is kept: the result is another.",
    ),
    "driver-bottleneck": Trial(
        "driver-bottleneck",
        "components",
        4,
        "the driver's work done in tasks",
        {ADVISED: "work on executors"},
        "Do it on executors",
    ),
    "large-result": Trial(
        "large-result",
        "time_series",
        4,
        "the result written to storage",
        {ADVISED: "result to storage"},
        "write the result to storage",
    ),
    "large-closure": Trial(
        "large-closure",
        "rdd_pipeline",
        4,
        "the table as a broadcast variable",
        {ADVISED: "broadcast variable"},
        "Make it a broadcast variable",
    ),
    "task-failures": Trial(
        "task-failures",
        "python_features",
        3,
        "bad records do not fail the task",
        {ADVISED: "rejects"},
        "decide what such records",
        both={WORK_AGAIN: True},
        note="An attempt does again what the failed one had done.",
    ),
    "large-broadcast": Trial(
        "large-broadcast", "star_join", 4, "the broadcast hint taken away", {"broadcast": "auto"}, "broadcast hint"
    ),
    "job-failure": Trial(
        "job-failure",
        "window_sessions",
        2,
        "the result written instead of collected",
        {ADVISED: "result to storage"},
        "write them",
    ),
}


def findings_of(log: Path, problem: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask Emberscope what is wrong with a run: its findings of a problem, and all problems that it names."""
    command = [BINARY, "diagnose", "--format", "json", log]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    findings = json.loads(done.stdout)["findings"]
    return [one for one in findings if one["problem"] == problem], [one["problem"] for one in findings]


def settings_in(findings: list[dict[str, Any]]) -> tuple[str | None, Conf]:
    """Give each finding's first advice that has settings: the first text, and all settings."""
    chosen = [next((advice for advice in finding["advice"] if advice.get("config")), None) for finding in findings]
    given = [advice for advice in chosen if advice]
    if not given:
        return None, {}
    conf: Conf = {}
    for advice in given:  # what costs more comes first, and wins
        conf = advice["config"] | conf
    return given[0]["text"], conf


def code_in(findings: list[dict[str, Any]], says: str) -> str | None:
    """Give the advice that names the change of code."""
    return next((advice["text"] for one in findings for advice in one["advice"] if says in advice["text"]), None)


def pair(name: str, number: int) -> dict[str, Any]:
    """Record a run with the problem, and the same run as advised."""
    trial = TRIALS[name]
    logs = WORK / "advice"

    def spec_of(part: str) -> Spec:
        injections = (Injection(trial.problem, trial.strength),) if trial.problem else ()
        return Spec(f"advice-{name}-{number}-{part}", trial.family, FIRST_SEED - 1 + number, injections=injections)

    def treatment(knobs: Knobs, conf: Conf) -> Treatment:
        # What comes of a change is to be seen, not to be refused: it may fail.
        environment = dict(trial.environment)
        return Treatment(trial.both | knobs, conf, trial.cluster, environment=environment, fails=None)

    before = record(spec_of("before"), logs, treatment({}, {}))
    if not all(label["took"] for label in before["labels"]):
        raise RuntimeError("the problem did not take")
    findings, problems = findings_of(logs / f"{spec_of('before').name}.zstd", trial.problem)
    result: dict[str, Any] = {
        "trial": name,
        "pair": number,
        "definition": asdict(trial),
        "found": problems,
        "before": _facts(before),
    }
    if not trial.problem:
        text, conf = "", {}
    elif trial.knobs is None:
        text, conf = settings_in(findings)
    else:
        text, conf = code_in(findings, trial.says), {}
    if text is None:
        return result | {"tried": False, "advice": [advice["text"] for one in findings for advice in one["advice"]]}
    after = record(spec_of("after"), logs, treatment(trial.knobs or {}, conf))
    savings = [one["savings"].get("wall_clock_ms") for one in findings]
    return result | {
        "tried": True,
        "advice": text,
        "settings": conf,
        "stated_saving_ms": sum(filter(None, savings)) if any(saved is not None for saved in savings) else None,
        "after": _facts(after),
        "found_after": findings_of(logs / f"{spec_of('after').name}.zstd", trial.problem)[1],
        "ratio": round(after["application_s"] / before["application_s"], 4),
    }


def _facts(run: dict[str, Any]) -> dict[str, Any]:
    keys = ("application_s", "exit_status", "load", "log_sha256", "data_sha256", "conf", "knobs", "cluster", "labels")
    return {key: run[key] for key in keys}


def pairs_of() -> dict[str, list[dict[str, Any]]]:
    """Give all pairs that were tried, by trial; one that is not of the trial as it is now is an error."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        one = json.loads(path.read_text())
        if one["trial"] not in TRIALS or one["definition"] != asdict(TRIALS[one["trial"]]):
            raise SystemExit(f"{path} is of another trial of that name: record it again")
        found.setdefault(one["trial"], []).append(one)
    return found


def summary() -> list[dict[str, Any]]:
    """Give a row for each trial: what was done, and the times after over before."""
    rows = []
    for name, recorded in sorted(pairs_of().items()):
        pairs = [one for one in recorded if one["tried"]]
        if not pairs:
            continue
        keys = {tuple(sorted(one["settings"])) for one in pairs}
        if len(keys) != 1:
            raise SystemExit(f"{name}: the advice has not the same settings in all pairs: {keys}")
        ratios = sorted(one["ratio"] for one in pairs)
        saved = [one["before"]["application_s"] - one["after"]["application_s"] for one in pairs]
        stated = [one["stated_saving_ms"] / 1000 for one in pairs if one["stated_saving_ms"] is not None]
        rows.append(
            {
                "trial": name,
                **{key: getattr(TRIALS[name], key) for key in TOLD},
                "keys": list(keys.pop()),
                "pairs": len(pairs),
                "without_the_advice": len(recorded) - len(pairs),
                "median_ratio": round(statistics.median(ratios), 3),
                "least_ratio": round(ratios[0], 3),
                "most_ratio": round(ratios[-1], 3),
                "before_s": round(statistics.median(one["before"]["application_s"] for one in pairs), 1),
                "saved_s": round(statistics.median(saved), 1),
                "stated_saving_s": round(statistics.median(stated), 1) if stated else None,
                "failed_before": sum(one["before"]["exit_status"] != 0 for one in pairs),
                "failed_after": sum(one["after"]["exit_status"] != 0 for one in pairs),
                "found_after": sum(TRIALS[name].problem in one["found_after"] for one in pairs),
            }
        )
    return rows


def main() -> None:
    """Record the pairs that are missing, and sum them up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="*", default=list(TRIALS), metavar="TRIAL")
    parser.add_argument("--minutes", type=float, help="begin no pair after this many minutes")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of each trial; default {PAIRS}")
    parser.add_argument("--only-sum-up", action="store_true", help="record nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.trials) - set(TRIALS):
        parser.error(f"no such trial: {', '.join(sorted(unknown))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * (arguments.minutes or float("inf"))
    # One pair of each trial after the other, so that a recording that stops early has something of everything.
    for number in range(1, 1 if arguments.only_sum_up else arguments.pairs + 1):
        for name in arguments.trials:
            path = FOLDER / f"{name}-{number}.json"
            if path.exists() or time.monotonic() > end:
                continue
            try:
                result = pair(name, number)
            except Exception:
                # Recorded again next time.
                traceback.print_exc()
                continue
            path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
            print(name, number, result.get("ratio", "the advice is not given"), flush=True)
    SUMMARY.write_text(json.dumps(summary(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
