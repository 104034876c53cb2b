"""The driver of every run: `spark-submit job.py SPEC.json` runs a workload step by step and notes what it did."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import SparkSession

from datasets.lab.core import STEP_PROPERTY
from datasets.lab.workloads import _troubles


class Job:
    """What a workload is given: Spark, its knobs, its data, a folder to write to."""

    def __init__(self, spark: SparkSession, spec: dict[str, Any]) -> None:
        """Take what `record.py` wrote down."""
        self.spark = spark
        self.context = spark.sparkContext
        self.seed = int(spec["seed"])
        self.knobs: dict[str, Any] = spec["knobs"]
        self.data = Path(spec["data"])
        self.out = Path(spec["out"])
        self.facts: dict[str, Any] = {"steps": []}

    def path(self, name: str) -> str:
        """Give the URI of a data set."""
        return (self.data / name).as_uri()

    def target(self, name: str) -> str:
        """Give the URI of something to write."""
        return (self.out / name).as_uri()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what the jobs started inside are for."""
        self.context.setLocalProperty(STEP_PROPERTY, name)
        self.context.setJobDescription(name)
        (self.out / f"in-{name}").touch()
        started = time.time()
        try:
            yield
        finally:
            self.facts["steps"].append({"name": name, "started": started, "ended": time.time()})
            self.context.setLocalProperty(STEP_PROPERTY, None)
            self.context.setJobDescription(None)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact for the checks."""
        self.facts[name] = value


def main() -> None:
    """Run the workload that the file names."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    spark = SparkSession.builder.appName(spec["application"]).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    job = Job(spark, spec)
    module = importlib.import_module(f"datasets.lab.workloads.{spec['family']}")
    # Functions go to the Python workers whole, as those of a script do: nothing is imported there.
    for sent in (module, _troubles):
        cloudpickle.register_pickle_by_value(sent)
    try:
        module.WORKLOAD.run(job)
    finally:
        (job.out / "facts.json").write_text(json.dumps(job.facts))
        spark.stop()


if __name__ == "__main__":
    main()
