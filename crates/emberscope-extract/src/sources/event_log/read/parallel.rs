//! One run on many threads: some read and decode, some parse, the calling one builds.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Block, Parsed, PartEnd, ReadOptions, Reading, RunInput, parse_block, read_part};

enum Message {
    Block { part: usize, parsed: Parsed },
    End { part: usize, end: PartEnd },
}

/// One thread reads and decodes (several when there are several parts), the others parse, the calling one builds.
pub(super) fn read_parallel(input: &RunInput, options: &ReadOptions<'_>, reading: &mut Reading<'_>) {
    let workers = options.threads.max(2) - 1;
    let in_flight = 2 * options.threads;
    let max_line = options.limits.max_line_bytes;
    let (block_sender, block_receiver) = sync_channel::<(u64, usize, Block)>(in_flight);
    let (result_sender, result_receiver) = sync_channel::<(u64, Message)>(in_flight);
    let shared = Mutex::new(block_receiver);
    let spares = Spares::default();
    thread::scope(|scope| {
        for _ in 0..workers {
            let results = result_sender.clone();
            let (shared, spares) = (&shared, &spares);
            scope.spawn(move || {
                loop {
                    let next = shared.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((sequence, part, block)) = next else { return };
                    let message = Message::Block { part, parsed: parse_block(&block, max_line) };
                    spares.put(block.bytes);
                    if results.send((sequence, message)).is_err() {
                        return;
                    }
                }
            });
        }
        let results = result_sender;
        let spares = &spares;
        scope.spawn(move || {
            let mut sequence = 0;
            let mut ahead = PartsAhead::start(scope, input, *options, spares);
            for part in 0..input.parts.len() {
                let Some(receiver) = ahead.next() else { return };
                for delivery in receiver {
                    let sent = match delivery {
                        Delivery::Block(block) => block_sender.send((sequence, part, block)).is_ok(),
                        Delivery::End(end) => {
                            let end = end.unwrap_or_else(|error| PartEnd {
                                codec: "unreadable",
                                losses: Vec::new(),
                                error: Some(error),
                            });
                            results.send((sequence, Message::End { part, end })).is_ok()
                        }
                    };
                    if !sent {
                        return;
                    }
                    sequence += 1;
                }
            }
        });
        apply_in_order(&result_receiver, reading);
    });
}

fn apply_in_order(results: &Receiver<(u64, Message)>, reading: &mut Reading<'_>) {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (sequence, message) in results {
        waiting.insert(sequence, message);
        while let Some(message) = waiting.remove(&next) {
            next += 1;
            match message {
                Message::Block { part, parsed } => reading.block(part, parsed),
                Message::End { part, end } if end.codec == "unreadable" => {
                    reading.unreadable(part, end.error.unwrap_or_else(|| io::Error::other("unreadable")));
                }
                Message::End { part, end } => reading.end(part, end),
            }
        }
    }
}

/// Buffers of blocks that were parsed, to read into again: a new one would be set to zero first.
#[derive(Debug, Default)]
struct Spares(Mutex<Vec<Vec<u8>>>);

impl Spares {
    fn put(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

enum Delivery {
    Block(Block),
    End(io::Result<PartEnd>),
}

/// Readers of the next parts, a few of them running ahead.
struct PartsAhead<'scope, 'env> {
    scope: &'scope thread::Scope<'scope, 'env>,
    input: &'env RunInput,
    options: ReadOptions<'env>,
    started: usize,
    open: VecDeque<Receiver<Delivery>>,
    ahead: usize,
    spares: &'env Spares,
}

impl<'scope, 'env> PartsAhead<'scope, 'env> {
    fn start(
        scope: &'scope thread::Scope<'scope, 'env>,
        input: &'env RunInput,
        options: ReadOptions<'env>,
        spares: &'env Spares,
    ) -> Self {
        let ahead = (options.threads / 2).max(1);
        Self { scope, input, options, started: 0, open: VecDeque::new(), ahead, spares }
    }

    fn next(&mut self) -> Option<Receiver<Delivery>> {
        while self.open.len() < self.ahead && self.started < self.input.parts.len() {
            let (sender, receiver) = sync_channel(2);
            let (input, options, part, spares) = (self.input, self.options, self.started, self.spares);
            self.scope.spawn(move || read_ahead(input, part, &options, spares, &sender));
            self.started += 1;
            self.open.push_back(receiver);
        }
        self.open.pop_front()
    }
}

fn read_ahead(
    input: &RunInput,
    part: usize,
    options: &ReadOptions<'_>,
    spares: &Spares,
    sender: &SyncSender<Delivery>,
) {
    let end =
        read_part(input, part, options, &mut |block| (sender.send(Delivery::Block(block)).is_ok(), spares.take()));
    // The receiver is gone only when the reading was given up.
    let _ = sender.send(Delivery::End(end));
}
