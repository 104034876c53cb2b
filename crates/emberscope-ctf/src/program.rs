//! The steps that field classes are compiled into, and running them.
//!
//! What has a fixed layout becomes one step that checks its bounds once and loads the integers that somebody wants; the rest of
//! it costs nothing.

use crate::bits;
use crate::metadata::class::{ByteOrder, Length, Reference, Role};

/// A value as it was read; texts and bytes are places in the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw {
    Missing,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Bytes from and to, in the window.
    Text(usize, usize),
    Bytes(usize, usize),
}

/// Why steps stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The window ends; there may be more behind it.
    Window,
    /// The packet ends.
    Packet,
    /// A selector has a value that no option has.
    Selector,
    /// A LEB128 integer of more than 64 bits.
    Leb128,
    /// The magic number is another.
    Magic,
    /// A text of an encoding that is not what it says.
    Size,
    /// More fields than are shown.
    Fields,
}

/// What roles tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    pub(crate) event_class: u64,
    pub(crate) clock: Option<u64>,
    pub(crate) stream_class: Option<u64>,
    pub(crate) stream: Option<u64>,
    pub(crate) packet_bits: Option<u64>,
    pub(crate) content_bits: Option<u64>,
    /// The value and its width in bits.
    pub(crate) discarded: Option<(u64, u32)>,
    pub(crate) sequence: Option<(u64, u32)>,
    /// The clock at the packet's end, of as many bits as the field has.
    pub(crate) packet_end: Option<(u64, u32)>,
    pub(crate) begins: bool,
}

/// Where values go.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) slots: Vec<u64>,
    pub(crate) out: Vec<Raw>,
    pub(crate) roles: Roles,
}

/// A place in the window of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) window: &'a [u8],
    /// Bit of the packet with which the window begins; whole bytes.
    pub(crate) base: u64,
    /// Bit of the packet.
    pub(crate) at: u64,
    /// Bits of the packet's content.
    pub(crate) end: u64,
}

impl Cursor<'_> {
    fn stop(&self) -> Stop {
        let window_end = self.base + self.window.len() as u64 * 8;
        if window_end < self.end { Stop::Window } else { Stop::Packet }
    }

    #[inline]
    fn index(&self) -> usize {
        (self.at - self.base) as usize
    }

    /// Moves to the next multiple of a power of two.
    #[inline]
    pub(crate) fn align(&mut self, align: u32) {
        self.at = self.at.next_multiple_of(u64::from(align.max(1)));
    }

    /// Checks that so many bits are there.
    #[inline]
    pub(crate) fn check(&self, bits: u64) -> Result<(), Stop> {
        let end = self.at.checked_add(bits).ok_or(Stop::Packet)?;
        if end > self.end {
            return Err(Stop::Packet);
        }
        if end > self.base + self.window.len() as u64 * 8 { Err(Stop::Window) } else { Ok(()) }
    }

    pub(crate) fn bits(&mut self, bits: u32, order: ByteOrder) -> Result<u64, Stop> {
        self.check(u64::from(bits))?;
        let value = bits::read(self.window, self.index(), bits, order).ok_or_else(|| self.stop())?;
        self.at += u64::from(bits);
        Ok(value)
    }

    /// Takes bytes; gives their place in the window.
    pub(crate) fn bytes(&mut self, count: u64) -> Result<(usize, usize), Stop> {
        self.check(count.checked_mul(8).ok_or(Stop::Packet)?)?;
        let from = self.index() / 8;
        self.at += count * 8;
        Ok((from, from + count as usize))
    }

    /// Takes a text up to its null; gives its place in the window without it.
    pub(crate) fn string(&mut self, unit: usize) -> Result<(usize, usize), Stop> {
        let from = self.index() / 8;
        let content = ((self.end.max(self.at) - self.at) / 8) as usize;
        let rest = self.window.get(from..).unwrap_or_default();
        let rest = &rest[..rest.len().min(content)];
        let length = if unit == 1 {
            rest.iter().position(|&byte| byte == 0)
        } else {
            rest.chunks_exact(unit).position(|unit| unit.iter().all(|&byte| byte == 0)).map(|units| units * unit)
        };
        let length = length.ok_or(if rest.len() == content { Stop::Packet } else { Stop::Window })?;
        self.at += (length + unit) as u64 * 8;
        Ok((from, from + length))
    }

    pub(crate) fn leb128(&mut self) -> Result<(u64, u32), Stop> {
        let from = self.index() / 8;
        let content = ((self.end.max(self.at) - self.at) / 8) as usize;
        let rest = self.window.get(from..).unwrap_or_default();
        let rest = &rest[..rest.len().min(content)];
        match bits::leb128(rest) {
            Some((value, bits, bytes)) => {
                self.at += bytes as u64 * 8;
                Ok((value, bits))
            }
            None if rest.len() >= 10 => Err(Stop::Leb128),
            None => Err(if rest.len() == content { Stop::Packet } else { Stop::Window }),
        }
    }
}

/// An integer that is wanted, at a place in a fixed layout.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) at: u32,
    pub(crate) bits: u32,
    pub(crate) signed: bool,
    pub(crate) float: bool,
    pub(crate) order: ByteOrder,
    pub(crate) slot: Option<u16>,
    pub(crate) out: Option<u16>,
    pub(crate) roles: Box<[Role]>,
}

#[derive(Debug, Clone)]
pub(crate) enum Count {
    Fixed(u64),
    Slot(u16),
}

impl Count {
    pub(crate) fn of(length: &Length) -> Self {
        match length {
            Length::Fixed(count) => Self::Fixed(*count),
            Length::Of(Reference::Slot(slot)) => Self::Slot(*slot),
            // Resolved before anything is compiled.
            Length::Of(_) => Self::Fixed(0),
        }
    }

    fn get(&self, sink: &Sink) -> u64 {
        match self {
            Self::Fixed(count) => *count,
            Self::Slot(slot) => sink.slots.get(usize::from(*slot)).copied().unwrap_or(0),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) ranges: Vec<(i128, i128)>,
    pub(crate) body: Program,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Align(u32),
    /// A fixed layout of so many bits.
    Run {
        bits: u32,
        loads: Box<[Load]>,
    },
    String {
        unit: usize,
        out: Option<u16>,
    },
    Leb128 {
        signed: bool,
        slot: Option<u16>,
        out: Option<u16>,
        roles: Box<[Role]>,
    },
    Bytes {
        count: Count,
        text: bool,
        out: Option<u16>,
    },
    /// Elements of equal size that nobody wants: bits of one with its padding, bits of the last.
    Elements {
        count: Count,
        align: u32,
        stride: u64,
        bits: u64,
    },
    Repeat {
        count: Count,
        body: Program,
    },
    Variant {
        slot: u16,
        signed: bool,
        options: Vec<Case>,
    },
    Optional {
        slot: u16,
        signed: bool,
        ranges: Option<Vec<(i128, i128)>>,
        body: Program,
    },
}

/// Steps one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program(pub(crate) Vec<Step>);

impl Program {
    /// Runs the steps.
    pub(crate) fn run(&self, cursor: &mut Cursor<'_>, sink: &mut Sink) -> Result<(), Stop> {
        for step in &self.0 {
            match step {
                Step::Align(align) => cursor.align(*align),
                Step::Run { bits, loads } => {
                    cursor.check(u64::from(*bits))?;
                    let index = cursor.index();
                    for load in loads {
                        load.run(cursor.window, index, sink)?;
                    }
                    cursor.at += u64::from(*bits);
                }
                Step::String { unit, out } => {
                    let (from, to) = cursor.string(*unit)?;
                    put(sink, *out, Raw::Text(from, to));
                }
                Step::Leb128 { signed, slot, out, roles } => {
                    let (value, bits) = cursor.leb128()?;
                    let value = if *signed { bits::sign(value, bits) as u64 } else { value };
                    save(sink, *slot, value);
                    put(sink, *out, if *signed { Raw::Signed(value as i64) } else { Raw::Unsigned(value) });
                    for role in roles {
                        sink.roles.set(*role, value, 64)?;
                    }
                }
                Step::Bytes { count, text, out } => {
                    let (from, to) = cursor.bytes(count.get(sink))?;
                    let found = cursor.window.get(from..to).unwrap_or_default();
                    let text_end = || from + found.iter().position(|&byte| byte == 0).unwrap_or(found.len());
                    put(sink, *out, if *text { Raw::Text(from, text_end()) } else { Raw::Bytes(from, to) });
                }
                Step::Elements { count, align, stride, bits } => {
                    let count = count.get(sink);
                    if count > 0 {
                        cursor.align(*align);
                        let all = stride.checked_mul(count - 1).and_then(|most| most.checked_add(*bits));
                        let all = all.ok_or(Stop::Packet)?;
                        cursor.check(all)?;
                        cursor.at += all;
                    }
                }
                Step::Repeat { count, body } => {
                    for _ in 0..count.get(sink) {
                        let before = cursor.at;
                        body.run(cursor, sink)?;
                        // An element without bits leaves all others without.
                        if cursor.at == before {
                            break;
                        }
                    }
                }
                Step::Variant { slot, signed, options } => {
                    let value = selector(sink, *slot, *signed);
                    let option = options.iter().find(|option| within(&option.ranges, value));
                    option.ok_or(Stop::Selector)?.body.run(cursor, sink)?;
                }
                Step::Optional { slot, signed, ranges, body } => {
                    let value = selector(sink, *slot, *signed);
                    if ranges.as_ref().map_or(value != 0, |ranges| within(ranges, value)) {
                        body.run(cursor, sink)?;
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn selector(sink: &Sink, slot: u16, signed: bool) -> i128 {
    let value = sink.slots.get(usize::from(slot)).copied().unwrap_or(0);
    if signed { i128::from(value as i64) } else { i128::from(value) }
}

pub(crate) fn within(ranges: &[(i128, i128)], value: i128) -> bool {
    ranges.iter().any(|&(low, high)| (low..=high).contains(&value))
}

#[inline]
fn put(sink: &mut Sink, out: Option<u16>, value: Raw) {
    if let Some(place) = out.and_then(|out| sink.out.get_mut(usize::from(out))) {
        *place = value;
    }
}

#[inline]
pub(crate) fn save(sink: &mut Sink, slot: Option<u16>, value: u64) {
    if let Some(place) = slot.and_then(|slot| sink.slots.get_mut(usize::from(slot))) {
        *place = value;
    }
}

impl Load {
    #[inline]
    fn run(&self, window: &[u8], index: usize, sink: &mut Sink) -> Result<(), Stop> {
        let value = bits::read(window, index + self.at as usize, self.bits, self.order).ok_or(Stop::Packet)?;
        if self.float {
            let float = if self.bits == 32 { f64::from(f32::from_bits(value as u32)) } else { f64::from_bits(value) };
            put(sink, self.out, Raw::Float(float));
            return Ok(());
        }
        let signed = bits::sign(value, self.bits);
        save(sink, self.slot, if self.signed { signed as u64 } else { value });
        put(sink, self.out, if self.signed { Raw::Signed(signed) } else { Raw::Unsigned(value) });
        for &role in &self.roles {
            sink.roles.set(role, value, self.bits)?;
        }
        Ok(())
    }
}

impl Roles {
    pub(crate) fn set(&mut self, role: Role, value: u64, bits: u32) -> Result<(), Stop> {
        match role {
            Role::Magic if value != 0xc1fc_1fc1 => return Err(Stop::Magic),
            Role::Magic => {}
            Role::StreamClassId => self.stream_class = Some(value),
            Role::StreamId => self.stream = Some(value),
            Role::EventClassId => self.event_class = value,
            Role::Timestamp => {
                self.begins = true;
                self.clock = Some(wrap(self.clock.unwrap_or(0), value, bits));
            }
            Role::PacketEnd => self.packet_end = Some((value, bits)),
            Role::PacketBits => self.packet_bits = Some(value),
            Role::ContentBits => self.content_bits = Some(value),
            Role::DiscardedEvents => self.discarded = Some((value, bits)),
            Role::SequenceNumber => self.sequence = Some((value, bits)),
        }
        Ok(())
    }
}

/// The clock's value after one of which only the lower bits were written: the next that has them (CTF 1.8, section 8).
#[inline]
pub(crate) fn wrap(clock: u64, value: u64, bits: u32) -> u64 {
    if bits >= 64 {
        return value;
    }
    let mask = (1_u64 << bits) - 1;
    let value = value & mask;
    let high = clock & !mask;
    if value < clock & mask { (high | value).wrapping_add(mask + 1) } else { high | value }
}
