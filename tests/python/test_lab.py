"""The labelled runs are what their records say, worked out again from the files."""

import hashlib
import json
import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "datasets" / "lab"
RECORDS = sorted((LAB / "records").glob("*.json"))

pytestmark = pytest.mark.skipif(not RECORDS, reason="nothing is recorded")


def records() -> list[dict[str, Any]]:
    """Read the records of runs that were recorded."""
    found = [json.loads(path.read_text()) for path in RECORDS]
    return [record for record in found if "failed" not in record]


def labels() -> list[dict[str, Any]]:
    """Read the labels."""
    return [json.loads(line) for line in (LAB / "labels.jsonl").read_text().splitlines()]


def test_every_log_is_the_one_that_was_recorded() -> None:
    """Checksums in the records and in the manifest are those of the files, and no file has no record."""
    manifest = json.loads((LAB / "manifest.json").read_text())
    logs = {log.stem: hashlib.sha256(log.read_bytes()).hexdigest() for log in (LAB / "logs").glob("*.zstd")}
    assert logs == {record["run"]: record["log_sha256"] for record in records()}
    assert logs == manifest["logs"]
    assert sum(log.stat().st_size for log in (LAB / "logs").iterdir()) == manifest["log_bytes"] < 150_000_000


def test_labels_say_what_the_records_say() -> None:
    """A label is there when its check said that it took, and nowhere else."""
    by_run = {label["run"]: label for label in labels()}
    assert set(by_run) == {record["run"] for record in records()}
    for record in records():
        label = by_run[record["run"]]
        took = {(found["problem"], found["strength"]) for found in record["labels"] if found["took"]}
        assert {(found["problem"], found["strength"]) for found in label["problems"]} == took
        assert label["did_not_take"] == [found["problem"] for found in record["labels"] if not found["took"]]
        assert label["family"] == record["family"]


def test_no_family_is_both_trained_on_and_judged_on() -> None:
    """The split is by family."""
    splits = {(label["family"], label["split"]) for label in labels()}
    assert len({family for family, _ in splits}) == len(splits)


def test_labels_use_the_vocabulary() -> None:
    """Every problem is one that `emberscope problem` lists."""
    binary = ROOT / "target" / "release" / "emberscope"
    listed = subprocess.run([binary, "problem"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^\s*([a-z][a-z-]+)\s", listed, re.MULTILINE))
    assert {found["problem"] for record in records() for found in record["labels"]} <= known


def test_the_machine_was_idle_before_every_run() -> None:
    """The load figures show that nothing else ran."""
    assert min(record["load"]["idle_share_before"] for record in records()) >= 0.9


def test_the_set_is_as_large_and_as_healthy_as_it_says() -> None:
    """At least 300 runs of 8 to 30 seconds, a third healthy (of all too), spread evenly over at least 16 families."""
    good = [record for record in records() if 8 <= record["wall_s"] <= 30]
    healthy = Counter(record["family"] for record in good if not record["labels"])
    assert len(good) >= 300
    assert sum(healthy.values()) >= len(good) / 3
    assert sum(not record["labels"] for record in records()) >= len(records()) / 3
    assert len(healthy) >= 16
    assert max(healthy.values()) - min(healthy.values()) <= 2
    assert {record["spark"].rsplit(".", 1)[0] for record in good} >= {"3.5", "4.1", "4.3"}
    assert {record["adaptive"] for record in good} == {record["dynamic"] for record in good} == {True, False}


def test_every_problem_is_there_in_four_strengths_for_training_and_in_other_seeds_for_judging() -> None:
    """The curve of a threshold has four points, and no seed is on both sides."""
    strengths = defaultdict(set)
    took = defaultdict(set)
    seeds = defaultdict(set)
    split_of = {label["run"]: label["split"] for label in labels()}
    for record in records():
        split = split_of[record["run"]]
        seeds[split].add(record["seed"])
        for found in record["labels"]:
            strengths[found["problem"], split].add(found["strength"])
            if found["took"]:
                took[found["problem"], split].add(found["strength"])
    assert not seeds["training"] & seeds["judged"]
    for problem in {problem for problem, _ in strengths}:
        assert strengths[problem, "training"] == {1, 2, 3, 4}, problem
        assert len(took[problem, "training"]) >= 3, problem


def test_rules_keep_what_is_promised_on_families_they_were_not_made_on() -> None:
    """Macro F1 of 0.90, 95 % of healthy runs without a warning, a reason for every miss; worked out from the misses."""
    command = ["evaluate", "--labels", LAB / "labels.jsonl", "--split", "judged", "--no-models", "--format", "json"]
    binary = ROOT / "target" / "release" / "emberscope"
    said = json.loads(subprocess.run([binary, *command], capture_output=True, text=True, check=True).stdout)
    judged = [label for label in labels() if label["split"] == "judged"]
    there = Counter(found["problem"] for label in judged for found in label["problems"] if found["strength"] >= 2)
    missed = Counter(miss["problem"] for miss in said["misses"])
    alarms = Counter(alarm["problem"] for alarm in said["false_alarms"])
    scores = [
        2 * (there[problem] - missed[problem]) / (2 * there[problem] - missed[problem] + alarms[problem])
        for problem in there
    ]
    macro_f1 = sum(scores) / len(scores)
    assert said["macro_f1"] == pytest.approx(macro_f1)
    assert macro_f1 >= 0.90
    healthy = [label["run"] for label in judged if not label["problems"] and not label["did_not_take"]]
    warned = {alarm["run"] for alarm in said["false_alarms"] if alarm["severity"] != "info"}
    assert len(healthy) >= 40
    assert len(warned & set(healthy)) <= 0.05 * len(healthy)
    assert [miss["run"] for miss in said["misses"] if not miss.get("why")] == []
