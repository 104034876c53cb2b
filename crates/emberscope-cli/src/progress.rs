//! A progress bar on stderr, for a person who waits for long input.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter inputs are read before anybody has seen a bar.
const LONG_BYTES: u64 = 64 << 20;

/// The bar takes what the terminal leaves beside the numbers; 45 columns hold it all.
const TEMPLATE: &str = "{wide_bar} {bytes}/{total_bytes} {eta} left";

/// A bar over `bytes`; one that draws nothing when stderr is no terminal or the input is short.
pub(crate) fn bar(bytes: Option<u64>, terminal: bool) -> ProgressBar {
    let Some(bytes) = bytes.filter(|&bytes| terminal && bytes >= LONG_BYTES) else { return ProgressBar::hidden() };
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

/// A bar over steps with names.
pub(crate) struct Steps(ProgressBar);

/// A bar over steps; one that draws nothing when stderr is no terminal.
pub(crate) fn steps(terminal: bool) -> Steps {
    if !terminal {
        return Steps(ProgressBar::hidden());
    }
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    Steps(bar)
}

impl Steps {
    /// Shows how many steps are done and what comes next.
    pub(crate) fn set(&self, done: usize, all: usize, next: &str) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
        self.0.set_message(next.to_owned());
    }

    /// Takes the bar away.
    pub(crate) fn finish_and_clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of so many columns that keeps what was written.
    #[derive(Debug, Clone)]
    struct Terminal(u16, Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.0
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.1.lock().expect("not poisoned").push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.1.lock().expect("not poisoned").clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_fits_narrow_terminals_with_its_numbers() {
        for width in [50, 60, 80, 200] {
            let terminal = Terminal(width, Arc::default());
            let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            let bar = ProgressBar::with_draw_target(Some(2_000 << 20), target);
            bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("a template"));
            bar.set_position(1_000 << 20);
            bar.force_draw();
            let drawn = terminal.1.lock().expect("not poisoned").clone();
            let line = drawn.trim();
            assert!(line.contains("1000.00 MiB/1.95 GiB") && line.ends_with("left"), "{line}");
            assert!(line.chars().count() <= usize::from(width), "{line}");
        }
    }
}
