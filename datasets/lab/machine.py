"""What the machine does besides: load before and during a run, from /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDLE_SHARE = 0.97
PATIENCE_S = 120.0
SAMPLE_S = 1.0


@dataclass(frozen=True)
class Usage:
    """CPU time of the whole machine since it started, in ticks."""

    busy: int
    idle: int
    steal: int
    io_wait: int

    @classmethod
    def now(cls) -> "Usage":
        """Read /proc/stat."""
        user, nice, system, idle, io_wait, irq, soft_irq, steal, *_ = map(
            int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        )
        return cls(user + nice + system + irq + soft_irq, idle, steal, io_wait)

    def since(self, before: "Usage") -> dict[str, Any]:
        """Give the shares of the time between."""
        whole = max(sum(after - then for after, then in zip(self.all(), before.all(), strict=True)), 1)
        names = ("busy_share", "idle_share", "steal_share", "io_wait_share")
        shares = ((after - then) / whole for after, then in zip(self.all(), before.all(), strict=True))
        return {name: round(share, 4) for name, share in zip(names, shares, strict=True)}

    def all(self) -> tuple[int, int, int, int]:
        """Give the four figures."""
        return self.busy, self.idle, self.steal, self.io_wait


def wait_until_idle() -> dict[str, Any]:
    """Wait until nothing else runs for a second; says how idle it was, and the load average. Does not wait for ever."""
    end = time.monotonic() + PATIENCE_S
    while True:
        before = Usage.now()
        time.sleep(SAMPLE_S)
        idle = Usage.now().since(before)["idle_share"]
        if idle >= IDLE_SHARE:
            return {"idle_share_before": idle, "load_average_before": round(os.getloadavg()[0], 2)}
        if time.monotonic() > end:
            raise RuntimeError(
                f"the machine was only {idle:.0%} idle for {PATIENCE_S:.0f} s: something else runs on it"
            )
