//! Field classes: how bits become values (CTF 1.8, sections 4 and 6; CTF 2, field classes).

use std::sync::Arc;

/// Bytes of a name that weigh as much as a class.
const NAME_BYTES: usize = 64;

/// The order of bytes, and with it of bits, in an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

/// What the format itself reads from a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Magic,
    StreamClassId,
    StreamId,
    EventClassId,
    Timestamp,
    PacketEnd,
    PacketBits,
    ContentBits,
    DiscardedEvents,
    SequenceNumber,
}

/// A name for a range of integers, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The name.
    pub label: String,
    /// The least value, as bits of the integer (two's complement where it is signed).
    pub low: i128,
    /// The largest value.
    pub high: i128,
}

/// An integer, an enumeration, a boolean or a bit map.
#[derive(Debug, Clone)]
pub struct Integer {
    /// Width in bits, 1 to 64; 0 for a LEB128 integer of variable length.
    pub bits: u32,
    /// Alignment in bits, a power of two.
    pub align: u32,
    /// Whether it is two's complement.
    pub signed: bool,
    /// The order of its bytes.
    pub order: ByteOrder,
    /// The base in which it is shown: 2, 8, 10 or 16.
    pub base: u32,
    /// Whether it is a character.
    pub character: bool,
    /// Names of values: an enumeration, or for a bit map of bits.
    pub mappings: Option<Arc<Vec<Mapping>>>,
    /// What kind of integer it is.
    pub kind: IntegerKind,
    pub(crate) clock: Option<String>,
    pub(crate) roles: Vec<Role>,
    pub(crate) slot: Option<u16>,
}

/// What an integer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerKind {
    /// A number, or a name of an enumeration.
    Number,
    /// True unless 0.
    Boolean,
    /// Bits, or flags by name.
    Bits,
}

impl Integer {
    pub(crate) fn new(bits: u32, align: u32, order: ByteOrder) -> Self {
        Self {
            bits,
            align,
            signed: false,
            order,
            base: 10,
            character: false,
            mappings: None,
            kind: IntegerKind::Number,
            clock: None,
            roles: Vec::new(),
            slot: None,
        }
    }
}

/// Where the length of a sequence or the selector of a variant is found.
#[derive(Debug, Clone)]
pub(crate) enum Reference {
    /// Not looked up yet: a path of names as TSDL has it, from the nearest scope that has the first of them.
    Names { path: Vec<String>, offset: usize },
    /// Not looked up yet: as CTF 2 has it.
    Location { origin: Option<Scope>, path: Vec<Option<String>>, offset: usize },
    /// Looked up: the slot into which the integer is saved.
    Slot(u16),
}

/// A root of fields, in the order in which they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    PacketHeader,
    PacketContext,
    EventHeader,
    StreamEventContext,
    EventContext,
    Payload,
}

/// A member of a structure or an option of a variant.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name, without the underscore that TSDL puts before it.
    pub name: String,
    pub(crate) raw_name: String,
    /// Its class.
    pub class: Class,
}

impl Member {
    pub(crate) fn new(raw_name: String, class: Class, escaped: bool) -> Self {
        let name = raw_name.strip_prefix('_').filter(|_| escaped).unwrap_or(&raw_name).to_owned();
        Self { name, raw_name, class }
    }
}

/// Members one after another.
#[derive(Debug, Clone, Default)]
pub struct Structure {
    /// The members.
    pub members: Vec<Member>,
    /// The least alignment in bits.
    pub align: u32,
}

/// An option of a variant, with the values of the selector for which it is there.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The option.
    pub member: Member,
    pub(crate) ranges: Vec<(i128, i128)>,
}

/// How many elements or bytes.
#[derive(Debug, Clone)]
pub(crate) enum Length {
    Fixed(u64),
    Of(Reference),
}

/// What the bytes of a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, or ASCII.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// UTF-32, low byte first.
    Utf32Le,
    /// UTF-32, high byte first.
    Utf32Be,
}

impl Encoding {
    /// Bytes of a code unit.
    pub(crate) fn unit(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf32Le | Self::Utf32Be => 4,
        }
    }
}

/// A field class.
#[derive(Debug, Clone)]
pub enum Class {
    /// An integer, enumeration, boolean or bit map.
    Integer(Integer),
    /// IEEE 754, of 32 or 64 bits.
    Float {
        /// Width in bits.
        bits: u32,
        /// Alignment in bits.
        align: u32,
        /// The order of its bytes.
        order: ByteOrder,
    },
    /// A text that ends with a null.
    String(Encoding),
    /// Members one after another.
    Structure(Structure),
    /// Elements of one class.
    Array(Array),
    /// One of several classes.
    Variant(Variant),
    /// A field that may be there.
    Optional(Optional),
    /// Bytes.
    Blob(Blob),
}

/// Elements of one class.
#[derive(Debug, Clone)]
pub struct Array {
    pub(crate) length: Length,
    /// The class of the elements.
    pub element: Box<Class>,
    pub(crate) align: u32,
    /// Whether the elements are characters.
    pub text: bool,
}

/// One of several classes.
#[derive(Debug, Clone)]
pub struct Variant {
    pub(crate) selector: Reference,
    /// The classes.
    pub choices: Vec<Choice>,
}

/// A field that may be there.
#[derive(Debug, Clone)]
pub struct Optional {
    pub(crate) selector: Reference,
    pub(crate) ranges: Option<Vec<(i128, i128)>>,
    /// Its class.
    pub class: Box<Class>,
}

/// Bytes, or a text of so many bytes.
#[derive(Debug, Clone)]
pub struct Blob {
    pub(crate) length: Length,
    /// Set where they are a text, which ends at the first null.
    pub encoding: Option<Encoding>,
}

impl Array {
    /// How many elements there are, if that is always the same.
    pub fn fixed_length(&self) -> Option<u64> {
        match self.length {
            Length::Fixed(count) => Some(count),
            Length::Of(_) => None,
        }
    }
}

impl Class {
    /// The alignment of its first bit, in bits.
    pub(crate) fn align(&self) -> u32 {
        match self {
            Self::Integer(integer) => integer.align,
            Self::Float { align, .. } => *align,
            Self::String(_) | Self::Blob(_) => 8,
            Self::Structure(structure) => structure.full_align(),
            Self::Array(array) => array.align.max(array.element.align()),
            // The option is aligned when it is known which it is.
            Self::Variant(_) | Self::Optional(_) => 1,
        }
    }

    /// Whether it has no bits in every case, so that any number of them fit into nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Integer(_) | Self::Float { .. } | Self::String(_) => false,
            Self::Structure(structure) => structure.members.iter().all(|member| member.class.is_empty()),
            Self::Array(array) => matches!(array.length, Length::Fixed(0)) || array.element.is_empty(),
            Self::Blob(blob) => matches!(blob.length, Length::Fixed(0)),
            Self::Variant(variant) => variant.choices.iter().all(|choice| choice.member.class.is_empty()),
            Self::Optional(optional) => optional.class.is_empty(),
        }
    }

    /// How many classes it is made of, with long names and many labels counted as such, and how deep it is.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let of_member = |member: &Member| {
            let (size, depth) = member.class.extent();
            (size + (member.name.len() + member.raw_name.len()) / NAME_BYTES, depth)
        };
        let sum = |all: (usize, usize), one: (usize, usize)| (all.0.saturating_add(one.0), all.1.max(one.1));
        let (size, depth) = match self {
            Self::Structure(structure) => structure.members.iter().map(of_member).fold((0, 0), sum),
            Self::Array(array) => array.element.extent(),
            Self::Variant(variant) => variant.choices.iter().map(|choice| of_member(&choice.member)).fold((0, 0), sum),
            Self::Optional(optional) => optional.class.extent(),
            Self::Integer(_) | Self::Float { .. } | Self::String(_) | Self::Blob(_) => (0, 0),
        };
        (size.saturating_add(1), depth + 1)
    }
}

impl Structure {
    pub(crate) fn full_align(&self) -> u32 {
        self.members.iter().map(|member| member.class.align()).fold(self.align.max(1), u32::max)
    }

    /// The member of a name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}
