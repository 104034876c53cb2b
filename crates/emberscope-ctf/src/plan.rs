//! What is read of the events of a trace: programs for a selection.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::Wanted;
use crate::metadata::Metadata;
use crate::program::Program;

/// The events and fields that somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    events: Vec<(String, Vec<String>)>,
    all: bool,
}

impl Selection {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every event; fields are had from [`crate::Event::record`].
    pub fn all() -> Self {
        Self { events: Vec::new(), all: true }
    }

    /// Asks for the events of a name, and gives the number by which [`crate::Event::which`] tells them: from 0.
    ///
    /// A field is the path of a payload's field (`prev_tid`, `header.id`), `context.NAME` for one of either context of events, or
    /// `packet.NAME` for a number of the packet's context.
    pub fn event(&mut self, name: &str, fields: &[&str]) -> usize {
        self.events.push((name.to_owned(), fields.iter().map(|&field| field.to_owned()).collect()));
        self.events.len() - 1
    }
}

/// Where the value of a field is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Event(u16),
    Packet(u16),
}

#[derive(Debug)]
pub(crate) struct EventPlan {
    /// The number in the selection; `None` for what nobody asks for.
    pub(crate) which: Option<usize>,
    /// Index of the class in its stream class.
    pub(crate) class: usize,
    pub(crate) sources: Vec<Source>,
    /// Contexts and payload.
    pub(crate) body: Vec<Arc<Program>>,
}

#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) context: Program,
    pub(crate) header: Program,
    pub(crate) header_align: u32,
    events: Vec<EventPlan>,
    small: Vec<u32>,
    large: HashMap<u64, u32>,
}

/// Members of a common context that is compiled together with each event's fields: one step less for each event that is read.
const FEW: usize = 64;
const NONE: u32 = u32::MAX;
const SMALL: u64 = 1 << 16;

impl StreamPlan {
    /// The plan of an event class by its id.
    #[inline]
    pub(crate) fn event(&self, id: u64) -> Option<usize> {
        let index = if id < SMALL { self.small.get(id as usize) } else { self.large.get(&id) };
        index.copied().filter(|&index| index != NONE).map(|index| index as usize)
    }

    pub(crate) fn plan(&self, index: usize) -> Option<&EventPlan> {
        self.events.get(index)
    }
}

/// Programs for a trace.
#[derive(Debug)]
pub(crate) struct TracePlan {
    pub(crate) header: Program,
    pub(crate) streams: Vec<StreamPlan>,
    /// Fields of packets' contexts that are asked for.
    pub(crate) packet_fields: usize,
    pub(crate) event_fields: usize,
}

impl TracePlan {
    pub(crate) fn of(metadata: &Metadata, selection: &Selection) -> Self {
        let signed = &metadata.slots;
        let mut packet: Vec<&str> = Vec::new();
        for (_, fields) in &selection.events {
            packet.extend(fields.iter().filter_map(|field| field.strip_prefix("packet.")));
        }
        packet.sort_unstable();
        packet.dedup();
        let none = |_: &[&str]| None;
        let header = Program::of(&metadata.packet_header, &none, signed);
        let of_packet = |path: &[&str]| packet.binary_search(&path.join(".").as_str()).ok().map(|index| index as u16);
        let mut streams = Vec::with_capacity(metadata.streams.len());
        for stream in &metadata.streams {
            let mut plan = StreamPlan {
                context: Program::of(&stream.packet_context, &of_packet, signed),
                header: Program::of(&stream.event_header, &none, signed),
                header_align: stream.event_header.full_align(),
                events: Vec::new(),
                small: Vec::new(),
                large: HashMap::new(),
            };
            let mut commons: HashMap<Option<usize>, Arc<Program>> = HashMap::new();
            for (index, class) in stream.events.iter().enumerate() {
                let chosen = selection.events.iter().position(|(name, _)| *name == class.name);
                let fields = chosen.and_then(|which| selection.events.get(which)).map_or(&[][..], |event| &event.1);
                let wanted = |scope: &'static str| {
                    move |path: &[&str]| {
                        let name = path.join(".");
                        let found = fields.iter().position(|field| {
                            if scope.is_empty() { *field == name } else { field.strip_prefix(scope) == Some(&name) }
                        });
                        found.map(|index| index as u16)
                    }
                };
                let (context, payload) = (wanted("context."), wanted(""));
                let common: (_, Wanted<'_>) = (&stream.event_context, &context);
                let own: [(_, Wanted<'_>); 2] = [(&class.context, &context), (&class.payload, &payload)];
                let body = if chosen.is_some() && common.0.members.len() <= FEW {
                    vec![Arc::new(Program::of_all(&[common, own[0], own[1]], signed))]
                } else {
                    let common = commons.entry(chosen).or_insert_with(|| Arc::new(Program::of_all(&[common], signed)));
                    vec![Arc::clone(common), Arc::new(Program::of_all(&own, signed))]
                };
                let source = |(index, field): (usize, &String)| {
                    let of_packet = field.strip_prefix("packet.").and_then(|name| packet.binary_search(&name).ok());
                    of_packet.map_or(Source::Event(index as u16), |index| Source::Packet(index as u16))
                };
                let sources = fields.iter().enumerate().map(source).collect();
                let which = chosen.or(selection.all.then_some(0));
                let place = plan.events.len() as u32;
                plan.events.push(EventPlan { which, class: index, sources, body });
                if class.id < SMALL {
                    let least = class.id as usize + 1;
                    plan.small.resize(plan.small.len().max(least), NONE);
                    plan.small[class.id as usize] = place;
                } else {
                    plan.large.insert(class.id, place);
                }
            }
            streams.push(plan);
        }
        let event_fields = selection.events.iter().map(|event| event.1.len()).max().unwrap_or(0);
        Self { header, streams, packet_fields: packet.len(), event_fields }
    }
}
