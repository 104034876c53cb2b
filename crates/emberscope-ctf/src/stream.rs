//! One stream: packets one after another, and the events in them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::lost::{LostInterval, LostStream};
use crate::metadata::Clock;
use crate::plan::TracePlan;
use crate::program::{Cursor, Raw, Roles, Sink, Stop, wrap};
use crate::trace::Trace;

/// Bytes that are read at once.
const WINDOW: usize = 256 << 10;
/// The most bytes that one event, or what stands before the events of a packet, may have.
const MAX_WINDOW: usize = 64 << 20;

/// The event that comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) time_ns: i64,
    pub(crate) clock_value: u64,
    /// Index into the plan's events.
    pub(crate) plan: usize,
    pub(crate) body_at: u64,
}

/// The files of one stream, one after another in time.
pub(crate) struct Stream<'t> {
    pub(crate) trace: &'t Trace,
    pub(crate) trace_index: usize,
    pub(crate) class: usize,
    pub(crate) instance: Option<u64>,
    pub(crate) head: Option<Head>,
    pub(crate) sink: Sink,
    pub(crate) packet_values: Vec<Raw>,
    pub(crate) lost: LostStream,
    files: Vec<PathBuf>,
    file_index: usize,
    file: File,
    file_bytes: u64,
    window: Vec<u8>,
    /// Byte of the file with which the window begins.
    window_at: u64,
    packet_at: u64,
    packet_bits: u64,
    content_bits: u64,
    at: u64,
    clock: Option<Timing>,
    before: Before,
    started: bool,
}

/// From a clock's values to times.
#[derive(Debug, Clone)]
struct Timing {
    clock: Clock,
    /// What is added to values that are nanoseconds.
    base_ns: Option<i64>,
}

impl Timing {
    fn of(clock: &Clock, offset_ns: Option<i64>) -> Self {
        let mut clock = clock.clone();
        if let Some(offset) = offset_ns {
            clock.offset_s = offset.div_euclid(1_000_000_000);
            let cycles = i128::from(offset.rem_euclid(1_000_000_000)) * i128::from(clock.frequency) / 1_000_000_000;
            clock.offset_cycles = i64::try_from(cycles).unwrap_or(0);
        }
        let base_ns = (clock.frequency == 1_000_000_000)
            .then(|| clock.offset_s.checked_mul(1_000_000_000)?.checked_add(clock.offset_cycles))
            .flatten();
        Self { clock, base_ns }
    }

    #[inline]
    fn time_ns(&self, value: u64) -> Option<i64> {
        match (self.base_ns, i64::try_from(value)) {
            (Some(base), Ok(value)) => base.checked_add(value),
            _ => self.clock.time_ns(value),
        }
    }
}

/// What the packet before said.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    discarded: Option<u64>,
    sequence: Option<u64>,
    end_ns: Option<i64>,
}

impl<'t> Stream<'t> {
    /// Opens a file and reads what its first packet says of itself.
    pub(crate) fn open(trace: &'t Trace, trace_index: usize, path: PathBuf, plan: &TracePlan) -> Result<Self, Error> {
        let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
        let file_bytes = file.metadata().map_err(|source| Error::io(&path, source))?.len();
        let sink = Sink {
            slots: vec![0; trace.metadata.slots.len()],
            out: vec![Raw::Missing; plan.packet_fields.max(plan.event_fields)],
            roles: Roles::default(),
        };
        let mut stream = Self {
            trace,
            trace_index,
            class: 0,
            instance: None,
            head: None,
            sink,
            packet_values: Vec::new(),
            lost: LostStream::new(path.clone()),
            files: vec![path],
            file_index: 0,
            file,
            file_bytes,
            window: Vec::new(),
            window_at: 0,
            packet_at: 0,
            packet_bits: 0,
            content_bits: 0,
            at: 0,
            clock: None,
            before: Before::default(),
            started: false,
        };
        stream.next_packet(plan)?;
        stream.started = true;
        Ok(stream)
    }

    /// The time at which its first packet begins.
    pub(crate) fn begins_ns(&self) -> Option<i64> {
        self.time(self.sink.roles.clock?)
    }

    /// Appends the files of a later part of the same stream.
    pub(crate) fn append(&mut self, later: Self) {
        self.files.extend(later.files);
    }

    fn path(&self) -> PathBuf {
        self.files.get(self.file_index).cloned().unwrap_or_default()
    }

    fn time(&self, value: u64) -> Option<i64> {
        self.clock.as_ref()?.time_ns(value)
    }

    fn error(&self, at_bits: u64, what: impl Into<String>) -> Error {
        Error::stream(&self.path(), self.packet_at.saturating_add(at_bits / 8), what)
    }

    pub(crate) fn stopped(&self, stop: Stop, at_bits: u64, what: &str) -> Error {
        let why = match stop {
            Stop::Window | Stop::Packet => "goes beyond its packet",
            Stop::Selector => "has a selector that no option has",
            Stop::Leb128 => "has an integer of more than 64 bits",
            Stop::Magic => "does not begin with the magic number 0xc1fc1fc1",
            Stop::Size => "has a text that is none",
            Stop::Fields => "has more than 4,000,000 fields",
        };
        self.error(at_bits, format!("{what} {why}"))
    }

    /// The part of the window from the packet on, and the packet's bit with which it begins.
    fn view(&self) -> (usize, u64) {
        if self.window_at >= self.packet_at {
            (0, (self.window_at - self.packet_at) * 8)
        } else {
            (((self.packet_at - self.window_at) as usize).min(self.window.len()), 0)
        }
    }

    /// What values of the last event are places in.
    pub(crate) fn window(&self) -> &[u8] {
        self.window.get(self.view().0..).unwrap_or_default()
    }

    /// A cursor at the body of the event that was given last.
    pub(crate) fn body_cursor(&self, head: &Head) -> Cursor<'_> {
        Cursor { window: self.window(), base: self.view().1, at: head.body_at, end: self.content_bits }
    }

    /// Reads the file from a bit of the packet on; more than before if that is where the window begins already.
    fn refill(&mut self, at_bits: u64, what: &str) -> Result<(), Error> {
        let from = self.packet_at + at_bits / 8;
        let mut size = WINDOW;
        if from == self.window_at && !self.window.is_empty() {
            size = self.window.len().saturating_mul(2);
            if size > MAX_WINDOW {
                return Err(self.error(at_bits, format!("{what} of more than 64 MiB")));
            }
        }
        let size = size.min(usize::try_from(self.file_bytes.saturating_sub(from)).unwrap_or(usize::MAX));
        self.window.resize(size, 0);
        self.window_at = from;
        let mut filled = 0;
        while filled < size {
            let read = self.file.read_at(&mut self.window[filled..], from + filled as u64);
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.path(), error)),
            }
        }
        // Somebody may have made the file shorter.
        self.window.truncate(filled);
        if filled == 0 { Err(self.stopped(Stop::Packet, at_bits, what)) } else { Ok(()) }
    }

    /// Goes to the next packet; false at the end of the last file.
    fn next_packet(&mut self, plan: &TracePlan) -> Result<bool, Error> {
        self.packet_at = self.packet_at.saturating_add(self.packet_bits / 8);
        if self.packet_at >= self.file_bytes {
            let Some(path) = self.files.get(self.file_index + 1).cloned() else { return Ok(false) };
            self.file = File::open(&path).map_err(|source| Error::io(&path, source))?;
            self.file_bytes = self.file.metadata().map_err(|source| Error::io(&path, source))?.len();
            self.file_index += 1;
            self.window.clear();
            (self.packet_at, self.window_at) = (0, 0);
        }
        let rest_bits = (self.file_bytes - self.packet_at).saturating_mul(8);
        (self.packet_bits, self.content_bits, self.at) = (rest_bits, rest_bits, 0);
        let clock = self.sink.roles.clock;
        let within = self.packet_at >= self.window_at && self.packet_at < self.window_at + self.window.len() as u64;
        if !within {
            self.window.clear();
            self.refill(0, "a packet")?;
        }
        let end = loop {
            self.sink.roles = Roles { clock, ..Roles::default() };
            self.sink.out.fill(Raw::Missing);
            match self.packet_start(plan) {
                Ok(end) => break end,
                Err((Stop::Window, _)) => self.refill(0, "the header of a packet")?,
                Err((stop, what)) => return Err(self.stopped(stop, 0, what)),
            }
        };
        self.packet_values.clear();
        self.packet_values.extend_from_slice(&self.sink.out);
        self.check_sizes(end, rest_bits)?;
        self.at = end;
        self.instance = self.sink.roles.stream;
        self.count_lost();
        Ok(true)
    }

    /// Reads header and context of a packet; gives the bit behind them.
    fn packet_start(&mut self, plan: &TracePlan) -> Result<u64, (Stop, &'static str)> {
        let (from, base) = self.view();
        let window = self.window.get(from..).unwrap_or_default();
        let mut cursor = Cursor { window, base, at: 0, end: self.content_bits };
        let run = plan.header.run(&mut cursor, &mut self.sink);
        run.map_err(|stop| (stop, "the header of a packet"))?;
        let streams = &self.trace.metadata.streams;
        let class = match (self.sink.roles.stream_class, streams.len()) {
            (Some(id), _) => self.trace.metadata.stream_class(id),
            (None, 0) => None,
            (None, _) => Some(0),
        };
        let class =
            class.ok_or((Stop::Selector, "a packet of a stream class that the metadata do not have: its header"))?;
        if self.started && class != self.class {
            return Err((Stop::Selector, "a packet of another stream class than those before it: its header"));
        }
        self.class = class;
        if self.clock.is_none() {
            let clock = streams.get(class).and_then(|stream| stream.clock);
            let clock = clock.and_then(|clock| self.trace.metadata.clocks.get(clock));
            self.clock = clock.map(|clock| Timing::of(clock, self.trace.offset_ns));
        }
        let context = plan.streams.get(class).map(|stream| &stream.context);
        if let Some(context) = context {
            let run = context.run(&mut cursor, &mut self.sink);
            run.map_err(|stop| (stop, "the context of a packet"))?;
        }
        Ok(cursor.at)
    }

    fn check_sizes(&mut self, end: u64, rest_bits: u64) -> Result<(), Error> {
        let roles = &self.sink.roles;
        let packet = roles.packet_bits.or(roles.content_bits).unwrap_or(rest_bits);
        let content = roles.content_bits.unwrap_or(packet);
        if packet > rest_bits {
            let what = format!("a packet of {packet} bits, of which the file has {rest_bits}");
            return Err(self.error(0, what));
        }
        if packet == 0 || !packet.is_multiple_of(8) {
            return Err(self.error(0, format!("a packet of {packet} bits")));
        }
        if content > packet {
            return Err(self.error(0, format!("a packet of {packet} bits with a content of {content} bits")));
        }
        if content < end {
            return Err(self.error(0, format!("a packet with a content of {content} bits and a header of {end}")));
        }
        (self.packet_bits, self.content_bits) = (packet, content);
        Ok(())
    }

    /// Counts what was lost between the packet before and this one (CTF 1.8, section 5.2: events_discarded, packet_seq_num).
    fn count_lost(&mut self) {
        let roles = &self.sink.roles;
        let begin = roles.clock.filter(|_| roles.begins).and_then(|value| self.time(value));
        let end = roles.packet_end.map(|(value, bits)| wrap(roles.clock.unwrap_or(0), value, bits));
        let end = end.and_then(|value| self.time(value));
        let since = |before: u64, (now, bits): (u64, u32)| {
            let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
            now.wrapping_sub(before) & mask
        };
        let events = roles.discarded.map_or(0, |now| since(self.before.discarded.unwrap_or(0), now));
        let packets = match (self.before.sequence, roles.sequence) {
            (Some(before), Some(now)) => since(before.wrapping_add(1), now),
            _ => 0,
        };
        // A number that went back is a stream that began again, or damage: it says nothing of a loss.
        let packets = if packets > u64::from(u32::MAX) { 0 } else { packets };
        if packets > 0 {
            self.lost.add(LostInterval { from_ns: self.before.end_ns, to_ns: begin, events: None, packets });
        }
        if events > 0 {
            let from_ns = self.before.end_ns.or(begin);
            self.lost.add(LostInterval { from_ns, to_ns: end.or(begin), events: Some(events), packets: 0 });
        }
        self.before = Before {
            discarded: roles.discarded.map(|found| found.0).or(self.before.discarded),
            sequence: roles.sequence.map(|found| found.0).or(self.before.sequence),
            end_ns: end.or(begin).or(self.before.end_ns),
        };
    }

    /// Finds the next event that is asked for; false at the end.
    pub(crate) fn advance(&mut self, plan: &TracePlan) -> Result<bool, Error> {
        self.head = None;
        loop {
            let Some(stream) = plan.streams.get(self.class) else { return Ok(false) };
            let begin = self.at.next_multiple_of(u64::from(stream.header_align.max(1)));
            if begin >= self.content_bits {
                if !self.next_packet(plan)? {
                    return Ok(false);
                }
                continue;
            }
            let clock = self.sink.roles.clock;
            let (from, base) = self.view();
            if base > self.at {
                self.refill(self.at, "an event")?;
                continue;
            }
            let window = self.window.get(from..).unwrap_or_default();
            let mut cursor = Cursor { window, base, at: self.at, end: self.content_bits };
            if let Err(stop) = stream.header.run(&mut cursor, &mut self.sink) {
                if stop != Stop::Window {
                    return Err(self.stopped(stop, self.at, "the header of an event"));
                }
                self.sink.roles.clock = clock;
                self.refill(self.at, "an event")?;
                continue;
            }
            let body_at = cursor.at;
            let id = self.sink.roles.event_class;
            let Some((index, event)) = stream.event(id).and_then(|index| Some((index, stream.plan(index)?))) else {
                return Err(self.error(self.at, format!("an event of class {id}, which the metadata do not have")));
            };
            if event.which.is_some() {
                let clock_value = self.sink.roles.clock.unwrap_or(0);
                let time_ns = match &self.clock {
                    Some(timing) => timing.time_ns(clock_value),
                    None => Some(0),
                };
                let time_ns =
                    time_ns.ok_or_else(|| self.error(self.at, "an event at a time that does not fit in 64 bits"))?;
                self.head = Some(Head { time_ns, clock_value, plan: index, body_at });
                return Ok(true);
            }
            let skipped = event.body.iter().try_for_each(|part| part.run(&mut cursor, &mut self.sink));
            match skipped {
                Ok(()) if cursor.at == self.at => return Err(self.error(self.at, "an event without a bit")),
                Ok(()) => self.at = cursor.at,
                Err(Stop::Window) => {
                    self.sink.roles.clock = clock;
                    self.refill(self.at, "an event")?;
                }
                Err(stop) => return Err(self.stopped(stop, self.at, "an event")),
            }
        }
    }

    /// Reads the values of the event that was found, and goes behind it.
    pub(crate) fn read(&mut self, plan: &TracePlan, head: &Head) -> Result<(), Error> {
        let stream = plan.streams.get(self.class);
        let Some(event) = stream.and_then(|stream| stream.plan(head.plan)) else { return Ok(()) };
        loop {
            self.sink.out.fill(Raw::Missing);
            let (from, base) = self.view();
            let window = self.window.get(from..).unwrap_or_default();
            let mut cursor = Cursor { window, base, at: head.body_at, end: self.content_bits };
            let run = event.body.iter().try_for_each(|part| part.run(&mut cursor, &mut self.sink));
            match run {
                Ok(()) if cursor.at == self.at => return Err(self.error(self.at, "an event without a bit")),
                Ok(()) => {
                    self.at = cursor.at;
                    return Ok(());
                }
                Err(Stop::Window) => self.refill(head.body_at, "an event")?,
                Err(stop) => return Err(self.stopped(stop, self.at, "an event")),
            }
        }
    }
}
