"""The isolation forest finds what the reference finds, on public sets with labelled outliers."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURE = ROOT / "target" / "release" / "examples" / "measure"
OUTLIERS = Path(os.environ.get("EMBERSCOPE_SHARED", ROOT / ".." / "shared")) / "real" / "outliers"

pytestmark = pytest.mark.skipif(not OUTLIERS.is_dir(), reason="the shared sets are not there")


def test_the_area_is_that_of_the_reference_on_every_set_and_in_the_mean() -> None:
    """Mean ROC AUC over ten seeds: within two deviations and 0.01 of the reference, and not below it over all sets."""
    with (OUTLIERS / "isolation-forest-reference.csv").open() as file:
        reference = {row["dataset"]: row for row in csv.DictReader(file)}
    done = subprocess.run([MEASURE, "outliers", OUTLIERS / "adbench"], capture_output=True, text=True, check=True)
    found = {row["dataset"]: float(row["full_auc_mean"]) for row in csv.DictReader(done.stdout.splitlines())}
    assert found.keys() == reference.keys()
    assert len(found) > 20
    least = {
        name: float(row["full_auc_mean"]) - 2 * float(row["full_auc_std"]) - 0.01 for name, row in reference.items()
    }
    assert {name: (area, least[name]) for name, area in found.items() if area < least[name]} == {}
    wanted = sum(float(row["full_auc_mean"]) for row in reference.values()) / len(reference)
    assert sum(found.values()) / len(found) >= wanted
