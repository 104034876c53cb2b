//! One part on many threads: each reads and decodes a block when it is its turn and parses it at once, while the block is in its
//! core's cache; the calling thread builds.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Block, Parsed, PartReader, ReadOptions, Reading, RunInput, parse_block};

/// Blocks that may be read before the first of them is built, a thread: bounds what is held when one thread falls behind.
const AHEAD: u64 = 4;

/// Hands out blocks in their order.
struct Feed<'a> {
    reader: Option<PartReader<'a>>,
    handed_out: u64,
    built: u64,
}

/// Reads the only part of a run.
pub(super) fn read_one_part(input: &RunInput, options: &ReadOptions<'_>, reading: &mut Reading<'_>) {
    let reader = match PartReader::open(input, 0, options) {
        Ok(reader) => reader,
        Err(error) => return reading.unreadable(0, error),
    };
    let ahead = AHEAD * options.threads as u64;
    let max_line = options.limits.max_line_bytes;
    let feed = Mutex::new(Feed { reader: Some(reader), handed_out: 0, built: 0 });
    let built_more = Condvar::new();
    let (sender, receiver) = channel::<(u64, Parsed)>();
    thread::scope(|scope| {
        for _ in 0..options.threads {
            let sender = sender.clone();
            let (feed, built_more) = (&feed, &built_more);
            scope.spawn(move || {
                let _release = ReleaseOnPanic { feed, built_more };
                let mut buffer = Vec::new();
                while let Some((number, block)) = next_block(feed, built_more, ahead, std::mem::take(&mut buffer)) {
                    let parsed = parse_block(&block, max_line);
                    buffer = block.bytes;
                    if sender.send((number, parsed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        build_in_order(&receiver, reading, |built| {
            let mut feed = lock(&feed);
            feed.built = feed.built.max(built);
            drop(feed);
            built_more.notify_all();
        });
    });
    let feed = feed.into_inner().unwrap_or_else(PoisonError::into_inner);
    match feed.reader {
        Some(reader) => reading.end(0, reader.end()),
        None => reading.unreadable(0, io::Error::other("the part was not read")),
    }
}

/// The next block and its number; `None` after the last.
fn next_block(feed: &Mutex<Feed<'_>>, built_more: &Condvar, ahead: u64, buffer: Vec<u8>) -> Option<(u64, Block)> {
    let mut feed = lock(feed);
    while feed.handed_out >= feed.built.saturating_add(ahead) {
        feed = built_more.wait(feed).unwrap_or_else(PoisonError::into_inner);
    }
    let block = feed.reader.as_mut()?.next(buffer)?;
    let number = feed.handed_out;
    feed.handed_out += 1;
    Some((number, block))
}

/// Lets the other threads go on when one panics: what it had taken will never be built.
struct ReleaseOnPanic<'a, 'b> {
    feed: &'a Mutex<Feed<'b>>,
    built_more: &'a Condvar,
}

impl Drop for ReleaseOnPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(self.feed).built = u64::MAX;
            self.built_more.notify_all();
        }
    }
}

fn build_in_order(parsed: &Receiver<(u64, Parsed)>, reading: &mut Reading<'_>, mut built: impl FnMut(u64)) {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (number, block) in parsed {
        waiting.insert(number, block);
        while let Some(block) = waiting.remove(&next) {
            reading.block(0, block);
            next += 1;
            built(next);
        }
    }
}

fn lock<'a, 'b>(feed: &'a Mutex<Feed<'b>>) -> MutexGuard<'a, Feed<'b>> {
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}
