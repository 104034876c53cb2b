"""The advice that was tried: what reports say of it is what the recorded pairs give, worked out again from them."""

import json
import os
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "datasets" / "lab"
BINARY = os.environ.get("EMBERSCOPE_BIN", str(ROOT / "target" / "release" / "emberscope"))
TRIALS: list[dict[str, Any]] = json.loads((ROOT / "crates/emberscope-rules/src/trials.json").read_text())


def pairs() -> dict[str, list[dict[str, Any]]]:
    """Read the pairs that were tried, by trial."""
    found = defaultdict(list)
    for path in sorted((LAB / "advice").glob("*.json")):
        pair = json.loads(path.read_text())
        if pair["tried"]:
            found[pair["trial"]].append(pair)
    return found


def turned(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Give what is set in the second and not the same in the first."""
    return {key: value for key, value in after.items() if before.get(key) != value}


def seconds(pair: dict[str, Any], part: str) -> float:
    """Give the length of a run of a pair."""
    return float(pair[part]["application_s"])


def test_the_figures_of_each_trial_are_those_of_its_pairs() -> None:
    """Median, least and most of after over before, and how many runs failed."""
    recorded = pairs()
    assert sorted(recorded) == sorted(trial["trial"] for trial in TRIALS)
    for trial in TRIALS:
        of_trial = recorded[trial["trial"]]
        ratios = [seconds(pair, "after") / seconds(pair, "before") for pair in of_trial]
        assert trial["pairs"] == len(ratios)
        assert trial["median_ratio"] == pytest.approx(statistics.median(ratios), abs=0.002)
        assert trial["least_ratio"] == pytest.approx(min(ratios), abs=0.002)
        assert trial["most_ratio"] == pytest.approx(max(ratios), abs=0.002)
        for part in ("before", "after"):
            assert trial[f"failed_{part}"] == sum(pair[part]["exit_status"] != 0 for pair in of_trial)
        assert trial["found_after"] == sum(trial["problem"] in pair["found_after"] for pair in of_trial)


def test_fifteen_problems_were_tried_five_times_and_twelve_got_faster() -> None:
    """What the project promises of its advice."""
    tried = {trial["problem"]: trial for trial in TRIALS if trial["pairs"] >= 5 and trial["problem"]}
    faster = {problem for problem, trial in tried.items() if trial["median_ratio"] <= 0.9}
    assert len(tried) >= 15
    assert len(faster) >= 12


def test_the_runs_of_a_pair_differ_by_the_advice_and_nothing_else() -> None:
    """Both began idle, the problem was there, and knobs, settings and data are the same but for what was advised."""
    for name, of_trial in pairs().items():
        assert len({pair["pair"] for pair in of_trial}) == len(of_trial)
        for pair in of_trial:
            before, after = pair["before"], pair["after"]
            assert min(run["load"]["idle_share_before"] for run in (before, after)) >= 0.9
            assert all(label["took"] for label in before["labels"])
            knobs = turned(before["knobs"], after["knobs"])
            assert knobs.items() <= (pair["definition"]["knobs"] or {}).items(), name
            # Logs of collectors are written to the run's own folder.
            same = {key: value.replace("-before/", "-after/") for key, value in before["conf"].items()}
            assert turned(same, after["conf"]).items() <= pair["settings"].items(), name
            assert pair["settings"].items() <= after["conf"].items()
            assert before["cluster"] == after["cluster"]
            assert (before["data_sha256"] == after["data_sha256"]) == (name != "small-files"), name
            assert bool(knobs or pair["settings"]) == (name != "nothing")


def test_a_finding_tells_what_came_of_its_advice() -> None:
    """The diagnosis of a run with the problem has the figures of the trial at the advice that was tried."""
    log = LAB / "logs" / "kmeans-repeated-computation-4.zstd"
    done = subprocess.run([BINARY, "diagnose", "--format", "json", log], capture_output=True, text=True, check=True)
    finding = next(one for one in json.loads(done.stdout)["findings"] if one["problem"] == "repeated-computation")
    trial = next(trial for trial in TRIALS if trial["trial"] == "repeated-computation")
    told = [advice for advice in finding["advice"] if "tried" in advice]
    assert len(told) == 1
    assert trial["says"] in told[0]["text"]
    assert told[0]["evidence_run"] == "datasets/lab/advice/repeated-computation-*.json"
    for key in ("pairs", "median_ratio", "least_ratio", "most_ratio"):
        assert told[0]["tried"][key] == trial[key]
