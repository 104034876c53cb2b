//! Types of TSDL: integers, enumerations, structures, variants, and names for them (CTF 1.8, sections 4 and C).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::MAX_DEPTH;
use super::class::{
    Array, ByteOrder, Choice, Class, Encoding, Integer, Length, Mapping, Member, Reference, Structure, Variant,
};
use super::lexer::Token;
use super::tsdl::{Parser, Setting, is_true};
use crate::error::Fault;

impl Parser {
    /// `typealias`, `typedef`, or a named structure, variant or enumeration.
    pub(super) fn declaration(&mut self) -> Result<(), Fault> {
        if self.is_name("typealias") {
            self.at += 1;
            let class = self.bare_type()?;
            self.expect(":=")?;
            let name = self.type_name()?;
            self.define(name, class);
        } else if self.is_name("typedef") {
            self.at += 1;
            let class = self.type_of_field()?;
            loop {
                let at = self.offset();
                let (name, class) = self.declarator(class.clone())?;
                self.budget.spend(&class, at)?;
                self.define(name, class);
                if !self.takes(",") {
                    break;
                }
            }
        } else if ["struct", "variant", "enum"].iter().any(|word| self.is_name(word)) {
            self.type_of_field()?;
        } else {
            return self.fault("a block or a type expected");
        }
        self.expect(";")
    }

    fn define(&mut self, name: String, class: Class) {
        if let Some(types) = self.types.last_mut() {
            types.insert(name, class);
        }
    }

    fn look_up(&mut self, name: &str) -> Result<Class, Fault> {
        let Some(class) = self.types.iter().rev().find_map(|types| types.get(name)).cloned() else {
            return self.fault(format!("the type `{name}` is not known"));
        };
        let at = self.offset();
        self.budget.spend(&class, at)?;
        Ok(class)
    }

    /// All names up to the next sign, as one name.
    fn type_name(&mut self) -> Result<String, Fault> {
        let mut words = vec![self.name()?];
        while let Token::Name(_) = self.peek() {
            words.push(self.name()?);
        }
        while self.takes("*") {
            words.push("*".to_owned());
        }
        Ok(words.join(" "))
    }

    /// A type with no declarator behind it.
    pub(super) fn bare_type(&mut self) -> Result<Class, Fault> {
        if let Some(class) = self.built_in()? {
            return Ok(class);
        }
        let start = self.at;
        let name = self.type_name()?;
        let end = std::mem::replace(&mut self.at, start);
        let class = self.look_up(&name)?;
        self.at = end;
        Ok(class)
    }

    /// The type of a field, up to its declarator: the last name is the field's.
    fn type_of_field(&mut self) -> Result<Class, Fault> {
        if let Some(class) = self.built_in()? {
            return Ok(class);
        }
        let start = self.at;
        let mut words = Vec::new();
        while let (Token::Name(name), Some((Token::Name(_), _))) = (self.peek(), self.tokens.get(self.at + 1)) {
            words.push(name.clone());
            self.at += 1;
        }
        let end = std::mem::replace(&mut self.at, start);
        if words.is_empty() {
            return self.fault("a type expected");
        }
        let class = self.look_up(&words.join(" "))?;
        self.at = end;
        Ok(class)
    }

    /// Name and dimensions of a field.
    fn declarator(&mut self, class: Class) -> Result<(String, Class), Fault> {
        let name = self.name()?;
        let mut lengths = Vec::new();
        while self.takes("[") {
            let offset = self.offset();
            if lengths.len() >= MAX_DEPTH {
                return self.fault(format!("an array of more than {MAX_DEPTH} dimensions"));
            }
            lengths.push(if matches!(self.peek(), Token::Name(_)) {
                Length::Of(Reference::Names { path: self.path()?, offset })
            } else {
                let length = self.integer()?;
                Length::Fixed(u64::try_from(length).map_err(|_| Fault::new(offset, "a negative length"))?)
            });
            self.expect("]")?;
        }
        let array = |element: Class, length: Length| {
            let text = matches!(&element, Class::Integer(integer)
                if integer.character && integer.bits == 8 && integer.align == 8);
            Class::Array(Array { length, align: element.align(), element: Box::new(element), text })
        };
        // The last dimension is the innermost.
        let class = lengths.into_iter().rev().fold(class, array);
        Ok((name, class))
    }

    fn built_in(&mut self) -> Result<Option<Class>, Fault> {
        let Token::Name(name) = self.peek().clone() else { return Ok(None) };
        let class = match name.as_str() {
            "integer" => self.integer_type()?,
            "floating_point" => self.float_type()?,
            "string" => {
                self.at += 1;
                if matches!(self.peek(), Token::Sign("{")) {
                    self.attributes()?;
                }
                Class::String(Encoding::Utf8)
            }
            "struct" => self.structure_type()?,
            "variant" => self.variant_type()?,
            "enum" => self.enumeration_type()?,
            _ => return Ok(None),
        };
        Ok(Some(class))
    }

    /// `{ name = value; ... }`
    fn attributes(&mut self) -> Result<Vec<(String, Setting, usize)>, Fault> {
        self.expect("{")?;
        let mut all = Vec::new();
        while !self.takes("}") {
            if self.takes(";") {
                continue;
            }
            let start = self.offset();
            let name = self.path()?.join(".");
            self.expect("=")?;
            all.push((name, self.setting()?, start));
            self.expect(";")?;
        }
        Ok(all)
    }

    fn number(setting: &Setting, at: usize) -> Result<u32, Fault> {
        match setting {
            Setting::Integer(value) => u32::try_from(*value).map_err(|_| Fault::new(at, "a number out of range")),
            _ => Err(Fault::new(at, "a number expected")),
        }
    }

    fn alignment(setting: &Setting, at: usize) -> Result<u32, Fault> {
        let align = Self::number(setting, at)?;
        if align.is_power_of_two() && align <= 1 << 20 {
            Ok(align)
        } else {
            Err(Fault::new(at, "an alignment must be a power of two"))
        }
    }

    fn byte_order(&self, setting: &Setting, at: usize) -> Result<ByteOrder, Fault> {
        match setting.word() {
            Some("le") => Ok(ByteOrder::Little),
            Some("be" | "network") => Ok(ByteOrder::Big),
            Some("native") => Ok(self.order),
            _ => Err(Fault::new(at, "byte_order must be le, be, network or native")),
        }
    }

    fn integer_type(&mut self) -> Result<Class, Fault> {
        let start = self.offset();
        self.at += 1;
        let mut integer = Integer::new(0, 0, self.order);
        for (name, setting, at) in self.attributes()? {
            match name.as_str() {
                "size" => integer.bits = Self::number(&setting, at)?,
                "align" => integer.align = Self::alignment(&setting, at)?,
                "signed" => integer.signed = is_true(&setting),
                "byte_order" => integer.order = self.byte_order(&setting, at)?,
                "encoding" => {
                    integer.character = match setting.word() {
                        Some("UTF8" | "ASCII" | "utf8" | "ascii" | "UTF-8" | "utf-8") => true,
                        Some("none") => false,
                        _ => return Err(Fault::new(at, "encoding must be UTF8, ASCII or none")),
                    }
                }
                "base" => {
                    integer.base = match (&setting, setting.word()) {
                        (Setting::Integer(base @ (2 | 8 | 10 | 16)), _) => *base as u32,
                        (_, Some("decimal" | "dec" | "d" | "i" | "u")) => 10,
                        (_, Some("hexadecimal" | "hex" | "x" | "X" | "p")) => 16,
                        (_, Some("octal" | "oct" | "o")) => 8,
                        (_, Some("binary" | "bin" | "b")) => 2,
                        _ => return Err(Fault::new(at, "base must be 2, 8, 10 or 16")),
                    }
                }
                "map" => {
                    let Setting::Path(path) = &setting else { return Err(Fault::new(at, "map must name a clock")) };
                    match path.as_slice() {
                        [clock, name, value] if clock == "clock" && value == "value" => {
                            integer.clock = Some(name.clone());
                        }
                        _ => return Err(Fault::new(at, "map must be clock.NAME.value")),
                    }
                }
                _ => {}
            }
        }
        if !(1..=64).contains(&integer.bits) {
            return Err(Fault::new(start, "an integer must have 1 to 64 bits"));
        }
        if integer.align == 0 {
            integer.align = if integer.bits.is_multiple_of(8) { 8 } else { 1 };
        }
        Ok(Class::Integer(integer))
    }

    fn float_type(&mut self) -> Result<Class, Fault> {
        let start = self.offset();
        self.at += 1;
        let (mut exponent, mut mantissa, mut align, mut order) = (0, 0, 0, self.order);
        for (name, setting, at) in self.attributes()? {
            match name.as_str() {
                "exp_dig" => exponent = Self::number(&setting, at)?,
                "mant_dig" => mantissa = Self::number(&setting, at)?,
                "align" => align = Self::alignment(&setting, at)?,
                "byte_order" => order = self.byte_order(&setting, at)?,
                _ => {}
            }
        }
        let bits = match (exponent, mantissa) {
            (8, 24) => 32,
            (11, 53) => 64,
            _ => {
                return Err(Fault::new(
                    start,
                    "a floating point number must be of 32 or 64 bits (8 and 24, 11 and 53)",
                ));
            }
        };
        Ok(Class::Float { bits, align: if align == 0 { 8 } else { align }, order })
    }

    fn structure_type(&mut self) -> Result<Class, Fault> {
        self.at += 1;
        let name = if matches!(self.peek(), Token::Name(name) if name != "align") { Some(self.name()?) } else { None };
        if !matches!(self.peek(), Token::Sign("{")) {
            let name = name.map_or_else(|| self.fault("a structure's name or members expected"), Ok)?;
            return self.look_up(&format!("struct {name}"));
        }
        let members = self.members()?;
        let mut align = 1;
        if self.is_name("align") {
            self.at += 1;
            self.expect("(")?;
            let at = self.offset();
            align = Self::alignment(&Setting::Integer(self.integer()?), at)?;
            self.expect(")")?;
        }
        let class = Class::Structure(Structure { members, align });
        if let Some(name) = name {
            self.define(format!("struct {name}"), class.clone());
        }
        Ok(class)
    }

    fn members(&mut self) -> Result<Vec<Member>, Fault> {
        self.expect("{")?;
        self.descend()?;
        self.types.push(HashMap::new());
        let mut members: Vec<Member> = Vec::new();
        let mut names = HashSet::new();
        while !self.takes("}") {
            if self.takes(";") {
                continue;
            }
            if self.is_name("typealias") || self.is_name("typedef") {
                self.declaration()?;
                continue;
            }
            let class = self.type_of_field()?;
            if self.takes(";") {
                continue;
            }
            loop {
                let at = self.offset();
                let (name, class) = self.declarator(class.clone())?;
                self.budget.spend(&class, at)?;
                if !names.insert(name.clone()) {
                    return Err(Fault::new(at, format!("a second field `{name}`")));
                }
                members.push(Member::new(name, class, true));
                if !self.takes(",") {
                    break;
                }
            }
            self.expect(";")?;
        }
        self.types.pop();
        self.depth -= 1;
        Ok(members)
    }

    fn variant_type(&mut self) -> Result<Class, Fault> {
        let offset = self.offset();
        self.at += 1;
        let name = if matches!(self.peek(), Token::Name(_)) { Some(self.name()?) } else { None };
        let mut selector = None;
        if self.takes("<") {
            selector = Some(Reference::Names { path: self.path()?, offset });
            self.expect(">")?;
        }
        let mut class = if matches!(self.peek(), Token::Sign("{")) {
            let members = self.members()?;
            let choices = members.into_iter().map(|member| Choice { member, ranges: Vec::new() }).collect();
            let unset = Reference::Names { path: Vec::new(), offset };
            let class = Class::Variant(Variant { selector: unset, choices });
            if let Some(name) = name {
                self.define(format!("variant {name}"), class.clone());
            }
            class
        } else {
            let name = name.map_or_else(|| self.fault("a variant's name or options expected"), Ok)?;
            self.look_up(&format!("variant {name}"))?
        };
        if let (Class::Variant(variant), Some(selector)) = (&mut class, selector) {
            variant.selector = selector;
        }
        Ok(class)
    }

    fn enumeration_type(&mut self) -> Result<Class, Fault> {
        let start = self.offset();
        self.at += 1;
        let name = if matches!(self.peek(), Token::Name(_)) { Some(self.name()?) } else { None };
        let base = if self.takes(":") {
            self.descend()?;
            let base = self.bare_type()?;
            self.depth -= 1;
            base
        } else if matches!(self.peek(), Token::Sign("{")) {
            self.look_up("int")?
        } else {
            let name = name.map_or_else(|| self.fault("an enumeration's name or labels expected"), Ok)?;
            return self.look_up(&format!("enum {name}"));
        };
        let Class::Integer(mut integer) = base else {
            return Err(Fault::new(start, "an enumeration must be of integers"));
        };
        self.expect("{")?;
        let mut mappings = Vec::new();
        let mut next = 0;
        while !self.takes("}") {
            let label = match self.peek().clone() {
                Token::Text(text) => {
                    self.at += 1;
                    text
                }
                _ => self.name()?,
            };
            let at = self.offset();
            let (mut low, mut high) = (next, next);
            if self.takes("=") {
                low = self.integer()?;
                high = if self.takes("...") { self.integer()? } else { low };
            }
            if high < low {
                return Err(Fault::new(at, format!("the range of `{label}` ends before it begins")));
            }
            next = high + 1;
            mappings.push(Mapping { label, low, high });
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        integer.mappings = Some(Arc::new(mappings));
        let class = Class::Integer(integer);
        if let Some(name) = name {
            self.define(format!("enum {name}"), class.clone());
        }
        Ok(class)
    }
}
