"""The models of the repository: made by the command that says so, and worth what is said of them."""

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.get("EMBERSCOPE_BIN", ROOT / "target" / "release" / "emberscope"))
LABELS = ROOT / "datasets" / "lab" / "labels.jsonl"
MODELS = ROOT / "models"


def emberscope(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train as `make models` does, but for the learners that are compared only."""
    folder = tmp_path_factory.mktemp("models")
    done = emberscope("train", "--labels", LABELS, "--split", "training", "--quick", "--out", folder, "--onnx")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["trees.json", "anomalies.json"])
def test_the_command_still_gives_the_models_of_the_repository(trained: Path, name: str) -> None:
    """Byte for byte, from the committed runs."""
    assert (trained / name).read_bytes() == (MODELS / name).read_bytes()


def test_the_manifest_says_what_the_command_gives(trained: Path) -> None:
    """All but the learners that are compared and not used; those are in the committed card as well."""
    new, old = (json.loads((folder / "manifest.json").read_text()) for folder in (trained, MODELS))
    compared, all_compared = new.pop("compared"), old.pop("compared")
    assert new == old
    assert compared.keys() == all_compared.keys()
    for problem, learners in compared.items():
        assert {name: all_compared[problem][name] for name in learners} == learners
        assert set(all_compared[problem]) == {"tree", "forest", "linfa-tree", "smartcore-forest"}
        assert f"| {problem} |" in (MODELS / "card.md").read_text()


def test_every_model_runs_in_onnxruntime(trained: Path) -> None:
    """One file a model, and its scores are those that walking the trees by hand gives; missing values are values."""
    models = json.loads((trained / "trees.json").read_text())
    (usual,) = json.loads((trained / "anomalies.json").read_text())
    files = {path.stem for path in (trained / "onnx").iterdir()}
    assert files == {model["problem"] for model in models} | {"unknown-anomaly"}
    random = np.random.default_rng(5)
    for model in models:
        spans = [(found["least"], found["most"]) for found in model["inputs"]]
        rows = np.column_stack([random.uniform(low, max(high, low + 1e-9), 50) for low, high in spans])
        rows[random.random(rows.shape) < 0.1] = np.nan
        session = onnxruntime.InferenceSession(trained / "onnx" / f"{model['problem']}.onnx")
        (scores,) = session.run(None, {"features": rows})
        assert scores[:, 0] == pytest.approx([score(model["fitted"], row) for row in rows], abs=1e-5)
    session = onnxruntime.InferenceSession(trained / "onnx" / "unknown-anomaly.onnx")
    rows = random.exponential(3, size=(50, len(usual["inputs"])))
    (scores,) = session.run(None, {"features": rows})
    assert scores[:, 0] == pytest.approx([anomaly(usual["forest"], row) for row in rows], abs=1e-5)


def score(fitted: dict[str, Any], row: Any) -> float:
    """Walk each tree to a leaf and take the share of its weight that is yes; of a forest the mean."""
    trees = [fitted["tree"]] if "tree" in fitted else fitted["forest"]["trees"]
    shares = []
    for tree in trees:
        node = tree["nodes"][0]
        while "split" in node:
            split = node["split"]
            value = row[split["feature"]]
            right = split["missing_right"] if np.isnan(value) else value > split["threshold"]
            node = tree["nodes"][split["left"] + int(right)]
        shares.append(node["yes"] / node["weight"])
    return float(np.mean(shares))


def anomaly(forest: dict[str, Any], row: Any) -> float:
    """Two to the power of minus the mean path length over that of an unsuccessful search (Liu, Ting and Zhou 2008)."""

    def search(rows: int) -> float:
        harmonic = sum(1 / k for k in range(1, rows))
        return 2 * harmonic - 2 * (rows - 1) / rows if rows > 1 else 0.0

    lengths = []
    for tree in forest["trees"]:
        node, depth = tree["nodes"][0], 0
        while "split" in node:
            split = node["split"]
            node = tree["nodes"][split["left"] + int(row[split["feature"]] > split["threshold"])]
            depth += 1
        lengths.append(depth + search(node["rows"]))
    return float(2 ** -(np.mean(lengths) / search(forest["samples"])))


def test_no_model_knows_a_name_a_date_or_a_setting() -> None:
    """The words of what a run is called and how it was set up are in no input of a committed model."""
    models = json.loads((MODELS / "trees.json").read_text()) + json.loads((MODELS / "anomalies.json").read_text())
    inputs = {found["name"] for model in models for found in model["inputs"]}
    assert len(inputs) > 100
    words = ("id", "name", "user", "version", "started", "submitted", "configured", "setting", "seed", "mapped")
    assert [name for name in inputs if set(name.replace(".", "_").split("_")) & set(words)] == []


def judged() -> dict[str, Any]:
    """Judge rules and models on the families that neither was made with."""
    done = emberscope("evaluate", "--labels", LABELS, "--split", "judged", "--format", "json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_models_take_nothing_from_the_rules_and_disturb_no_healthy_run() -> None:
    """Macro F1 of 0.93, not below that of rules alone, and at most one healthy run in twenty with a warning."""
    said = judged()
    by = {figures["detectors"]: figures for figures in said["detectors"]}
    assert by["together"]["macro_f1"] >= max(0.93, by["rules"]["macro_f1"])
    healthy = said["healthy_runs"]
    assert healthy >= 40
    assert healthy - by["together"]["healthy_runs_without_warning"] <= healthy / 20


def test_feature_tables_are_judged_as_their_logs(tmp_path: Path) -> None:
    """What models call is the same from both, problem by problem; severities are unknown, as no rule looked."""
    lines = [json.loads(line) for line in LABELS.read_text().splitlines()]
    logs = [LABELS.parent / line["log"] for line in lines if line["split"] == "judged"]
    extracted = emberscope("extract", "--out", tmp_path, *logs)
    assert extracted.returncode == 0, extracted.stderr
    arguments = ("--labels", LABELS, "--split", "judged", "--format", "json")
    done = emberscope("evaluate", "--features", tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    from_tables = json.loads(done.stdout)
    (models,) = from_tables["detectors"]
    (of_logs,) = [figures for figures in judged()["detectors"] if figures["detectors"] == "models"]
    assert models["f1"] == of_logs["f1"]
    assert models["macro_f1"] == of_logs["macro_f1"] == from_tables["macro_f1"]
    assert from_tables["healthy_runs_without_warning"] is None
    assert from_tables["added"] == []
    refused = emberscope("evaluate", "--features", tmp_path, *arguments, "--no-models")
    assert refused.returncode == 2 and "--no-models" in refused.stderr


def test_what_models_could_add_is_counted_from_the_labels() -> None:
    """Each step down tells at least as much, and where nothing is told the rules' figure stands."""
    said = judged()
    points = said["added"]
    assert [point["probability"] for point in points] == pytest.approx([step / 20 for step in range(20, 0, -1)])
    for above, below in pairwise(points):
        assert above["found"] <= below["found"] and above["false_alarms"] <= below["false_alarms"]
    (rules,) = [figures for figures in said["detectors"] if figures["detectors"] == "rules"]
    silent = [point for point in points if point["found"] == point["false_alarms"] == 0]
    assert all(point["macro_f1"] == rules["macro_f1"] for point in silent)
    loud = points[-1]
    assert loud["false_alarms"] > 0 and loud["macro_f1"] < rules["macro_f1"]


def test_labels_that_are_wrong_refuse_the_training_and_are_all_named(tmp_path: Path) -> None:
    """Unknown problems, a run twice and a problem that took and did not: each with its line, and nothing is written."""
    log = "run.zstd"
    lines = [
        {"run": "one", "log": log, "family": "a", "problems": []},
        {"run": "two", "log": log, "family": "a", "problems": [{"problem": "no-such-thing", "strength": 3}]},
        {"run": "one", "log": log, "family": "b", "problems": []},
        {
            "run": "four",
            "log": log,
            "problems": [{"problem": "data-skew", "strength": 3}],
            "did_not_take": ["data-skew"],
        },
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "models"
    done = emberscope("train", "--labels", labels, "--out", out)
    assert done.returncode == 2
    for number, word in ((2, "no-such-thing"), (3, "one"), (4, "data-skew")):
        assert any(f"labels.jsonl:{number}" in line and word in line for line in done.stderr.splitlines()), done.stderr
    assert not out.exists()


def test_a_run_with_a_log_that_is_not_there_refuses_the_training(tmp_path: Path) -> None:
    """The error names the line and the file."""
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"run": "one", "log": "gone.zstd", "family": "a", "problems": []}) + "\n")
    done = emberscope("train", "--labels", labels, "--out", tmp_path / "models")
    assert done.returncode == 2
    assert "labels.jsonl:1" in done.stderr
    assert "gone.zstd" in done.stderr
