//! Cached blocks: which were dropped, and which were stored again.

use std::collections::HashMap;

use compact_str::CompactString;
use emberscope_run::{IssueCode, RddId, RddStorage};

use super::{Builder, Position};
use crate::sources::event_log::events::BlockUpdate;

/// Blocks tracked; a cache of more partitions than this is counted in part.
const MAX_BLOCKS: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Memory(u64),
    Disk,
    Dropped,
}

/// A block: the RDD and the partition.
type Block = (RddId, u64);

/// The last state of every block on every executor.
#[derive(Debug, Default)]
pub(super) struct BlockStates {
    by_executor: HashMap<CompactString, HashMap<Block, State>>,
    len: usize,
    /// On how many executors a block is dropped.
    dropped_on: HashMap<Block, u64>,
    /// Blocks of an RDD dropped since it last stored one: they are the unpersisting when that comes next.
    dropped_in_a_row: HashMap<RddId, (u64, u64)>,
}

impl BlockStates {
    /// Forgets the blocks of an executor that is gone: they were not evicted.
    pub(super) fn executor_gone(&mut self, id: &CompactString) {
        let Some(states) = self.by_executor.remove(id) else { return };
        self.len -= states.len();
        for (block, state) in states {
            if state == State::Dropped {
                self.no_longer_dropped(block);
            }
        }
    }

    fn no_longer_dropped(&mut self, block: Block) {
        if let Some(count) = self.dropped_on.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.dropped_on.remove(&block);
            }
        }
    }
}

impl Builder {
    pub(super) fn block_update(&mut self, update: &BlockUpdate, at: Position<'_>) {
        if !self.run.rdds.contains_key(&update.rdd) {
            if !self.room(self.run.rdds.len(), "RDDs", at) {
                return;
            }
            self.run.rdds.insert(update.rdd, RddStorage { id: update.rdd, ..RddStorage::default() });
        }
        let Some(rdd) = self.run.rdds.get_mut(&update.rdd) else { return };
        let blocks = &mut self.blocks;
        let block = (update.rdd, update.partition);
        let dropped_anywhere = blocks.dropped_on.contains_key(&block);
        let before = blocks.by_executor.get(&update.executor).and_then(|states| states.get(&block)).copied();
        if before.is_none() {
            if blocks.len >= MAX_BLOCKS {
                let detail = || format!("more than {MAX_BLOCKS} cached blocks");
                self.run.issues.add(IssueCode::TooManyIds, || at.text(), detail);
                return;
            }
            blocks.len += 1;
        }
        let counts = rdd.updates.get_or_insert_default();
        let after = if update.in_memory && update.bytes > 0 {
            State::Memory(update.bytes)
        } else if update.on_disk && update.bytes > 0 {
            State::Disk
        } else {
            State::Dropped
        };
        match (before, after) {
            (None | Some(State::Dropped), State::Memory(_) | State::Disk) => {
                if after == State::Disk {
                    counts.stored_on_disk += 1;
                } else {
                    counts.stored_in_memory += 1;
                }
                counts.stored_again += u64::from(dropped_anywhere);
                rdd.unpersisted = false;
                blocks.dropped_in_a_row.remove(&update.rdd);
            }
            (Some(State::Memory(bytes)), State::Disk) => {
                counts.moved_to_disk += 1;
                counts.evicted_bytes = counts.evicted_bytes.saturating_add(bytes);
            }
            (Some(State::Memory(_) | State::Disk), State::Dropped) if !rdd.unpersisted => {
                let bytes = if let Some(State::Memory(bytes)) = before { bytes } else { 0 };
                counts.dropped += 1;
                counts.evicted_bytes = counts.evicted_bytes.saturating_add(bytes);
                let (dropped, evicted) = blocks.dropped_in_a_row.entry(update.rdd).or_default();
                *dropped += 1;
                *evicted = evicted.saturating_add(bytes);
            }
            _ => {}
        }
        match (before == Some(State::Dropped), after == State::Dropped) {
            (false, true) => *blocks.dropped_on.entry(block).or_default() += 1,
            (true, false) => blocks.no_longer_dropped(block),
            _ => {}
        }
        blocks.by_executor.entry(update.executor.clone()).or_default().insert(block, after);
    }

    pub(super) fn unpersist(&mut self, id: RddId, _at: Position<'_>) {
        let Some(rdd) = self.run.rdds.get_mut(&id) else { return };
        rdd.unpersisted = true;
        // Spark removes the blocks and then says so: what was dropped just before this event was not evicted.
        if let (Some((dropped, bytes)), Some(counts)) = (self.blocks.dropped_in_a_row.remove(&id), rdd.updates.as_mut())
        {
            counts.dropped = counts.dropped.saturating_sub(dropped);
            counts.evicted_bytes = counts.evicted_bytes.saturating_sub(bytes);
        }
    }
}
