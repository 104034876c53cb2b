//! The clocks of a recording.

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::Serialize;

/// The monotonic clock, which traces carry, and the time since 1970, which the event log carries, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockPair {
    /// `CLOCK_MONOTONIC` in nanoseconds: the middle of two readings around that of the other clock.
    pub monotonic_ns: i64,
    /// `CLOCK_REALTIME` in nanoseconds since 1970.
    pub epoch_ns: i64,
    /// What lies between the two readings: the pair is right to within half of it.
    pub apart_ns: i64,
}

impl ClockPair {
    /// Reads both, several times, and keeps the pair that is closest together.
    pub fn read() -> Self {
        let pair = || {
            let before = nanoseconds(clock_gettime(ClockId::Monotonic));
            let epoch_ns = nanoseconds(clock_gettime(ClockId::Realtime));
            let apart_ns = nanoseconds(clock_gettime(ClockId::Monotonic)) - before;
            Self { monotonic_ns: before + apart_ns / 2, epoch_ns, apart_ns }
        };
        (0..4).map(|_| pair()).fold(pair(), |best, next| if next.apart_ns < best.apart_ns { next } else { best })
    }

    /// Milliseconds since 1970.
    pub fn epoch_ms(&self) -> i64 {
        self.epoch_ns / 1_000_000
    }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_go_on_together() {
        let first = ClockPair::read();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let second = ClockPair::read();
        let (monotonic, epoch) = (second.monotonic_ns - first.monotonic_ns, second.epoch_ns - first.epoch_ns);
        assert!(monotonic >= 5_000_000, "{monotonic}");
        assert!((monotonic - epoch).abs() < 5_000_000, "{monotonic} {epoch}");
        assert!(first.apart_ns >= 0 && first.epoch_ms() > 1_700_000_000_000);
    }
}
