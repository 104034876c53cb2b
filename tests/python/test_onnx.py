"""Exported models say in onnxruntime what they say here."""

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

MEASURE = Path(__file__).resolve().parents[2] / "target" / "release" / "examples" / "measure"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Grow models on rows of which a tenth of the values is missing, and export them."""
    folder = tmp_path_factory.mktemp("onnx")
    random = np.random.default_rng(3)
    rows = random.normal(size=(600, 5))
    answers = rows[:, 0] * rows[:, 1] > rows[:, 2]
    rows[random.random(rows.shape) < 0.1] = np.nan
    np.save(folder / "x.npy", rows)
    np.save(folder / "y.npy", answers)
    subprocess.run([MEASURE, "export", folder / "x.npy", folder / "y.npy", folder], check=True)
    return folder, rows


@pytest.mark.parametrize("name", ["tree", "forest", "isolation"])
def test_onnxruntime_gives_the_same(exported: tuple[Path, np.ndarray], name: str) -> None:
    """Every row goes the same way; results are floats there and doubles here."""
    folder, rows = exported
    if name == "isolation":
        rows = np.nan_to_num(rows)
    (found,) = onnxruntime.InferenceSession(folder / f"{name}.onnx").run(None, {"features": rows})
    wanted = np.load(folder / f"{name}.npy")
    assert found.shape == (600, 1)
    assert len(np.unique(wanted)) > 4
    np.testing.assert_allclose(found[:, 0], wanted, atol=2e-6)
