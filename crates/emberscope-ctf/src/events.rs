//! Events of any number of streams in the order of time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

use crate::error::Error;
use crate::lost::LostStream;
use crate::metadata::class::Structure;
use crate::metadata::{EventClass, StreamClass};
use crate::plan::{EventPlan, Selection, Source, TracePlan};
use crate::program::Raw;
use crate::record::Record;
use crate::stream::{Head, Stream};
use crate::trace::Trace;
use crate::value::Value;

/// Reads events of traces, merged by time; at equal times by the order of traces, then of streams' files.
pub struct Events<'t> {
    plans: Vec<TracePlan>,
    streams: Vec<Stream<'t>>,
    /// The next event of each stream but the current one.
    waiting: BinaryHeap<Reverse<(i64, usize)>>,
    current: Option<usize>,
    /// Faults of streams that were not told yet, the last first.
    faults: Vec<Error>,
    /// Streams that could not be opened.
    unopened: Vec<LostStream>,
}

impl<'t> Events<'t> {
    /// Prepares to read what is selected. Streams that cannot be read are told by [`Events::next`].
    pub fn open(traces: &'t [Trace], selection: &Selection) -> Self {
        let plans: Vec<TracePlan> = traces.iter().map(|trace| TracePlan::of(&trace.metadata, selection)).collect();
        let mut events = Self {
            plans,
            streams: Vec::new(),
            waiting: BinaryHeap::new(),
            current: None,
            faults: Vec::new(),
            unopened: Vec::new(),
        };
        for (index, trace) in traces.iter().enumerate() {
            let mut parts: BTreeMap<(usize, u64), Vec<Stream<'t>>> = BTreeMap::new();
            for path in &trace.files {
                let Some(plan) = events.plans.get(index) else { continue };
                match Stream::open(trace, index, path.clone(), plan) {
                    Ok(stream) => match stream.instance {
                        Some(instance) => parts.entry((stream.class, instance)).or_default().push(stream),
                        None => events.streams.push(stream),
                    },
                    Err(error) => {
                        let mut lost = LostStream::new(path.clone());
                        lost.broken = Some(error.to_string());
                        events.unopened.push(lost);
                        events.faults.push(error);
                    }
                }
            }
            for mut of_stream in parts.into_values() {
                of_stream.sort_by_key(Stream::begins_ns);
                let mut rest = of_stream.into_iter();
                let Some(mut first) = rest.next() else { continue };
                rest.for_each(|later| first.append(later));
                events.streams.push(first);
            }
        }
        for index in 0..events.streams.len() {
            if let Some(time) = events.advance(index) {
                events.waiting.push(Reverse((time, index)));
            }
        }
        events.faults.reverse();
        events
    }

    /// Finds the next event of a stream, and gives its time.
    fn advance(&mut self, index: usize) -> Option<i64> {
        let stream = self.streams.get_mut(index)?;
        let plan = self.plans.get(stream.trace_index)?;
        match stream.advance(plan) {
            Ok(_) => stream.head.map(|head| head.time_ns),
            Err(error) => {
                stream.lost.broken = Some(error.to_string());
                self.faults.push(error);
                None
            }
        }
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    ///
    /// When a stream is not what the metadata say. The rest of that stream is not read; the others go on with the next call.
    #[expect(clippy::should_implement_trait, reason = "events borrow the reader's buffers")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        if let Some(index) = self.current.take()
            && let Some(time) = self.advance(index)
        {
            // A stream has many events in a row: no need to go through the heap.
            if self.waiting.peek().is_none_or(|Reverse(first)| (time, index) < *first) {
                return self.give(index);
            }
            self.waiting.push(Reverse((time, index)));
        }
        if let Some(error) = self.faults.pop() {
            return Err(error);
        }
        let Some(Reverse((_, index))) = self.waiting.pop() else { return Ok(None) };
        self.give(index)
    }

    fn give(&mut self, index: usize) -> Result<Option<Event<'_>>, Error> {
        self.current = Some(index);
        let Some(stream) = self.streams.get_mut(index) else { return Ok(None) };
        let (Some(head), Some(plan)) = (stream.head, self.plans.get(stream.trace_index)) else { return Ok(None) };
        if let Err(error) = stream.read(plan, &head) {
            stream.lost.broken = Some(error.to_string());
            self.current = None;
            return Err(error);
        }
        let Some(event) = plan.streams.get(stream.class).and_then(|plan| plan.plan(head.plan)) else { return Ok(None) };
        Ok(Some(Event { plan: event, stream_index: index, head, stream }))
    }

    /// What has been found lost up to here: streams with a loss alone.
    pub fn lost(&self) -> Vec<&LostStream> {
        let of_streams = self.streams.iter().map(|stream| &stream.lost);
        let is_loss = |lost: &&LostStream| !lost.intervals.is_empty() || lost.broken.is_some();
        self.unopened.iter().chain(of_streams).filter(is_loss).collect()
    }
}

/// An event; its values are places in the reader's buffers.
pub struct Event<'a> {
    plan: &'a EventPlan,
    stream: &'a Stream<'a>,
    stream_index: usize,
    head: Head,
}

impl<'a> Event<'a> {
    /// Its number in the selection; 0 where all were asked for.
    pub fn which(&self) -> usize {
        self.plan.which.unwrap_or(0)
    }

    /// Which of the traces it is of, from 0.
    pub fn trace(&self) -> usize {
        self.stream.trace_index
    }

    /// Which of the streams it is of, from 0.
    pub fn stream(&self) -> usize {
        self.stream_index
    }

    /// The file that its stream begins with.
    pub fn path(&self) -> &'a Path {
        &self.stream.lost.path
    }

    /// Its time in ns since 1970, or since its clock's origin where that is another; 0 without a clock.
    pub fn time_ns(&self) -> i64 {
        self.head.time_ns
    }

    /// The clock's value.
    pub fn clock_value(&self) -> u64 {
        self.head.clock_value
    }

    /// Whether its stream has a clock, without which times say nothing.
    pub fn has_clock(&self) -> bool {
        self.stream_class().is_some_and(|class| class.clock.is_some())
    }

    fn stream_class(&self) -> Option<&'a StreamClass> {
        self.stream.trace.metadata.streams.get(self.stream.class)
    }

    /// The fields of the context that all events of its stream have.
    pub fn common_context(&self) -> Option<&'a Structure> {
        self.stream_class().map(|class| &class.event_context)
    }

    /// Its class.
    pub fn class(&self) -> Option<&'a EventClass> {
        self.stream_class()?.events.get(self.plan.class)
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.class().map_or("", |class| &class.name)
    }

    /// The value of a field by its place in what was asked for.
    pub fn value(&self, index: usize) -> Value<'_> {
        let raw = match self.plan.sources.get(index) {
            Some(Source::Event(place)) => self.stream.sink.out.get(usize::from(*place)),
            Some(Source::Packet(place)) => match self.stream.packet_values.get(usize::from(*place)) {
                // Their bytes may not be in the window any more.
                Some(Raw::Text(..) | Raw::Bytes(..)) => None,
                other => other,
            },
            None => None,
        };
        let bytes = |from: usize, to: usize| self.stream.window().get(from..to).unwrap_or_default();
        match raw {
            None | Some(Raw::Missing) => Value::Missing,
            Some(Raw::Unsigned(value)) => Value::Unsigned(*value),
            Some(Raw::Signed(value)) => Value::Signed(*value),
            Some(Raw::Float(value)) => Value::Float(*value),
            Some(Raw::Text(from, to)) => Value::text(bytes(*from, *to)),
            Some(Raw::Bytes(from, to)) => Value::Bytes(bytes(*from, *to)),
        }
    }

    /// All its fields: contexts and payload.
    ///
    /// # Errors
    ///
    /// When a text is not of the encoding that the metadata say, or there are more than 4,000,000 fields.
    pub fn record(&self) -> Result<Record, Error> {
        Record::of(self.stream, &self.head, self.class())
    }
}
