//! The tasks of one stage attempt, packed by column.
//!
//! A row is collected in full while its chunk is open; a full chunk is transposed and every column is stored as its
//! minimum and byte-wide differences (frame of reference, after Zukowski et al., "Super-scalar RAM-CPU cache
//! compression", ICDE 2006). A column that is the same in the whole chunk, as most are, takes two bytes.

use crate::task_column::{Locality, TaskColumn, TaskStatus};
use crate::units::Timestamp;

/// The null of a stored value: no metric of Spark reaches it.
pub const NULL: u64 = u64::MAX;

/// Rows in a sealed chunk.
const CHUNK_ROWS: usize = 256;

/// All columns of one task; [`NULL`] where a value is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    values: [u64; TaskColumn::COUNT],
}

impl Default for TaskRow {
    fn default() -> Self {
        Self { values: [NULL; TaskColumn::COUNT] }
    }
}

impl TaskRow {
    /// The value of a column in the column's unit; `None` when unknown.
    pub fn get(&self, column: TaskColumn) -> Option<u64> {
        let value = self.values[column as usize];
        (value != NULL).then_some(value)
    }

    /// Sets a column.
    pub fn set(&mut self, column: TaskColumn, value: u64) {
        self.values[column as usize] = value;
    }

    /// Sets a column to null.
    pub fn clear(&mut self, column: TaskColumn) {
        self.values[column as usize] = NULL;
    }

    /// How the attempt ended; `None` only for a row that was never filled.
    pub fn status(&self) -> Option<TaskStatus> {
        TaskStatus::from_code(self.get(TaskColumn::Status)?)
    }

    /// How near to its data it ran.
    pub fn locality(&self) -> Option<Locality> {
        Locality::from_code(self.get(TaskColumn::Locality)?)
    }

    /// When it was launched.
    pub fn launched_at(&self) -> Option<Timestamp> {
        Some(Timestamp(i64::try_from(self.get(TaskColumn::LaunchTime)?).ok()?))
    }

    /// When it finished.
    pub fn finished_at(&self) -> Option<Timestamp> {
        Some(Timestamp(i64::try_from(self.get(TaskColumn::FinishTime)?).ok()?))
    }

    /// Finish time less launch time, in ms (`task_duration` of STYLE's table).
    pub fn duration_ms(&self) -> Option<u64> {
        Some(self.get(TaskColumn::FinishTime)?.saturating_sub(self.get(TaskColumn::LaunchTime)?))
    }

    /// Time to fetch a large result, in ms: 0 when the result came with the status (`AppStatusUtils.gettingResultTime`).
    pub fn getting_result_time_ms(&self) -> Option<u64> {
        let finished = self.get(TaskColumn::FinishTime)?;
        Some(self.get(TaskColumn::GettingResultAt).map_or(0, |at| finished.saturating_sub(at)))
    }

    /// Time between launch and finish that is none of deserialize, run, result serialization and getting the result,
    /// in ms (`AppStatusUtils.schedulerDelay`); `None` without metrics.
    pub fn scheduler_delay_ms(&self) -> Option<u64> {
        Some(
            self.duration_ms()?
                .saturating_sub(self.get(TaskColumn::ExecutorDeserializeTime)?)
                .saturating_sub(self.get(TaskColumn::ExecutorRunTime)?)
                .saturating_sub(self.get(TaskColumn::ResultSerializationTime)?)
                .saturating_sub(self.getting_result_time_ms()?),
        )
    }

    /// Local and remote shuffle bytes read together; `None` when neither is known.
    pub fn shuffle_read_bytes(&self) -> Option<u64> {
        sum_known(self.get(TaskColumn::ShuffleLocalBytesRead), self.get(TaskColumn::ShuffleRemoteBytesRead))
    }

    /// All bytes the task took in, from storage, cache and shuffles; `None` when none is known.
    pub fn bytes_in(&self) -> Option<u64> {
        sum_known(self.get(TaskColumn::InputBytes), self.shuffle_read_bytes())
    }

    /// All records the task took in; `None` when none is known.
    pub fn records_in(&self) -> Option<u64> {
        sum_known(self.get(TaskColumn::InputRecords), self.get(TaskColumn::ShuffleRecordsRead))
    }
}

fn sum_known(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

/// The finished task attempts of a stage attempt in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub struct TaskStore {
    chunks: Vec<Chunk>,
    open: Vec<TaskRow>,
    len: usize,
}

impl TaskStore {
    /// Adds a task.
    pub fn push(&mut self, row: TaskRow) {
        self.open.push(row);
        self.len += 1;
        if self.open.len() == CHUNK_ROWS {
            self.chunks.push(Chunk::pack(&self.open));
            self.open.clear();
        }
    }

    /// Packs what is still open and gives its memory back; more can be pushed afterwards.
    pub fn seal(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(Chunk::pack(&self.open));
        }
        self.open = Vec::new();
    }

    /// How many tasks are stored.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One column in the order of the tasks, appended to `out` ([`NULL`] where unknown).
    pub fn read_column(&self, column: TaskColumn, out: &mut Vec<u64>) {
        out.reserve(self.len);
        for chunk in &self.chunks {
            chunk.unpack(column, out);
        }
        out.extend(self.open.iter().map(|row| row.values[column as usize]));
    }

    /// One column in the order of the tasks; [`NULL`] where unknown.
    pub fn column(&self, column: TaskColumn) -> Vec<u64> {
        let mut out = Vec::new();
        self.read_column(column, &mut out);
        out
    }

    /// Every task in the order in which they ended, unpacked a chunk at a time.
    pub fn rows(&self) -> impl Iterator<Item = TaskRow> + '_ {
        self.chunks.iter().flat_map(Chunk::rows).chain(self.open.iter().cloned())
    }

    /// The tasks in their order, in the parts that they were packed in: some hundred tasks each.
    pub fn parts(&self) -> impl Iterator<Item = TaskPart<'_>> + '_ {
        let open = (!self.open.is_empty()).then_some(TaskPart(Part::Open(&self.open)));
        self.chunks.iter().map(|chunk| TaskPart(Part::Packed(chunk))).chain(open)
    }

    /// Bytes of heap that the store holds.
    pub fn heap_bytes(&self) -> usize {
        let packed: usize = self.chunks.iter().map(|chunk| chunk.data.len() + size_of::<Chunk>()).sum();
        packed + self.open.capacity() * size_of::<TaskRow>()
    }
}

/// Some tasks of a [`TaskStore`] that are packed together.
#[derive(Debug, Clone, Copy)]
pub struct TaskPart<'a>(Part<'a>);

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Packed(&'a Chunk),
    Open(&'a [TaskRow]),
}

impl TaskPart<'_> {
    /// How many tasks.
    pub fn len(&self) -> usize {
        match self.0 {
            Part::Packed(chunk) => usize::from(chunk.len),
            Part::Open(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends every column to the one of `columns` at its place in [`TaskColumn::ALL`], in one go over the packed bytes.
    pub fn read(&self, columns: &mut [Vec<u64>]) {
        match self.0 {
            Part::Packed(chunk) => chunk.each_column(|column, min, width, bytes| {
                let Some(out) = columns.get_mut(column) else { return false };
                unpack_column(self.len(), min, width, bytes, out);
                true
            }),
            Part::Open(rows) => {
                for (column, out) in columns.iter_mut().enumerate().take(TaskColumn::COUNT) {
                    out.extend(rows.iter().map(|row| row.values[column]));
                }
            }
        }
    }
}

/// Per column: a byte with the width of the differences (0, 1, 2, 4 or 8), the minimum as LEB128, then the
/// differences, little-endian. Values are stored plus one with wrap-around, so that null is 0 and sorts first.
#[derive(Debug, Clone)]
struct Chunk {
    len: u16,
    data: Box<[u8]>,
}

impl Chunk {
    fn pack(rows: &[TaskRow]) -> Self {
        let mut data = Vec::with_capacity(rows.len() * 64);
        for column in 0..TaskColumn::COUNT {
            let (mut min, mut max) = (u64::MAX, 0);
            for row in rows {
                let value = row.values[column].wrapping_add(1);
                min = min.min(value);
                max = max.max(value);
            }
            let width = width_of(max - min);
            data.push(width);
            write_leb128(&mut data, min);
            for row in rows.iter().filter(|_| width > 0) {
                let difference = row.values[column].wrapping_add(1) - min;
                data.extend_from_slice(&difference.to_le_bytes()[..usize::from(width)]);
            }
        }
        Self { len: rows.len() as u16, data: data.into_boxed_slice() }
    }

    fn unpack(&self, wanted: TaskColumn, out: &mut Vec<u64>) {
        self.each_column(|column, min, width, bytes| {
            if column == wanted as usize {
                unpack_column(usize::from(self.len), min, width, bytes, out);
                return false;
            }
            true
        });
    }

    fn rows(&self) -> Vec<TaskRow> {
        let mut rows = vec![TaskRow::default(); usize::from(self.len)];
        let mut values = Vec::with_capacity(rows.len());
        self.each_column(|column, min, width, bytes| {
            values.clear();
            unpack_column(usize::from(self.len), min, width, bytes, &mut values);
            rows.iter_mut().zip(&values).for_each(|(row, &value)| row.values[column] = value);
            true
        });
        rows
    }

    fn each_column(&self, mut visit: impl FnMut(usize, u64, usize, &[u8]) -> bool) {
        let mut rest = &self.data[..];
        for column in 0..TaskColumn::COUNT {
            let width = usize::from(rest[0]);
            let min = read_leb128(&mut rest, 1);
            let (bytes, after) = rest.split_at(width * usize::from(self.len));
            rest = after;
            if !visit(column, min, width, bytes) {
                return;
            }
        }
    }
}

/// Appends the values of a column. Every width has a loop of its own, whose length is known before it begins.
fn unpack_column(len: usize, min: u64, width: usize, bytes: &[u8], out: &mut Vec<u64>) {
    let value = |difference: u64| min.wrapping_add(difference).wrapping_sub(1);
    match width {
        0 => out.resize(out.len() + len, value(0)),
        1 => out.extend(bytes.iter().map(|&byte| value(u64::from(byte)))),
        2 => out.extend(bytes.as_chunks().0.iter().map(|&le| value(u64::from(u16::from_le_bytes(le))))),
        4 => out.extend(bytes.as_chunks().0.iter().map(|&le| value(u64::from(u32::from_le_bytes(le))))),
        _ => out.extend(bytes.as_chunks().0.iter().map(|&le| value(u64::from_le_bytes(le)))),
    }
}

fn width_of(range: u64) -> u8 {
    match range {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn write_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_leb128(rest: &mut &[u8], skip: usize) -> u64 {
    let (mut value, mut shift, mut at) = (0, 0, skip);
    loop {
        let byte = rest[at];
        value |= u64::from(byte & 0x7f) << shift;
        at += 1;
        if byte < 0x80 {
            *rest = &rest[at..];
            return value;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(values: &[(TaskColumn, u64)]) -> TaskRow {
        let mut row = TaskRow::default();
        values.iter().for_each(|&(column, value)| row.set(column, value));
        row
    }

    proptest! {
        #[test]
        fn what_is_pushed_comes_back_in_order(
            values in proptest::collection::vec((any::<u64>(), 0..TaskColumn::COUNT), 0..700),
            seal_at in 0..700usize,
        ) {
            let mut store = TaskStore::default();
            let mut expected = Vec::new();
            for (index, (value, column)) in values.into_iter().enumerate() {
                let row = row(&[(TaskColumn::ALL[column], value), (TaskColumn::TaskId, index as u64)]);
                expected.push(row.clone());
                store.push(row);
                if index == seal_at {
                    store.seal();
                }
            }
            prop_assert_eq!(store.len(), expected.len());
            prop_assert_eq!(&store.rows().collect::<Vec<_>>(), &expected);
            for &column in TaskColumn::ALL {
                let alone: Vec<_> = expected.iter().map(|row| row.get(column).unwrap_or(NULL)).collect();
                prop_assert_eq!(store.column(column), alone);
            }
            let mut columns = vec![Vec::new(); TaskColumn::COUNT];
            store.parts().for_each(|part| part.read(&mut columns));
            for (&column, read) in TaskColumn::ALL.iter().zip(columns) {
                prop_assert_eq!(store.column(column), read);
            }
        }
    }

    #[test]
    fn a_typical_task_takes_less_than_a_hundred_bytes() {
        let mut store = TaskStore::default();
        for i in 0..10_000_u64 {
            store.push(row(&[
                (TaskColumn::TaskId, i),
                (TaskColumn::Partition, i),
                (TaskColumn::LaunchTime, 1_700_000_000_000 + i * 17),
                (TaskColumn::FinishTime, 1_700_000_000_100 + i * 17 + i % 977),
                (TaskColumn::ExecutorRunTime, 50 + i % 911),
                (TaskColumn::ExecutorCpuTime, 40_000_000 + i * 7_919 % 800_000_000),
                (TaskColumn::ShuffleLocalBytesRead, 1_000_000 + i * 31 % 65_536),
                (TaskColumn::ShuffleRecordsRead, 40_000 + i % 4_096),
                (TaskColumn::Executor, i % 8),
                (TaskColumn::JvmGcTime, i % 40),
            ]));
        }
        store.seal();
        assert!(store.heap_bytes() / 10_000 < 100, "{} bytes a task", store.heap_bytes() / 10_000);
    }

    #[test]
    fn scheduler_delay_is_what_the_metrics_do_not_account_for() {
        // 1,000 ms from launch to finish, of them 100 deserialize, 700 run, 20 result serialization, 50 getting the result.
        let task = row(&[
            (TaskColumn::LaunchTime, 10_000),
            (TaskColumn::FinishTime, 11_000),
            (TaskColumn::GettingResultAt, 10_950),
            (TaskColumn::ExecutorDeserializeTime, 100),
            (TaskColumn::ExecutorRunTime, 700),
            (TaskColumn::ResultSerializationTime, 20),
        ]);
        assert_eq!(task.scheduler_delay_ms(), Some(130));
        assert_eq!(row(&[(TaskColumn::LaunchTime, 1), (TaskColumn::FinishTime, 2)]).scheduler_delay_ms(), None);
    }
}
