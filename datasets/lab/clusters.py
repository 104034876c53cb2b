"""Where runs run: Spark by version, and the kinds of clusters that one machine holds."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

LOOPBACK = "127.0.0.1"
WORKER_HOSTS = ("127.0.0.2", "127.0.0.3")
MASTER_PORT = 17_177
MASTERS = {
    "local": "local[2]",
    "cluster-2x1": "local-cluster[2,1,1024]",
    "cluster-1x2": "local-cluster[1,2,1024]",
    # Workers that may give executors more memory.
    "cluster-2x1-large": "local-cluster[2,1,8192]",
    # More cores than the machine has.
    "cluster-3x1": "local-cluster[3,1,1024]",
    "cluster-2x2": "local-cluster[2,2,1024]",
    "cluster-2x4": "local-cluster[2,4,1024]",
    "cluster-4x4": "local-cluster[4,4,1024]",
}
# Cores of each worker of the standalone clusters.
STANDALONE_CORES = {"standalone": "1", "standalone-2x2": "2"}
REQUIREMENTS = ("numpy==1.26.4", "pandas==2.2.3", "pyarrow==18.1.0", "zstandard==0.25.0")
# Where Spark is installed, data are made and runs work.
WORK = Path("/var/tmp/emberscope-lab")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Spark:
    """One version of Spark in a virtual environment of its own."""

    version: str
    python: Path

    @property
    def java_options(self) -> str:
        """Give what all JVMs of the lab run with, so that a short run is not mostly the start of JVMs.

        Only the first compiler works, and Spark's classes come from an archive: compiling and loading would otherwise
        take more of two cores than the tasks of a run of 20 seconds.
        """
        return f"-XX:TieredStopAtLevel=1 -XX:SharedArchiveFile={self.archive}"

    @property
    def archive(self) -> Path:
        """Give the archive of Spark's classes."""
        return self.python.parents[1] / "spark.jsa"

    @property
    def home(self) -> Path:
        """Give SPARK_HOME."""
        [found] = self.python.parents[1].glob("lib/python3*/site-packages/pyspark")
        return found

    def environment(self, work: Path, host: str = LOOPBACK) -> dict[str, str]:
        """Give Spark's programs an environment that names no real host and leaves files in `work` only."""
        return {
            **os.environ,
            "SPARK_HOME": str(self.home),
            "PYSPARK_PYTHON": str(self.python),
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "0",
            "SPARK_LOCAL_IP": host,
            "SPARK_LOCAL_DIRS": str(work / "local"),
            "SPARK_WORKER_DIR": str(work / "worker"),
            "SPARK_LOG_DIR": str(work / "log"),
            "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "SPARK_DAEMON_JAVA_OPTS": self.java_options,
        } | ({"SPARK_LOCAL_HOSTNAME": "localhost"} if host == LOOPBACK else {})


def spark_of(version: str, folder: Path) -> Spark:
    """Give a version of Spark; it is installed from PyPI when it is not there."""
    venv = folder / "venvs" / f"spark-{version}"
    python = venv / "bin" / "python"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, f"pyspark=={version}", *REQUIREMENTS], check=True)
        (venv / "ready").touch()
    spark = Spark(version, python)
    if not spark.archive.exists():
        _archive(spark, folder)
    return spark


def _archive(spark: Spark, folder: Path) -> None:
    """Write the archive of the classes that a run uses, whole or not at all."""
    work = folder / "warm"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    partial = spark.archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    options = f"-XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit={partial}"
    command = [str(spark.home / "bin" / "spark-submit"), "--master", MASTERS["local"], "--driver-java-options", options]
    command += ["--conf", "spark.ui.enabled=false", str(ROOT / "datasets" / "lab" / "warm.py"), work.as_uri()]
    with (work / "spark.log").open("wb") as log:
        environment = spark.environment(work)
        subprocess.run(command, cwd=work, env=environment, stdout=log, stderr=log, check=True)
    partial.replace(spark.archive)


@contextmanager
def cluster(kind: str, spark: Spark, work: Path, worker_delays_s: tuple[float, ...] = ()) -> Iterator[str]:
    """Have a cluster for the length of a `with`; gives the master's URL.

    The standalone ones have a worker on each of two loopback addresses; `worker_delays_s` hold workers back.
    """
    if kind in MASTERS:
        yield MASTERS[kind]
        return
    master = f"spark://{LOOPBACK}:{MASTER_PORT}"
    start = ["org.apache.spark.deploy.master.Master", "--host", LOOPBACK, "--port", str(MASTER_PORT)]
    with ExitStack() as stack:
        stack.enter_context(_program([*start, "--webui-port", str(MASTER_PORT + 1)], spark, work, LOOPBACK, 0))
        _wait_for_master(0)
        for at, host in enumerate(WORKER_HOSTS):
            worker = ["org.apache.spark.deploy.worker.Worker", "--host", host, "--cores", STANDALONE_CORES[kind]]
            worker += ["--memory", "2g"]
            delay = worker_delays_s[at] if at < len(worker_delays_s) else 0
            stack.enter_context(_program([*worker, master], spark, work, host, delay))
        _wait_for_master(0 if worker_delays_s else len(WORKER_HOSTS))
        yield master


@contextmanager
def _program(arguments: list[str], spark: Spark, work: Path, host: str, delay_s: float) -> Iterator[None]:
    command = [str(spark.home / "bin" / "spark-class"), *arguments]
    if delay_s:
        command = ["sh", "-c", 'sleep "$0" && exec "$@"', str(delay_s), *command]
    with (work / "cluster.log").open("ab") as log:
        environment = spark.environment(work, host)
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_master(workers: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urlopen(f"http://{LOOPBACK}:{MASTER_PORT + 1}/json/", timeout=5) as answer:
                if f'"aliveworkers" : {workers}'.encode() in answer.read() or not workers:
                    return
        except (URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the master or its {workers} workers did not come")
