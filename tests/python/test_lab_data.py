"""The data of the lab's runs: the same bytes for the same seed, other bytes for another."""

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "datasets" / "lab"
FAMILIES = sorted(path.stem for path in (LAB / "workloads").glob("[a-z]*.py"))
# Knobs that are numbers of rows; the bytes are as well compared in small.
ROWS = (
    "rows",
    "customers",
    "returns",
    "lines",
    "vertices",
    "pairs",
    "changes",
    "existing",
    "history",
    "rows_per_second",
)


class Absent(ModuleType):
    """Stands for PySpark, which makes no data: any name can be imported from it."""

    def __getattr__(self, name: str) -> Any:
        """Give something that can be called and asked for names."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")

    def __call__(self, *_: object, **__: object) -> "Absent":
        """Give itself."""
        return self

    def __or__(self, _: object) -> "Absent":
        """Stand in the alternatives of a type."""
        return self


@pytest.fixture(name="workload", params=FAMILIES)
def workload_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a family without PySpark."""
    monkeypatch.syspath_prepend(str(ROOT))
    for name in ("pyspark", "pyspark.sql", "pyspark.sql.functions", "pyspark.sql.types", "pyspark.resultiterable"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, Absent(name))
    module = importlib.import_module(f"datasets.lab.workloads.{request.param}")
    return module.WORKLOAD


def bytes_of(folder: Path) -> dict[str, str]:
    """Give a checksum of each file by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_seed_gives_the_same_bytes_and_another_seed_others(workload: Any, tmp_path: Path) -> None:
    """Two builds of one seed are equal, file by file."""
    knobs = dict(workload.knobs)
    knobs |= {name: max(knobs[name] // 20, 50) for name in ROWS if name in knobs}
    made = []
    for at, seed in enumerate((7, 7, 8)):
        folder = tmp_path / str(at)
        folder.mkdir()
        workload.make_data(folder, seed, knobs)
        made.append(bytes_of(folder))
    assert made[0]
    assert made[0] == made[1]
    assert set(made[2].values()) != set(made[0].values())
