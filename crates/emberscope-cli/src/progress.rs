//! A progress bar on stderr, for a person who waits for long input.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter inputs are read before anybody has seen a bar.
const LONG_BYTES: u64 = 64 << 20;

/// A bar over `bytes`; one that draws nothing when stderr is no terminal or the input is short.
pub(crate) fn bar(bytes: Option<u64>, terminal: bool) -> ProgressBar {
    let Some(bytes) = bytes.filter(|&bytes| terminal && bytes >= LONG_BYTES) else { return ProgressBar::hidden() };
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
