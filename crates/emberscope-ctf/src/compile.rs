//! From field classes to steps that read only what is asked for.

use crate::metadata::class::{Blob, Class, Encoding, Integer, Length, Reference, Role, Structure};
use crate::program::{Case, Count, Load, Program, Step};

/// Says where the value of a field goes, by its path.
pub(crate) type Wanted<'a> = &'a dyn Fn(&[&str]) -> Option<u16>;

impl Program {
    /// Compiles a structure.
    pub(crate) fn of(structure: &Structure, wanted: Wanted<'_>, signed: &[bool]) -> Self {
        Self::of_all(&[(structure, wanted)], signed)
    }

    /// Compiles structures that stand one behind another.
    pub(crate) fn of_all(structures: &[(&Structure, Wanted<'_>)], signed: &[bool]) -> Self {
        let wanted: Wanted<'_> = &|_| None;
        let mut compiler =
            Compiler { steps: Vec::new(), pending: 0, loads: Vec::new(), known: 1, phase: 0, wanted, signed };
        for (structure, wanted) in structures {
            compiler.wanted = *wanted;
            compiler.structure(structure, &mut Vec::new());
        }
        compiler.flush();
        Self(compiler.steps)
    }
}

struct Compiler<'a> {
    steps: Vec<Step>,
    /// Bits of the run that is being collected.
    pending: u32,
    loads: Vec<Load>,
    /// The position is `phase` modulo `known`.
    known: u32,
    phase: u32,
    wanted: Wanted<'a>,
    signed: &'a [bool],
}

impl Compiler<'_> {
    fn flush(&mut self) {
        if self.pending > 0 {
            let loads = std::mem::take(&mut self.loads).into_boxed_slice();
            self.steps.push(Step::Run { bits: self.pending, loads });
            self.pending = 0;
        }
    }

    fn align(&mut self, align: u32) {
        // Places in a run are 32 bits.
        if self.pending > 1 << 24 {
            self.flush();
        }
        if align <= self.known {
            let padding = self.phase.next_multiple_of(align) - self.phase;
            self.advance(padding);
        } else {
            self.flush();
            self.steps.push(Step::Align(align));
            (self.known, self.phase) = (align, 0);
        }
    }

    fn advance(&mut self, bits: u32) {
        self.pending += bits;
        self.phase = (self.phase + bits % self.known) % self.known;
    }

    /// A step whose size is not known: only that its end is a multiple of so many bits.
    fn dynamic(&mut self, step: Step, known: u32) {
        self.flush();
        self.steps.push(step);
        (self.known, self.phase) = (known, 0);
    }

    fn structure<'n>(&mut self, structure: &'n Structure, path: &mut Vec<&'n str>) {
        self.align(structure.full_align());
        for member in &structure.members {
            path.push(&member.name);
            self.class(&member.class, path);
            path.pop();
        }
    }

    fn is_signed(&self, slot: u16) -> bool {
        self.signed.get(usize::from(slot)).copied().unwrap_or(false)
    }

    fn inner<'n>(&self, class: &'n Class, path: &mut Vec<&'n str>) -> Program {
        let (wanted, signed) = (self.wanted, self.signed);
        let mut compiler =
            Compiler { steps: Vec::new(), pending: 0, loads: Vec::new(), known: 1, phase: 0, wanted, signed };
        compiler.class(class, path);
        compiler.flush();
        Program(compiler.steps)
    }

    fn class<'n>(&mut self, class: &'n Class, path: &mut Vec<&'n str>) {
        match class {
            Class::Integer(integer) => self.integer(integer, path),
            Class::Float { bits, align, order } => {
                self.align(*align);
                if let Some(out) = (self.wanted)(path) {
                    let at = self.pending;
                    let (bits, order) = (*bits, *order);
                    let load = Load {
                        at,
                        bits,
                        signed: false,
                        float: true,
                        order,
                        slot: None,
                        out: Some(out),
                        roles: [].into(),
                    };
                    self.loads.push(load);
                }
                self.advance(*bits);
            }
            Class::String(encoding) => {
                self.align(8);
                let out = (self.wanted)(path).filter(|_| *encoding == Encoding::Utf8);
                self.dynamic(Step::String { unit: encoding.unit(), out }, 8);
            }
            Class::Structure(structure) => self.structure(structure, path),
            Class::Array(array) => {
                self.align(array.align.max(array.element.align()));
                let count = Count::of(&array.length);
                let out = (self.wanted)(path);
                let fixed = fixed(&array.element);
                match fixed {
                    Some((8, 8)) if array.text || out.is_some() => {
                        self.dynamic(Step::Bytes { count, text: array.text, out }, 8);
                    }
                    _ if array.element.is_empty() => {}
                    Some((bits, align)) if !has_slot(&array.element) => {
                        // An element too large for 64 bits is too large for any packet.
                        let stride = bits.checked_next_multiple_of(u64::from(align)).unwrap_or(u64::MAX);
                        match count {
                            Count::Fixed(0) => {}
                            Count::Fixed(count) if stride.saturating_mul(count) < 1 << 20 => {
                                self.advance((stride * (count - 1) + bits) as u32);
                            }
                            count => {
                                let known = if bits.is_multiple_of(8) && align >= 8 { 8 } else { 1 };
                                self.dynamic(Step::Elements { count, align, stride, bits }, known);
                            }
                        }
                    }
                    _ => {
                        let body = self.inner(&array.element, &mut vec!["[]"]);
                        self.dynamic(Step::Repeat { count, body }, 1);
                    }
                }
            }
            Class::Blob(blob) => self.blob(blob, path),
            Class::Variant(variant) => {
                let Reference::Slot(slot) = variant.selector else { return };
                let mut options = Vec::with_capacity(variant.choices.len());
                for choice in &variant.choices {
                    path.push(&choice.member.name);
                    let body = self.inner(&choice.member.class, path);
                    path.pop();
                    options.push(Case { ranges: choice.ranges.clone(), body });
                }
                self.dynamic(Step::Variant { slot, signed: self.is_signed(slot), options }, 1);
            }
            Class::Optional(optional) => {
                let Reference::Slot(slot) = optional.selector else { return };
                let body = self.inner(&optional.class, path);
                let step = Step::Optional { slot, signed: self.is_signed(slot), ranges: optional.ranges.clone(), body };
                self.dynamic(step, 1);
            }
        }
    }

    fn blob(&mut self, blob: &Blob, path: &[&str]) {
        self.align(8);
        let out = (self.wanted)(path);
        let text = blob.encoding == Some(Encoding::Utf8);
        self.dynamic(Step::Bytes { count: Count::of(&blob.length), text, out }, 8);
    }

    fn integer(&mut self, integer: &Integer, path: &[&str]) {
        self.align(integer.align);
        let out = (self.wanted)(path);
        let roles: Box<[Role]> = integer.roles.clone().into();
        if integer.bits == 0 {
            self.dynamic(Step::Leb128 { signed: integer.signed, slot: integer.slot, out, roles }, 8);
            return;
        }
        if out.is_some() || integer.slot.is_some() || !roles.is_empty() {
            self.loads.push(Load {
                at: self.pending,
                bits: integer.bits,
                signed: integer.signed,
                float: false,
                order: integer.order,
                slot: integer.slot,
                out,
                roles,
            });
        }
        self.advance(integer.bits);
    }
}

/// Whether something refers to an integer in it.
fn has_slot(class: &Class) -> bool {
    match class {
        Class::Integer(integer) => integer.slot.is_some(),
        Class::Structure(structure) => structure.members.iter().any(|member| has_slot(&member.class)),
        Class::Array(array) => has_slot(&array.element),
        _ => false,
    }
}

/// Bits and alignment of a class whose size is always the same from its aligned beginning.
fn fixed(class: &Class) -> Option<(u64, u32)> {
    match class {
        Class::Integer(integer) if integer.bits > 0 => Some((u64::from(integer.bits), integer.align)),
        Class::Float { bits, align, .. } => Some((u64::from(*bits), *align)),
        Class::Structure(structure) => {
            let mut at = 0_u64;
            for member in &structure.members {
                let (bits, align) = fixed(&member.class)?;
                at = at.checked_next_multiple_of(u64::from(align))?.checked_add(bits)?;
            }
            Some((at, structure.full_align()))
        }
        Class::Array(array) => {
            let Length::Fixed(count) = array.length else { return None };
            let (bits, align) = fixed(&array.element)?;
            let stride = bits.checked_next_multiple_of(u64::from(align))?;
            let all = if count == 0 { 0 } else { stride.checked_mul(count - 1)?.checked_add(bits)? };
            Some((all, align.max(array.align)))
        }
        _ => None,
    }
}
