"""Start Spark's programs for the recorders: spark-submit, a standalone cluster, the History Server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 90.0


def home() -> Path:
    """Give SPARK_HOME, or the pyspark package of this interpreter."""
    if found := os.environ.get("SPARK_HOME"):
        return Path(found)
    import pyspark  # noqa: PLC0415 (only needed when SPARK_HOME is not set)

    return Path(pyspark.__file__).resolve().parent


def version() -> str:
    """Give the version of that Spark, read from its core jar's name."""
    [core] = (home() / "jars").glob("spark-core_*.jar")
    return core.stem.rsplit("-", 1)[1]


def environment(work: Path, host: str = LOOPBACK) -> dict[str, str]:
    """Give Spark's programs an environment that names no real host and leaves files in `work` only."""
    return {
        **os.environ,
        "SPARK_HOME": str(home()),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": host,
        "SPARK_WORKER_DIR": str(work / "worker"),
    } | ({"SPARK_LOCAL_HOSTNAME": "localhost"} if host == LOOPBACK else {})


def options(conf: dict[str, str]) -> list[str]:
    """Turn settings into spark-submit's options."""
    return [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]


def submit(arguments: list[str], work: Path) -> int:
    """Run spark-submit in `work` and give its exit status; what it prints goes to `spark.log` there."""
    command = [str(home() / "bin" / "spark-submit"), *arguments]
    with (work / "spark.log").open("ab") as log:
        done = subprocess.run(command, cwd=work, env=environment(work), stdout=log, stderr=log, check=False)
    return done.returncode


def run_python(conf: dict[str, str], job: Path, work: Path) -> int:
    """Run a job by Python itself, which starts its own JVM: Spark Connect's local mode wants it so."""
    settings = {"PYSPARK_SUBMIT_ARGS": " ".join([*options(conf), "pyspark-shell"])}
    with (work / "spark.log").open("ab") as log:
        command = [sys.executable, str(job)]
        done = subprocess.run(command, cwd=work, env=environment(work) | settings, stdout=log, stderr=log, check=False)
    return done.returncode


@contextmanager
def program(arguments: list[str], work: Path, host: str = LOOPBACK) -> Iterator[None]:
    """Keep one of Spark's classes running for the length of a `with`."""
    command = [str(home() / "bin" / "spark-class"), *arguments]
    with (work / "spark.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=work, env=environment(work, host), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true, and give it."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if answer := ready():
            return answer
        time.sleep(0.5)
    raise SystemExit(f"{what} did not come in {START_TIMEOUT_S:.0f} s")


def fetch(url: str) -> bytes | None:
    """Get a page; None while nobody answers."""
    try:
        with urlopen(url, timeout=30) as answer:
            return bytes(answer.read())
    except URLError:
        return None


@contextmanager
def history_server(logs: Path, work: Path, conf: dict[str, str], port: int = 18_480) -> Iterator[str]:
    """Serve the logs under `logs` on loopback and give the REST API's address."""
    properties = work / "history.conf"
    settings = {
        "spark.history.fs.logDirectory": logs.as_uri(),
        "spark.history.ui.port": str(port),
        "spark.history.fs.update.interval": "2s",
        **conf,
    }
    properties.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    address = f"http://{LOOPBACK}:{port}/api/v1"
    server = ["org.apache.spark.deploy.history.HistoryServer", "--properties-file", str(properties)]
    with program(server, work):
        wait_for(lambda: fetch(f"{address}/applications"), "the History Server")
        yield address


def applications(address: str) -> list[dict[str, Any]]:
    """List the applications that the History Server has read."""
    return list(json.loads(fetch(f"{address}/applications") or b"[]"))


@contextmanager
def standalone(hosts: list[str], work: Path, port: int = 17_077) -> Iterator[str]:
    """Run a master and one worker of one core on each loopback address of `hosts`; give the master's URL."""
    master = f"spark://{LOOPBACK}:{port}"
    web = port + 1
    start = ["org.apache.spark.deploy.master.Master", "--host", LOOPBACK, "--port", str(port), "--webui-port", str(web)]
    with program(start, work):
        yield from _workers(hosts, master, web, work)


def _workers(hosts: list[str], master: str, web: int, work: Path) -> Iterator[str]:
    if not hosts:
        alive = f"http://{LOOPBACK}:{web}/json/"
        wait_for(lambda: _has_workers(fetch(alive)), "the workers")
        yield master
        return
    start = ["org.apache.spark.deploy.worker.Worker", "--host", hosts[0], "--cores", "1", "--memory", "1g", master]
    with program(start, work, hosts[0]):
        yield from _workers(hosts[1:], master, web, work)


def _has_workers(page: bytes | None) -> bool:
    return page is not None and b'"ALIVE"' in page and b'"aliveworkers" : 2' in page
