"""The JSON that `emberscope diagnose` writes, checked against the committed schemas.

The binary is named by EMBERSCOPE_BIN. The runs are those under datasets/demo, and the shared logs where they are beside
the project.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EMBERSCOPE_SHARED", ROOT.parent / "shared" / "real"))
SCHEMAS = ROOT / "crates" / "emberscope" / "schema"


def written(*arguments: str | Path) -> dict:
    """Return what a diagnosis in JSON holds."""
    binary = os.environ.get("EMBERSCOPE_BIN")
    if not binary:
        pytest.skip("EMBERSCOPE_BIN names no binary")
    command = [binary, "diagnose", "--format", "json", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=False, capture_output=True, timeout=300).stdout)


def assert_valid(document: dict, name: str) -> None:
    """Say every place where a document breaks a schema."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]
    assert not errors, "\n".join(errors[:20])


@pytest.mark.parametrize("run", sorted((ROOT / "datasets" / "demo").glob("*.zstd")), ids=lambda run: run.stem)
@pytest.mark.parametrize("option", [[], ["--redact"], ["--only", "data-skew"]], ids=["all", "redacted", "one-rule"])
def test_a_diagnosis_of_a_demo_run_is_as_the_schema_says(run: Path, option: list[str]) -> None:
    """Runs with findings and without, whose empty fields are left out."""
    assert_valid(written(*option, run), "diagnosis")


def test_a_report_of_good_and_bad_inputs_is_as_the_schema_says() -> None:
    """Runs beside a file that is no log."""
    report = written(ROOT / "datasets" / "demo", ROOT / "README.md")
    assert report["diagnoses"]
    assert [Path(one["input"]).name for one in report["unreadable"]] == ["README.md"]
    assert_valid(report, "report")


def test_reports_of_the_shared_logs_are_as_the_schema_says() -> None:
    """Logs from Spark 1.3 on, cut, rolled and mixed."""
    logs = next((path for path in (SHARED / "eventlogs", SHARED / "real" / "eventlogs") if path.exists()), None)
    if logs is None:
        pytest.skip("the shared inputs are not there")
    report = written(logs)
    assert len(report["diagnoses"]) > 50
    assert_valid(report, "report")
    for diagnosis in report["diagnoses"]:
        assert_valid(diagnosis, "diagnosis")


def test_a_field_that_is_always_written_is_required_and_one_that_may_be_left_out_is_not() -> None:
    """What a reader may rely on."""
    schema = json.loads((SCHEMAS / "diagnosis.schema.json").read_text())
    assert "exit_code" in schema["$defs"]["RunSummary"]["required"]
    assert set(schema["$defs"]["Advice"]["required"]) == {"text", "more"}
    assert not {"more_subjects", "consequences", "because"} & set(schema["$defs"]["Finding"]["required"])
