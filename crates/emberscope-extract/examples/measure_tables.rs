//! Measures.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]
use emberscope_extract::features::Features;
use emberscope_extract::features::catalogue::Table;
use emberscope_extract::tables::{Format, TableOptions, TableWriter};
use emberscope_run::*;
use std::time::Instant;

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
fn rss() -> String {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM")).collect::<Vec<_>>().join(" ")
}

fn main() {
    let tasks: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let stages: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let mut run = Run::default();
    run.application.id = Some("app-1".into());
    run.application.started_at = Some(Timestamp(1_700_000_000_000));
    for e in 0..50 {
        let id = ExecutorId::from(e.to_string().as_str());
        run.executor_names.push(id.clone());
        run.host_names.push(format!("host-{e}.example.com"));
        run.executors.insert(id.clone(), Executor { id, cores: Some(4), added_at: Some(Timestamp(1_700_000_000_000)), ..Default::default() });
    }
    let mut state = 12345_u64;
    let mut rnd = |n: u64| { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state % n };
    let mut id = 0;
    for s in 0..stages {
        let key = StageKey { stage_id: StageId(s), attempt: 0 };
        let mut stage = StageAttempt { key, num_tasks: tasks / stages, submitted_at: Some(Timestamp(1_700_000_000_000)), completed_at: Some(Timestamp(1_700_010_000_000)), ..Default::default() };
        stage.job_ids.insert(JobId(s / 2));
        for p in 0..tasks / stages {
            let mut row = TaskRow::default();
            let launch = 1_700_000_000_000 + (s * 37 % 100) * 10_000 + p * 5;
            let dur = 100 + rnd(900);
            for (c, v) in [
                (TaskColumn::TaskId, id), (TaskColumn::Partition, p), (TaskColumn::PartitionId, p), (TaskColumn::Attempt, 0), (TaskColumn::Executor, rnd(50)),
                (TaskColumn::Locality, rnd(3)), (TaskColumn::Speculative, 0), (TaskColumn::Status, 0), (TaskColumn::EndReason, 0),
                (TaskColumn::LaunchTime, launch), (TaskColumn::FinishTime, launch + dur), (TaskColumn::ExecutorDeserializeTime, rnd(20)),
                (TaskColumn::ExecutorDeserializeCpuTime, rnd(20_000_000)), (TaskColumn::ExecutorRunTime, dur - 50), (TaskColumn::ExecutorCpuTime, rnd(dur * 1_000_000)),
                (TaskColumn::ResultSize, 2000 + rnd(300)), (TaskColumn::JvmGcTime, rnd(50)), (TaskColumn::ResultSerializationTime, rnd(2)),
                (TaskColumn::MemoryBytesSpilled, 0), (TaskColumn::DiskBytesSpilled, 0), (TaskColumn::PeakExecutionMemory, 1_000_000 + rnd(1 << 20)),
                (TaskColumn::ShuffleRemoteBlocksFetched, rnd(200)), (TaskColumn::ShuffleLocalBlocksFetched, rnd(20)), (TaskColumn::ShuffleFetchWaitTime, rnd(30)),
                (TaskColumn::ShuffleRemoteBytesRead, rnd(10_000_000)), (TaskColumn::ShuffleRemoteBytesReadToDisk, 0), (TaskColumn::ShuffleLocalBytesRead, rnd(1_000_000)),
                (TaskColumn::ShuffleRecordsRead, rnd(100_000)), (TaskColumn::ShuffleRemoteRequestsDuration, 0), (TaskColumn::ShuffleBytesWritten, rnd(5_000_000)), (TaskColumn::ShuffleWriteTime, rnd(50_000_000)),
                (TaskColumn::ShuffleRecordsWritten, rnd(50_000)), (TaskColumn::InputBytes, 0), (TaskColumn::InputRecords, 0), (TaskColumn::OutputBytes, 0), (TaskColumn::OutputRecords, 0),
            ] { row.set(c, v); }
            let e = row.get(TaskColumn::Executor).unwrap();
            row.set(TaskColumn::Host, e);
            for c in &TaskColumn::ALL[TaskColumn::PushCorruptMergedBlockChunks as usize..=TaskColumn::PushMergedRemoteRequestsDuration as usize] { row.set(*c, 0); }
            if std::env::var_os("PEAKS").is_some() { for c in TaskColumn::executor_metrics() { row.set(*c, rnd(3) * 1_000_000); } }
            id += 1;
            stage.tasks.push(row);
        }
        stage.tasks.seal();
        run.stages.insert(key, stage);
    }
    for j in 0..stages.div_ceil(2) { run.jobs.insert(JobId(j), Job { id: JobId(j), ..Default::default() }); }
    println!("store {} B/task; {}", run.stages.values().map(|s| s.tasks.heap_bytes()).sum::<usize>() as u64 / tasks, rss());
    let (t, c) = (Instant::now(), cpu());
    let features = Features::of(&run);
    println!("features {:?} cpu {:.2}s; {}", t.elapsed(), cpu() - c, rss());
    for format in Format::ALL {
        for table in Table::ALL {
            let (t, c) = (Instant::now(), cpu());
            let mut w = TableWriter::create(std::path::Path::new("/tmp/tables-out"), &TableOptions { tables: vec![*table], format }).unwrap();
            w.add("run", &run, &features).unwrap();
            let done = w.finish().unwrap();
            if done[0].rows > 0 { println!("{} {} rows {} bytes {} {:?} cpu {:.2}s; {}", format.name(), table, done[0].rows, done[0].bytes, t.elapsed(), cpu() - c, rss()); }
        }
    }
}
