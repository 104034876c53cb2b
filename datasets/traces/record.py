"""Records runs in which one cause is injected from outside, and packs each as `NAME.tar.xz`.

    python -m datasets.traces.record EMBERSCOPE [NAME...]

Needs root (perf, cgroups, loop devices, network namespaces), LTTng, and the lab's Spark (`make lab` sets it up).
Nothing else should run meanwhile.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets.lab.shim import jar

HERE = Path(__file__).parent
SPARK = Path(os.environ.get("TRACES_SPARK", "/var/tmp/emberscope-lab/venvs/spark-4.1.4"))
MIB = 1 << 20


@dataclass(frozen=True)
class Scenario:
    """A run: its job, its cluster, and what is done to it."""

    cause: str | None
    kind: str = "compute"
    rounds: int = 4
    rows: int = 120_000_000
    master: str = "local-cluster[1,1,1024]"
    conf: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    around: Callable[[Path], object] | None = None
    during: Callable[[Path], object] | None = None
    #: What the blame names, where it names something.
    culprit: str | None = None


@contextmanager
def busy(_: Path) -> Iterator[None]:
    """Have four processes that compute."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def executors() -> list[int]:
    """Give the process ids of executors."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"CoarseGrainedExecutorBackend" in command and b"\0--executor-id\0" in command:
                found.append(int(entry.name))
    return found


@contextmanager
def stopping(_: Path) -> Iterator[None]:
    """Stop executors for half of the time."""
    over = threading.Event()

    def act() -> None:
        while not over.wait(0.3):
            pids = executors()
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            over.wait(0.4)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def write_files(folder: Path, rounds: int, files: int, size: int) -> None:
    """Write texts for the warm rounds and those that count."""
    line = ("the quick brown fox jumps over the lazy dog " * 22).encode() + b"\n"
    for name in ["warm", *map(str, range(rounds))]:
        (folder / name).mkdir(parents=True)
        for number in range(files):
            (folder / name / f"{number}.txt").write_bytes(line * (size // len(line)))


@contextmanager
def slow_disk(work: Path) -> Iterator[None]:
    """Have the data on a file system of which 4 MiB a second can be read."""
    image, mount = work / "disk.img", work / "data"
    with image.open("wb") as file:
        file.truncate(200 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", "--direct-io=on", image], check=True, capture_output=True, text=True
    )
    device = loop.stdout.strip()
    mount.mkdir()
    subprocess.run(["mount", device, mount], check=True)
    try:
        write_files(mount, 4, 8, 2 * MIB)
        subprocess.run(["sync"], check=True)
        Path("/proc/sys/vm/drop_caches").write_text("3")
        yield
    finally:
        throttle(device, 0)
        subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["losetup", "-d", device], check=False)


def throttle(device: str, bytes_per_second: int) -> None:
    """Limit what is read from a device; 0 is no limit."""
    number = Path(device).stat().st_rdev
    limit = f"{os.major(number)}:{os.minor(number)} {bytes_per_second}"
    Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").write_text(limit)


@contextmanager
def throttled(work: Path) -> Iterator[None]:
    """Limit the disk that the data are on."""
    found = subprocess.run(["findmnt", "-no", "SOURCE", work / "data"], check=True, capture_output=True, text=True)
    throttle(found.stdout.strip(), 4 * MIB)
    yield


@contextmanager
def files(work: Path) -> Iterator[None]:
    """Have the data on the disk."""
    write_files(work / "data", 4, 8, 1 * MIB)
    (work / "lock").mkdir()
    yield


BRIDGE = "traces0"
HOST = "10.78.0.1"
NETNS = ("traces-w1", "traces-w2")


def ip(*arguments: str) -> None:
    """Run ip."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def two_hosts(work: Path) -> Iterator[None]:
    """Have a standalone cluster of two workers, each in a network namespace of its own."""
    spark_class = next(SPARK.glob("lib/python3*/site-packages/pyspark")) / "bin/spark-class"
    started = []
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        command = [spark_class, "org.apache.spark.deploy.master.Master", "--host", HOST, "--port", "7077"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for number, name in enumerate(NETNS):
            ip("netns", "add", name)
            ip("link", "add", f"veth-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"veth-{name}", "master", BRIDGE, "up")
            ip("-n", name, "address", "add", f"10.78.0.{11 + number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            command = ["ip", "netns", "exec", name, spark_class, "org.apache.spark.deploy.worker.Worker"]
            command += [f"spark://{HOST}:7077", "--host", f"10.78.0.{11 + number}", "--cores", "1", "--memory", "1g"]
            command += ["--work-dir", str(work / name)]
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(8)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        for name in NETNS:
            subprocess.run(["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False)


@contextmanager
def slow_network(_: Path) -> Iterator[None]:
    """Let 30 Mbit a second out of each worker's namespace."""
    limit = ["tbf", "rate", "30mbit", "burst", "32kb", "latency", "2s"]
    for name in NETNS:
        subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", "root", *limit], check=True)
    yield


SCENARIOS = {
    "healthy": Scenario(None),
    "healthy-files": Scenario(None, kind="files", around=files),
    "busy-processes": Scenario("cpu", during=busy, culprit="python3"),
    "slow-disk": Scenario("disk", kind="files", around=slow_disk, during=throttled),
    "lock": Scenario(
        "lock",
        kind="files",
        master="local-cluster[1,2,1024]",
        around=files,
        conf={"spark.hadoop.fs.file.impl": "LockedFiles", "spark.hadoop.fs.file.impl.disable.cache": "true"},
        environment={"LAB_LOCK_PASSES": "400"},
    ),
    "slow-network": Scenario(
        "network",
        kind="shuffle",
        rows=40_000,
        rounds=3,
        master=f"spark://{HOST}:7077",
        conf={"spark.driver.host": HOST, "spark.shuffle.compress": "false"},
        around=two_hosts,
        during=slow_network,
    ),
    "stopped": Scenario("stopped", rows=700_000_000, rounds=1, during=stopping),
    "small-heap": Scenario(
        "safepoint",
        rows=300_000_000,
        rounds=2,
        conf={
            "spark.executor.memory": "640m",
            "spark.executor.extraJavaOptions": "-XX:+UseSerialGC",
        },
        environment={"LAB_HOARD_SHARE": "0.8", "LAB_HOARD_KIND": "small", "LAB_HOARD_CHURN_MB_S": "120"},
    ),
}


def record(emberscope: str, name: str, scenario: Scenario, work: Path) -> None:
    """Record a scenario, and pack it."""
    marker = work / "marker"
    out = work / name
    environment = dict(os.environ, PYSPARK_PYTHON=str(SPARK / "bin/python"), LAB_LOCK_REPORT=str(work / "lock"))
    environment |= scenario.environment
    conf = {"spark.ui.enabled": "false", "spark.sql.files.maxPartitionBytes": "4m"} | scenario.conf
    conf["spark.sql.files.openCostInBytes"] = "4m"
    if "LAB_HOARD_SHARE" in scenario.environment:
        environment["JDK_JAVA_OPTIONS"] = f"-javaagent:{jar('Hoard.java', premain=True)}"
    if "LAB_LOCK_PASSES" in scenario.environment:
        path = str(jar("LockedFiles.java"))
        conf |= {"spark.driver.extraClassPath": path, "spark.executor.extraClassPath": path}
    command = [emberscope, "record", "--out", str(out), "--no-diagnose", "--", str(SPARK / "bin/spark-submit")]
    command += ["--master", scenario.master]
    for key, value in conf.items():
        command += ["--conf", f"{key}={value}"]
    command += [
        str(HERE / "job.py"),
        scenario.kind,
        str(scenario.rounds),
        str(scenario.rows),
        str(work / "data"),
        str(marker),
    ]
    with ExitStack() as stack:
        if scenario.around:
            stack.enter_context(scenario.around(work))
        with (work / "log").open("w") as log:
            running = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            while not marker.exists():
                assert running.poll() is None, (work / "log").read_text()[-3000:]
                time.sleep(0.05)
            with ExitStack() as injected:
                if scenario.during:
                    injected.enter_context(scenario.during(work))
                time.sleep(0.3)
                marker.with_suffix(".go").touch()
                while not marker.with_suffix(".done").exists() and running.poll() is None:
                    time.sleep(0.05)
            assert running.wait() == 0, (work / "log").read_text()[-3000:]
    facts = {"name": name, "cause": scenario.cause, "culprit": scenario.culprit, "first_stage": int(marker.read_text())}
    (out / "scenario.json").write_text(json.dumps(facts, indent=2) + "\n")
    packed = HERE / f"{name}.tar.xz"
    with tarfile.open(packed, "w:xz") as tar:
        tar.add(out, arcname=name)
    print(f"{packed}: {packed.stat().st_size / MIB:.1f} MiB", flush=True)


def main() -> None:
    """Record those that are named, or all."""
    emberscope, *names = sys.argv[1:]
    for name in names or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="traces-") as work:
            record(str(Path(emberscope).resolve()), name, SCENARIOS[name], Path(work))


if __name__ == "__main__":
    main()
