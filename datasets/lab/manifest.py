"""Write what the set is: manifest.json and labels.jsonl, from the records; `--check` only compares."""

import argparse
import hashlib
import json
import statistics
import sys
from collections import Counter
from typing import Any

from datasets.lab.plan import (
    JUDGED_FAMILIES,
    PLAN,
    SEEDS_FROM,
    SEEN_FAMILIES,
    SEEN_SECOND_FAMILIES,
    SEEN_THIRD_FAMILIES,
    split_of,
)
from datasets.lab.record import HERE, LOGS, RECORDS

MANIFEST = HERE / "manifest.json"
LABELS = HERE / "labels.jsonl"
# Why a problem is not found in a run, or found where it was not brought about: what somebody saw who looked at it.
REMARKS = HERE / "remarks.json"


def records() -> list[dict[str, Any]]:
    """Read every record, in the order of names."""
    return [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]


def label_line(record: dict[str, Any], remarks: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Give a run's labels as training and evaluation read them: what took; what did not is told apart."""
    taken = [label for label in record["labels"] if label["took"]]
    missed = [label for label in record["labels"] if not label["took"]]
    keys = ("problem", "strength", "subjects")
    return {
        "run": record["run"],
        "log": f"logs/{record['run']}.zstd",
        "family": record["family"],
        "split": split_of(record["family"]),
        "problems": [{key: label[key] for key in keys} for label in taken],
        "did_not_take": [label["problem"] for label in missed],
    } | ({"remarks": remarks[record["run"]]} if record["run"] in remarks else {})


def manifest_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum the set up, with a checksum of every log."""
    good = [record for record in found if "failed" not in record]
    healthy = [record for record in good if not record["labels"]]
    problems = Counter(label["problem"] for record in good for label in record["labels"] if label["took"])
    return {
        "format": 1,
        "planned_runs": len(PLAN),
        "runs": len(good),
        "healthy_runs": len(healthy),
        "failed_recordings": sorted(record["run"] for record in found if "failed" in record),
        "labels_that_took": dict(sorted(problems.items())),
        "labels_that_did_not_take": sum(not label["took"] for record in good for label in record["labels"]),
        "split": {
            "by": "workload family and seed: judged families have seeds of their own, "
            f"from {SEEDS_FROM['judged'] + 1} on",
            "judged_families": list(JUDGED_FAMILIES),
            "judged_before": [list(SEEN_FAMILIES), list(SEEN_SECOND_FAMILIES), list(SEEN_THIRD_FAMILIES)],
            "runs": dict(sorted(Counter(split_of(record["family"]) for record in good).items())),
        },
        "wall_s": _spread([record["wall_s"] for record in good]),
        "log_bytes": sum(record["log_bytes"] for record in good),
        "load": {
            "idle_share_before": _spread([record["load"]["idle_share_before"] for record in good]),
            "load_average_before": _spread([record["load"]["load_average_before"] for record in good]),
            "busy_share": _spread([record["load"]["busy_share"] for record in good]),
            "steal_share": _spread([record["load"]["steal_share"] for record in good]),
        },
        "logs": {record["run"]: record["log_sha256"] for record in good},
    }


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": round(statistics.median(values), 4), "max": max(values)}


def damaged(found: list[dict[str, Any]]) -> list[str]:
    """List the runs whose log is not the one that was recorded."""
    wrong = []
    for record in found:
        log = LOGS / f"{record['run']}.zstd"
        if "failed" not in record and (
            not log.exists() or hashlib.sha256(log.read_bytes()).hexdigest() != record["log_sha256"]
        ):
            wrong.append(record["run"])
    return wrong


def main() -> None:
    """Write or check the manifest and the labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    found = records()
    if wrong := damaged(found):
        sys.exit(f"logs that are missing or not those recorded: {', '.join(wrong)}")
    remarks = json.loads(REMARKS.read_text())
    if unknown := set(remarks) - {record["run"] for record in found}:
        sys.exit(f"{REMARKS.name} names runs that are not there: {', '.join(sorted(unknown))}")
    labels = "".join(json.dumps(label_line(record, remarks)) + "\n" for record in found if "failed" not in record)
    manifest = json.dumps(manifest_of(found), indent=1) + "\n"
    for path, text in ((MANIFEST, manifest), (LABELS, labels)):
        if not arguments.check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.name} is not what the records give: run python -m datasets.lab.manifest")
    print(f"{len(found)} records, {sum('failed' not in record for record in found)} runs")


if __name__ == "__main__":
    main()
