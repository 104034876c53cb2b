"""Try the advice: `python -m datasets.lab.advice [PROBLEM...]` records runs with a problem, and the same as advised.

The advice is what `emberscope diagnose --format json` says of the first run of a pair: its settings are applied as
they stand; where the advice is a change of code, the change is the workload's healthy form of the knobs that made the
problem. Each pair is `advice/PROBLEM-N.json`; what is there is not recorded again. `--table` prints what came of it.
"""

import argparse
import json
import statistics
import subprocess
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.lab.clusters import ROOT
from datasets.lab.core import Injection, Knobs, Spec, Treatment
from datasets.lab.problems import PROBLEMS
from datasets.lab.record import OUT, WORK, record
from datasets.lab.workloads import WORKLOADS

FOLDER = OUT / "advice"
BINARY = ROOT / "target" / "release" / "emberscope"
PAIRS = 5
STRENGTH = 3


@dataclass(frozen=True)
class Trial:
    """How the advice for a problem is tried: in which family, and whether it is settings or code."""

    family: str
    code: bool = False
    strength: int = STRENGTH
    cluster: str = "local"


# Advice that is a change of code is tried by the healthy knobs, all other by the settings that it gives.
TRIALS: dict[str, Trial] = {
    "data-skew": Trial("star_join"),
    "too-few-partitions": Trial("star_join"),
    "too-many-partitions": Trial("star_join"),
    "memory-spill": Trial("star_join", cluster="cluster-1x2"),
    "gc-pressure": Trial("star_join", cluster="cluster-1x2"),
    "missed-broadcast": Trial("star_join"),
    "small-files": Trial("compaction"),
    "python-udf-overhead": Trial("python_features", code=True),
    "repeated-computation": Trial("kmeans", code=True),
    "cache-eviction": Trial("kmeans", code=True),
    "full-scan": Trial("star_join", code=True),
    "join-explosion": Trial("star_join", code=True),
    "driver-bottleneck": Trial("feature_table", code=True),
    "large-result": Trial("feature_table", code=True),
    "large-closure": Trial("rdd_words", code=True),
    "straggler-task": Trial("rdd_words", code=True),
    "task-failures": Trial("rdd_words", code=True),
    "large-broadcast": Trial("star_join"),
    "slow-executor": Trial("star_join", cluster="cluster-2x1"),
    "executor-oom": Trial("star_join", cluster="cluster-1x2"),
    "stage-retry": Trial("star_join", cluster="cluster-2x1"),
}


def diagnosis_of(log: Path) -> dict[str, Any]:
    """Ask Emberscope what is wrong with a run."""
    done = subprocess.run([BINARY, "diagnose", "--format", "json", log], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def finding_of(diagnosis: dict[str, Any], problem: str) -> dict[str, Any] | None:
    """Give the finding of a problem."""
    return next((finding for finding in diagnosis["findings"] if finding["problem"] == problem), None)


def healthy_knobs(problem: str, trial: Trial, spec: Spec) -> Knobs:
    """Give the healthy form of the knobs that the injection turned."""
    turned = PROBLEMS[problem].treat(spec, trial.strength).knobs
    return {name: WORKLOADS[trial.family].knobs[name] for name in turned}


def pair(problem: str, number: int) -> dict[str, Any]:
    """Record a run with the problem, and the same run as advised."""
    trial = TRIALS[problem]
    injections = (Injection(problem, trial.strength),)
    name = f"advice-{problem}-{number}-before"
    spec = Spec(name, trial.family, 40 + number, cluster=trial.cluster, injections=injections)
    logs = WORK / "advice"
    before = record(spec, logs)
    diagnosis = diagnosis_of(logs / f"{spec.name}.zstd")
    finding = finding_of(diagnosis, problem)
    result: dict[str, Any] = {
        "problem": problem,
        "pair": number,
        "family": trial.family,
        "strength": trial.strength,
        "kind": "code" if trial.code else "settings",
        "found": finding is not None,
        "found_instead": [other["problem"] for other in diagnosis["findings"]],
        "before_s": before["application_s"],
        "load": [before["load"]],
    }
    if finding is None:
        return result | {"tried": False}
    advice = finding["advice"]
    chosen = next((one for one in advice if one.get("config")), None)
    if not trial.code and chosen is None:
        return result | {"tried": False, "advice": [one["text"] for one in advice]}
    if trial.code:
        more = Treatment(knobs=healthy_knobs(problem, trial, spec))
    else:
        more = Treatment(conf=dict(chosen["config"]))
    again = Spec(f"advice-{problem}-{number}-after", **{**_fields(spec), "injections": injections})
    after = record(again, logs, more)
    left = finding_of(diagnosis_of(logs / f"{again.name}.zstd"), problem)
    return result | {
        "tried": True,
        "advice": advice[0]["text"] if trial.code else chosen["text"],
        "applied": more.knobs or more.conf,
        "after_s": after["application_s"],
        "ratio": round(after["application_s"] / before["application_s"], 4),
        "stated_saving_ms": finding["savings"].get("wall_clock_ms"),
        "found_after": left is not None,
        "load": [before["load"], after["load"]],
    }


def _fields(spec: Spec) -> dict[str, Any]:
    names = ("family", "seed", "spark", "cluster", "adaptive", "dynamic")
    return {name: getattr(spec, name) for name in names}


def table() -> str:
    """Give the table of all pairs, as Markdown."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        one = json.loads(path.read_text())
        found.setdefault(one["problem"], []).append(one)
    lines = [
        "| problem | change | pairs | time after / before: median | from | to | stated saving / measured |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for problem, ones in sorted(found.items()):
        tried = [one for one in ones if one.get("tried")]
        if not tried:
            lines.append(f"| {problem} | {ones[0]['kind']} | 0 | not found or no setting to try | | | |")
            continue
        ratios = sorted(one["ratio"] for one in tried)
        stated = [
            one["stated_saving_ms"] / 1000 / (one["before_s"] - one["after_s"])
            for one in tried
            if one["stated_saving_ms"] and one["before_s"] > one["after_s"]
        ]
        quotient = f"{statistics.median(stated):.2f}" if stated else ""
        spread = " | ".join(f"{ratio:.2f}" for ratio in (statistics.median(ratios), ratios[0], ratios[-1]))
        lines.append(f"| {problem} | {tried[0]['kind']} | {len(tried)} | {spread} | {quotient} |")
    return "\n".join(lines)


def main() -> None:
    """Record the pairs that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", default=list(TRIALS), metavar="PROBLEM")
    parser.add_argument("--minutes", type=float, help="begin no pair after this many minutes")
    parser.add_argument("--table", action="store_true", help="print what came of the pairs that are recorded")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * (arguments.minutes or float("inf"))
    # One pair of each problem after the other, so that a recording that stops early has something of everything.
    for number in range(1, PAIRS + 1):
        for problem in arguments.problems:
            path = FOLDER / f"{problem}-{number}.json"
            if path.exists() or time.monotonic() > end:
                continue
            try:
                result = pair(problem, number)
            except Exception as error:
                traceback.print_exc()
                result = {"problem": problem, "pair": number, "kind": "?", "failed": f"{type(error).__name__}: {error}"}
            path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
            print(problem, number, result.get("ratio", result.get("failed", "not tried")), flush=True)


if __name__ == "__main__":
    main()
