//! All fields of an event as a tree, for people and for comparison; slow.

use crate::bits;
use crate::error::Error;
use crate::metadata::EventClass;
use crate::metadata::class::{Class, Encoding, Integer, Length, Reference, Structure};
use crate::program::{Cursor, Sink, Stop, save, selector, within};
use crate::stream::{Head, Stream};

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// An unsigned integer with the labels of its value, if it is of an enumeration.
    Unsigned(u64, Option<Vec<String>>),
    /// A signed integer with the labels of its value, if it is of an enumeration.
    Signed(i64, Option<Vec<String>>),
    /// IEEE 754.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Members by name.
    Structure(Vec<(String, Field)>),
    /// Elements, and whether their number is that of the class.
    Array(Vec<Field>),
    /// The option that is there.
    Variant(Box<Field>),
    /// What may be there.
    Optional(Option<Box<Field>>),
}

/// The fields of an event by their roots.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The context that all events of the stream have.
    pub common_context: Field,
    /// The context of this kind of event.
    pub specific_context: Field,
    /// The payload.
    pub payload: Field,
}

impl Record {
    pub(crate) fn of(stream: &Stream<'_>, head: &Head, class: Option<&EventClass>) -> Result<Self, Error> {
        let empty = Structure::default();
        let common = stream.trace.metadata.streams.get(stream.class).map_or(&empty, |stream| &stream.event_context);
        let (specific, payload) = class.map_or((&empty, &empty), |class| (&class.context, &class.payload));
        let mut cursor = stream.body_cursor(head);
        let sink = Sink { slots: stream.sink.slots.clone(), ..Sink::default() };
        let mut sink = Walker { sink, signed: &stream.trace.metadata.slots, fields: 0 };
        let mut read = |structure: &Structure| {
            walk_structure(structure, &mut cursor, &mut sink)
                .map_err(|stop| stream.stopped(stop, head.body_at, "the body of an event"))
        };
        Ok(Self { common_context: read(common)?, specific_context: read(specific)?, payload: read(payload)? })
    }
}

/// The most fields of an event that are shown: a field is some 50 bytes of memory, and may be one bit in the trace.
const MAX_FIELDS: usize = 4_000_000;

struct Walker<'a> {
    sink: Sink,
    signed: &'a [bool],
    fields: usize,
}

fn walk_structure(structure: &Structure, cursor: &mut Cursor<'_>, sink: &mut Walker<'_>) -> Result<Field, Stop> {
    cursor.align(structure.full_align());
    let mut members = Vec::with_capacity(structure.members.len());
    for member in &structure.members {
        members.push((member.name.clone(), walk(&member.class, cursor, sink)?));
    }
    Ok(Field::Structure(members))
}

fn length(length: &Length, sink: &Sink) -> u64 {
    match length {
        Length::Fixed(count) => *count,
        Length::Of(Reference::Slot(slot)) => sink.slots.get(usize::from(*slot)).copied().unwrap_or(0),
        Length::Of(_) => 0,
    }
}

fn slot_of(reference: &Reference) -> u16 {
    match reference {
        Reference::Slot(slot) => *slot,
        Reference::Names { .. } | Reference::Location { .. } => u16::MAX,
    }
}

fn selected(walker: &Walker<'_>, reference: &Reference) -> i128 {
    let slot = slot_of(reference);
    let signed = walker.signed.get(usize::from(slot)).copied().unwrap_or(false);
    selector(&walker.sink, slot, signed)
}

fn walk(class: &Class, cursor: &mut Cursor<'_>, walker: &mut Walker<'_>) -> Result<Field, Stop> {
    walker.fields += 1;
    if walker.fields > MAX_FIELDS {
        return Err(Stop::Fields);
    }
    let sink = &mut walker.sink;
    match class {
        Class::Integer(integer) => walk_integer(integer, cursor, sink),
        Class::Float { bits, align, order } => {
            cursor.align(*align);
            let value = cursor.bits(*bits, *order)?;
            let single = || f64::from(f32::from_bits(value as u32));
            Ok(Field::Float(if *bits == 32 { single() } else { f64::from_bits(value) }))
        }
        Class::String(encoding) => {
            cursor.align(8);
            let (from, to) = cursor.string(encoding.unit())?;
            text(cursor.window.get(from..to).unwrap_or_default(), *encoding).map(Field::Text)
        }
        Class::Structure(structure) => walk_structure(structure, cursor, walker),
        Class::Array(array) => {
            cursor.align(class.align());
            let count = length(&array.length, sink);
            if array.text {
                let (from, to) = cursor.bytes(count)?;
                let bytes = cursor.window.get(from..to).unwrap_or_default();
                let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                return text(bytes.get(..end).unwrap_or_default(), Encoding::Utf8).map(Field::Text);
            }
            let mut elements = Vec::new();
            for _ in 0..count {
                let before = cursor.at;
                elements.push(walk(&array.element, cursor, walker)?);
                if cursor.at == before {
                    break;
                }
            }
            Ok(Field::Array(elements))
        }
        Class::Blob(blob) => {
            cursor.align(8);
            let (from, to) = cursor.bytes(length(&blob.length, sink))?;
            let bytes = cursor.window.get(from..to).unwrap_or_default();
            match blob.encoding {
                None => Ok(Field::Bytes(bytes.to_vec())),
                Some(encoding) => {
                    let unit = encoding.unit();
                    let units = bytes.chunks_exact(unit);
                    let end = units.clone().position(|unit| unit.iter().all(|&byte| byte == 0)).unwrap_or(units.len());
                    text(bytes.get(..end * unit).unwrap_or_default(), encoding).map(Field::Text)
                }
            }
        }
        Class::Variant(variant) => {
            let value = selected(walker, &variant.selector);
            let choice = variant.choices.iter().find(|choice| within(&choice.ranges, value));
            let choice = choice.ok_or(Stop::Selector)?;
            Ok(Field::Variant(Box::new(walk(&choice.member.class, cursor, walker)?)))
        }
        Class::Optional(optional) => {
            let value = selected(walker, &optional.selector);
            let is_there = optional.ranges.as_ref().map_or(value != 0, |ranges| within(ranges, value));
            let field = if is_there { Some(Box::new(walk(&optional.class, cursor, walker)?)) } else { None };
            Ok(Field::Optional(field))
        }
    }
}

fn walk_integer(integer: &Integer, cursor: &mut Cursor<'_>, sink: &mut Sink) -> Result<Field, Stop> {
    cursor.align(integer.align);
    let (value, bits) =
        if integer.bits == 0 { cursor.leb128()? } else { (cursor.bits(integer.bits, integer.order)?, integer.bits) };
    let signed = bits::sign(value, bits);
    save(sink, integer.slot, if integer.signed { signed as u64 } else { value });
    let number = if integer.signed { i128::from(signed) } else { i128::from(value) };
    let labels = integer.mappings.as_ref().map(|mappings| {
        let of_value = mappings.iter().filter(|mapping| (mapping.low..=mapping.high).contains(&number));
        of_value.map(|mapping| mapping.label.clone()).collect()
    });
    Ok(if integer.signed { Field::Signed(signed, labels) } else { Field::Unsigned(value, labels) })
}

fn text(bytes: &[u8], encoding: Encoding) -> Result<String, Stop> {
    let units16 = |order: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| order([unit[0], unit[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    let units32 = |order: fn([u8; 4]) -> u32| {
        let unit = |unit: &[u8]| char::from_u32(order([unit[0], unit[1], unit[2], unit[3]])).ok_or(Stop::Size);
        bytes.chunks_exact(4).map(unit).collect::<Result<String, Stop>>()
    };
    match encoding {
        Encoding::Utf8 => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Encoding::Utf16Le => Ok(units16(u16::from_le_bytes)),
        Encoding::Utf16Be => Ok(units16(u16::from_be_bytes)),
        Encoding::Utf32Le => units32(u32::from_le_bytes),
        Encoding::Utf32Be => units32(u32::from_be_bytes),
    }
}
