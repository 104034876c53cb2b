//! Damage: whatever can be read is read, what was lost is counted, and nothing panics.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use emberscope_extract::features::Features;
use emberscope_extract::sources::{ReadOptions, RunInput};
use emberscope_run::{IssueCode, Run, TaskRow};
use emberscope_tests::{dump, facts, inputs, issue, only_run, read, read_text, root, shared};
use tempfile::TempDir;

fn tasks(run: &Run) -> Vec<TaskRow> {
    run.stages.values().flat_map(|stage| stage.tasks.rows()).collect()
}

/// Lines that are not blank.
fn lines(text: &[u8]) -> u64 {
    text.split(|&byte| byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count() as u64
}

fn accounted(run: &Run) -> u64 {
    let source = &run.sources[0];
    source.events_read + source.events_unknown + source.events_lost
}

fn log(name: &str) -> Vec<u8> {
    fs::read(root().join("datasets/framings").join(name)).unwrap()
}

/// Reads many cuts of a log, from short to long, and holds each against the whole.
fn cut_at_many_places(whole: &[u8], cuts: usize, end_is_marked: bool) {
    let all = tasks(&read_text(whole, &ReadOptions::default()).unwrap());
    let mut last = 0;
    for step in 0..cuts {
        let at = whole.len() * step / cuts + step % 7;
        let run = match read_text(&whole[..at], &ReadOptions::default()) {
            Ok(run) => run,
            Err(error) => {
                assert!(error.to_string().starts_with("log"), "cut at {at}: {error}");
                assert_eq!(last, 0, "cut at {at} gives nothing, although a shorter one did");
                continue;
            }
        };
        assert!(tasks(&run).iter().all(|row| all.contains(row)), "cut at {at}: a task is not of the whole log");
        assert!(run.sources[0].events_read >= last, "cut at {at}: fewer events than a shorter cut");
        last = run.sources[0].events_read;
        Features::of(&run);
        let cut = [IssueCode::TruncatedStream, IssueCode::CutLine].iter().find_map(|&code| issue(&run, code));
        if let Some((count, position, _)) = cut {
            assert!(run.sources[0].truncated, "cut at {at}");
            assert!(count == 1 && position.starts_with("log:"), "cut at {at}: {count} at {position}");
        } else {
            assert!(!end_is_marked, "cut at {at} of {} is not seen", whole.len());
        }
    }
    assert!(last > 0);
}

#[test]
fn a_zstd_log_cut_anywhere_gives_what_is_before_the_cut() {
    let text = log("spark-3.5/killed.inprogress");
    // A frame every 16 KiB, as a log that is flushed has them.
    let frames = text.chunks(16 << 10).flat_map(|chunk| zstd::stream::encode_all(chunk, 1).unwrap());
    cut_at_many_places(&frames.collect::<Vec<u8>>(), 150, false);
    cut_at_many_places(&log("spark-4.3/speculation.zstd"), 100, true);
}

#[test]
fn a_plain_log_cut_anywhere_gives_the_whole_lines_before_the_cut() {
    let text = log("spark-3.5/small");
    cut_at_many_places(&text, 200, false);
    for step in 1..100 {
        let cut = &text[..text.len() * step / 100];
        let Ok(run) = read_text(cut, &ReadOptions::default()) else { continue };
        assert_eq!(accounted(&run), lines(cut), "cut at {step} %");
        let whole_lines = cut.split(|&byte| byte == b'\n').count() as u64 - 1;
        assert_eq!(run.sources[0].events_read, whole_lines, "cut at {step} %");
    }
}

#[test]
fn logs_of_every_other_framing_cut_anywhere_give_what_is_before_the_cut() {
    for name in ["spark-3.5/small.lz4", "spark-3.5/small.lzf", "spark-3.5/small.snappy"] {
        cut_at_many_places(&log(name), 60, false);
    }
}

#[test]
fn a_real_log_with_failures_cut_anywhere_gives_a_prefix_of_its_tasks() {
    let Some(folder) = shared("eventlogs/spark-rapids-tools/spark-events-profiling") else { return };
    let whole = fs::read(folder.join("tasks_executors_fail_compressed_eventlog.zstd")).unwrap();
    let options = ReadOptions { threads: 2, ..ReadOptions::default() };
    let all = read_text(whole.as_slice(), &options).unwrap().task_count();
    let mut last = 0;
    for percent in [3, 17, 40, 71, 99] {
        let run = read_text(&whole[..whole.len() * percent / 100], &options).unwrap();
        assert!(run.task_count() >= last && run.task_count() < all, "{percent} %: {}", run.task_count());
        last = run.task_count();
        let (count, position, _) = issue(&run, IssueCode::TruncatedStream).unwrap();
        assert!(count == 1 && position.starts_with("log: byte "), "{position}");
        assert!(run.sources[0].truncated && run.application.ended_at.is_none());
    }
    assert!(last > all / 2, "{last} of {all}");
}

#[test]
fn any_byte_of_a_log_may_be_wrong() {
    let expected = lines(&log("spark-3.5/small"));
    for name in ["spark-3.5/small", "spark-3.5/small.zstd", "spark-3.5/small.lz4", "spark-3.5/small.snappy"] {
        let whole = log(name);
        for step in 0..120 {
            let mut bytes = whole.clone();
            let at = bytes.len() * step / 120;
            bytes[at] ^= 1 << (step % 8);
            match read_text(bytes, &ReadOptions::default()) {
                Ok(run) => {
                    // A byte may become a line feed, and a hole in compressed data is one.
                    assert!(accounted(&run) <= expected + 1, "{name}, byte {at}: {}", accounted(&run));
                    Features::of(&run);
                }
                Err(error) => assert!(error.to_string().starts_with("log"), "{name}, byte {at}: {error}"),
            }
        }
    }
}

/// A rolling log of ten lines a part, without some of its parts.
fn rolling(folder: &Path, keep: impl Fn(u64) -> bool) -> PathBuf {
    let to = folder.join("eventlog_v2_local-1");
    fs::create_dir(&to).unwrap();
    let text = log("spark-3.5/killed.inprogress");
    let lines: Vec<_> = text.split_inclusive(|&byte| byte == b'\n').collect();
    for (index, part) in (1..).zip(lines.chunks(10)).filter(|(index, _)| keep(*index)) {
        fs::write(to.join(format!("events_{index}_local-1")), part.concat()).unwrap();
    }
    fs::write(to.join("appstatus_local-1"), b"").unwrap();
    to
}

#[test]
fn parts_missing_in_the_middle_of_a_rolling_log_are_said_and_the_rest_is_read() {
    let folder = TempDir::new().unwrap();
    let whole = only_run(&rolling(folder.path(), |_| true));
    assert_eq!(whole.issues.count(IssueCode::MissingPart), 0);
    let folder = TempDir::new().unwrap();
    let path = rolling(folder.path(), |index| index != 3 && index != 4);
    let run = only_run(&path);
    let (count, position, meaning) = issue(&run, IssueCode::MissingPart).unwrap();
    assert_eq!((count, position.as_str()), (2, path.to_str().unwrap()));
    assert!(meaning.ends_with("First: parts 3 to 4 are missing."), "{meaning}");
    assert_eq!(accounted(&run) + 20, accounted(&whole));
    let all = tasks(&whole);
    assert!(tasks(&run).len() < all.len() && tasks(&run).iter().all(|row| all.contains(row)));
}

#[test]
fn a_part_that_cannot_be_read_is_said_and_the_rest_is_read() {
    let folder = TempDir::new().unwrap();
    let path = rolling(folder.path(), |_| true);
    let input = &inputs(&path)[0];
    fs::remove_file(path.join("events_2_local-1")).unwrap();
    for threads in [1, 2] {
        let run = read(input, threads).unwrap();
        let (count, position, meaning) = issue(&run, IssueCode::UnreadablePart).unwrap();
        assert!(count == 1 && position.ends_with("events_2_local-1"), "{position}");
        assert!(meaning.contains("No such file"), "{meaning}");
        assert_eq!(accounted(&run) + 10, lines(&log("spark-3.5/killed.inprogress")));
    }
}

#[test]
fn two_runs_with_one_id_stay_two_runs() {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("app"), log("spark-3.5/small")).unwrap();
    }
    let runs: Vec<_> = inputs(folder.path()).iter().map(|input| read(input, 1).unwrap()).collect();
    assert_eq!((runs.len(), &runs[0].application.id), (2, &runs[1].application.id));
    assert_ne!(runs[0].sources[0].path, runs[1].sources[0].path);
    assert_eq!(facts(&runs[0]), facts(&runs[1]));
}

#[test]
fn all_cores_read_the_same_run_as_one() {
    let Some(folder) = shared("eventlogs") else { return };
    for name in [
        "spark-rapids-tools/spark-events-profiling/tasks_executors_fail_compressed_eventlog.zstd",
        "spark-rapids-tools/spark-events-qualification/eventlog_v2_local-1623876083964",
        "spark-rapids-tools/spark-events-qualification/db_sim_eventlog",
        "spark-rapids-tools/spark-events-profiling/malformed_json_eventlog.zstd",
        "sparkscope/eventlog/app-20231025121456-0004-eventLog-running-incomplete",
    ] {
        let input = &inputs(&folder.join(name))[0];
        let one = dump(&read(input, 1).unwrap());
        for threads in [2, 5] {
            assert!(dump(&read(input, threads).unwrap()) == one, "{name} on {threads} threads");
        }
    }
}

/// Gives a few bytes at a time, as a pipe may.
struct Drip(Vec<u8>, usize);

impl Read for Drip {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(1 + self.1 % 977).min(self.0.len() - self.1);
        out[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
        self.1 += count;
        Ok(count)
    }
}

#[test]
fn a_reader_that_gives_pieces_of_any_size_gives_the_same_run() {
    for name in ["spark-3.5/small", "spark-3.5/small.zstd", "spark-3.5/small.lz4", "spark-3.5/small.lzf"] {
        let expected = dump(&read_text(log(name), &ReadOptions::default()).unwrap());
        let drip = RunInput::from_reader("log", Drip(log(name), 0));
        assert!(dump(&read(&drip, 1).unwrap()) == expected, "{name}");
    }
}
