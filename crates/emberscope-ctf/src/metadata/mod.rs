//! What a trace says of itself: its clocks, its streams, and how every event is laid out.

pub(crate) mod class;
mod json;
mod lexer;
mod packets;
mod resolve;
mod roles;
mod tsdl;
mod tsdl_types;

use std::path::Path;

use class::{ByteOrder, Class, Scope, Structure};

use crate::error::{Error, Fault};

/// The most field classes that the metadata of one trace may have when every alias is written out.
const MAX_CLASSES: usize = 1_000_000;
/// The deepest nesting of blocks and field classes.
const MAX_DEPTH: usize = 64;
/// The most clocks.
const MAX_CLOCKS: usize = 1024;
/// The most bytes of metadata: those of a kernel with all its tracepoints and system calls are some 4 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// The most tokens of TSDL: some 50 bytes of memory each.
const MAX_TOKENS: usize = 4 << 20;

/// A clock, and how its values become times.
#[derive(Debug, Clone, PartialEq)]
pub struct Clock {
    /// Its name, or id in CTF 2.
    pub name: String,
    /// Values per second.
    pub frequency: u64,
    /// Seconds from the origin to the value 0.
    pub offset_s: i64,
    /// Values from there, to be added.
    pub offset_cycles: i64,
    /// How exact it is, in values.
    pub precision: Option<u64>,
    /// What it is.
    pub description: Option<String>,
    /// Clocks of one UUID are one clock.
    pub uuid: Option<String>,
    /// Whether the origin is 1970-01-01 UTC.
    pub absolute: bool,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            name: String::new(),
            frequency: 1_000_000_000,
            offset_s: 0,
            offset_cycles: 0,
            precision: None,
            description: None,
            uuid: None,
            absolute: false,
        }
    }
}

impl Clock {
    /// The time of a value in ns from the origin; `None` when it does not fit in 64 bits.
    pub fn time_ns(&self, value: u64) -> Option<i64> {
        let cycles = i128::from(value) + i128::from(self.offset_cycles);
        let ns = if self.frequency == 1_000_000_000 {
            cycles
        } else {
            (cycles * 1_000_000_000).div_euclid(i128::from(self.frequency))
        };
        i64::try_from(i128::from(self.offset_s) * 1_000_000_000 + ns).ok()
    }
}

/// A value of the trace's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentValue {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// A kind of event.
#[derive(Debug, Clone)]
pub struct EventClass {
    /// Its id in its stream class.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The id of its stream class.
    pub stream_class: u64,
    pub(crate) context: Structure,
    pub(crate) payload: Structure,
}

impl EventClass {
    /// The fields of the payload.
    pub fn payload(&self) -> &Structure {
        &self.payload
    }

    /// The fields of its own context.
    pub fn context(&self) -> &Structure {
        &self.context
    }
}

/// Streams that are laid out alike.
#[derive(Debug, Clone, Default)]
pub struct StreamClass {
    /// Its id.
    pub id: u64,
    pub(crate) packet_context: Structure,
    pub(crate) event_header: Structure,
    pub(crate) event_context: Structure,
    /// In the order of their ids.
    pub(crate) events: Vec<EventClass>,
    pub(crate) clock: Option<usize>,
}

impl StreamClass {
    pub(crate) fn scope_mut(&mut self, scope: Scope) -> Option<&mut Structure> {
        match scope {
            Scope::PacketContext => Some(&mut self.packet_context),
            Scope::EventHeader => Some(&mut self.event_header),
            Scope::StreamEventContext => Some(&mut self.event_context),
            Scope::PacketHeader | Scope::EventContext | Scope::Payload => None,
        }
    }
}

/// The metadata of a trace.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) order: ByteOrder,
    pub(crate) uuid: Option<[u8; 16]>,
    pub(crate) environment: Vec<(String, EnvironmentValue)>,
    pub(crate) clocks: Vec<Clock>,
    pub(crate) packet_header: Structure,
    pub(crate) streams: Vec<StreamClass>,
    /// The integers that other fields refer to: whether each is signed.
    pub(crate) slots: Vec<bool>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            order: ByteOrder::Little,
            uuid: None,
            environment: Vec::new(),
            clocks: Vec::new(),
            packet_header: Structure::default(),
            streams: Vec::new(),
            slots: Vec::new(),
        }
    }
}

impl Metadata {
    /// Reads the metadata of the trace in a folder.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let size = std::fs::metadata(path).map_err(|source| Error::io(path, source))?.len();
        if size > MAX_BYTES {
            return Err(Error::stream(path, MAX_BYTES, "metadata of more than 32 MiB"));
        }
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        Self::from_bytes(&bytes, path)
    }

    /// Understands metadata: packetised or plain, TSDL or CTF 2.
    pub(crate) fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let (text, order) =
            packets::text(bytes).map_err(|fault| Error::stream(path, fault.offset as u64, fault.what))?;
        let parsed = if text.trim_start().starts_with('\u{1e}') || text.trim_start().starts_with('{') {
            json::parse(&text)
        } else {
            tsdl::parse(&text, order)
        };
        parsed.and_then(resolve::resolve).map_err(|fault| fault.at(path, &text))
    }

    pub(crate) fn stream_class(&self, id: u64) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }
}

/// Refuses metadata whose aliases, written out, are too many classes.
#[derive(Debug, Default)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn spend(&mut self, class: &Class, offset: usize) -> Result<(), Fault> {
        let (size, depth) = class.extent();
        if depth > MAX_DEPTH {
            return Err(Fault::new(offset, format!("nested more than {MAX_DEPTH} deep")));
        }
        self.0 = self.0.saturating_add(size);
        if self.0 > MAX_CLASSES {
            return Err(Fault::new(offset, format!("more than {MAX_CLASSES} field classes")));
        }
        Ok(())
    }
}
