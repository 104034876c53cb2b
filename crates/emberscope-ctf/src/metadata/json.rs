//! The metadata of CTF 2: a sequence of JSON fragments (CTF2-SPEC-2.0, section 5).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::class::{
    Array, Blob, ByteOrder, Choice, Class, Encoding, Integer, IntegerKind, Length, Mapping, Member, Optional,
    Reference, Role, Scope, Structure, Variant,
};
use super::{Budget, Clock, EnvironmentValue, EventClass, MAX_CLOCKS, MAX_DEPTH, Metadata, StreamClass};
use crate::error::Fault;

type Object = Map<String, Value>;

/// Reads fragments, each behind a record separator.
pub(super) fn parse(text: &str) -> Result<Metadata, Fault> {
    let mut reader = Reader::default();
    let mut at = 0;
    for fragment in text.split('\u{1e}') {
        let offset = at;
        at += fragment.len() + 1;
        if fragment.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(fragment).map_err(|error| {
            let lines: usize = fragment.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            Fault::new(offset + lines + error.column().saturating_sub(1), error.to_string())
        })?;
        reader.offset = offset;
        let Value::Object(object) = value else { return Err(Fault::new(offset, "a fragment that is no object")) };
        reader.fragment(&object)?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    metadata: Metadata,
    aliases: HashMap<String, Class>,
    events: Vec<(EventClass, usize)>,
    offset: usize,
    depth: usize,
    budget: Budget,
    seen_preamble: bool,
    streams: HashMap<u64, usize>,
}

impl Reader {
    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.offset, what))
    }

    fn text<'v>(&self, object: &'v Object, key: &str) -> Result<&'v str, Fault> {
        object.get(key).and_then(Value::as_str).map_or_else(|| self.fault(format!("`{key}` must be a text")), Ok)
    }

    fn number(&self, object: &Object, key: &str, default: u64) -> Result<u64, Fault> {
        match object.get(key) {
            None => Ok(default),
            Some(value) => value.as_u64().map_or_else(|| self.fault(format!("`{key}` must be a number")), Ok),
        }
    }

    fn fragment(&mut self, object: &Object) -> Result<(), Fault> {
        let kind = self.text(object, "type")?;
        if !self.seen_preamble && kind != "preamble" {
            return self.fault("the first fragment is no preamble");
        }
        match kind {
            "preamble" => {
                if self.number(object, "version", 0)? != 2 {
                    return self.fault("CTF of this version is not supported: 1.8 and 2 are");
                }
                self.seen_preamble = true;
                if let Some(bytes) = object.get("uuid").and_then(Value::as_array) {
                    let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
                    let uuid = bytes.and_then(|bytes| bytes.try_into().ok());
                    self.metadata.uuid = uuid.map_or_else(|| self.fault("not a UUID"), |uuid| Ok(Some(uuid)))?;
                }
            }
            "trace-class" => {
                self.metadata.packet_header = self.root(object, "packet-header-field-class")?;
                for (name, value) in object.get("environment").and_then(Value::as_object).into_iter().flatten() {
                    let value = match value {
                        Value::String(text) => EnvironmentValue::Text(text.clone()),
                        other => EnvironmentValue::Integer(other.as_i64().unwrap_or(i64::MAX)),
                    };
                    self.metadata.environment.push((name.clone(), value));
                }
            }
            "clock-class" => self.clock(object)?,
            "data-stream-class" => self.stream(object)?,
            "event-record-class" => {
                let name = object.get("name").and_then(Value::as_str).unwrap_or("");
                let event = EventClass {
                    id: self.number(object, "id", 0)?,
                    name: name.to_owned(),
                    stream_class: self.number(object, "data-stream-class-id", 0)?,
                    context: self.root(object, "specific-context-field-class")?,
                    payload: self.root(object, "payload-field-class")?,
                };
                self.events.push((event, self.offset));
            }
            "field-class-alias" => {
                let name = self.text(object, "name")?.to_owned();
                let class = self.class_at(object, "field-class")?;
                self.aliases.insert(name, class);
            }
            other => return self.fault(format!("a fragment of the unknown type `{other}`")),
        }
        Ok(())
    }

    fn clock(&mut self, object: &Object) -> Result<(), Fault> {
        let name = object.get("id").or_else(|| object.get("name")).and_then(Value::as_str);
        let offset = object.get("offset-from-origin").or_else(|| object.get("offset")).and_then(Value::as_object);
        let part = |key: &str| offset.and_then(|offset| offset.get(key)).and_then(Value::as_i64).unwrap_or(0);
        let frequency = self.number(object, "frequency", 1_000_000_000)?;
        if frequency == 0 {
            return self.fault("a clock whose frequency is 0");
        }
        if self.metadata.clocks.len() >= MAX_CLOCKS {
            return self.fault(format!("more than {MAX_CLOCKS} clocks"));
        }
        self.metadata.clocks.push(Clock {
            name: name.unwrap_or("").to_owned(),
            frequency,
            offset_s: part("seconds"),
            offset_cycles: part("cycles"),
            precision: object.get("precision").and_then(Value::as_u64),
            description: object.get("description").and_then(Value::as_str).map(str::to_owned),
            uuid: object.get("uid").and_then(Value::as_str).map(str::to_owned),
            absolute: object.get("origin").and_then(Value::as_str) == Some("unix-epoch"),
        });
        Ok(())
    }

    fn stream(&mut self, object: &Object) -> Result<(), Fault> {
        let id = self.number(object, "id", 0)?;
        if self.streams.insert(id, self.metadata.streams.len()).is_some() {
            return self.fault(format!("a second data stream class {id}"));
        }
        let clock = match object.get("default-clock-class-id").or_else(|| object.get("default-clock-class-name")) {
            None => None,
            Some(name) => {
                let name = name.as_str().unwrap_or("");
                let found = self.metadata.clocks.iter().position(|clock| clock.name == name);
                Some(found.map_or_else(|| self.fault(format!("the clock `{name}` is not known")), Ok)?)
            }
        };
        let stream = StreamClass {
            id,
            packet_context: self.root(object, "packet-context-field-class")?,
            event_header: self.root(object, "event-record-header-field-class")?,
            event_context: self.root(object, "event-record-common-context-field-class")?,
            events: Vec::new(),
            clock,
        };
        self.metadata.streams.push(stream);
        Ok(())
    }

    fn finish(mut self) -> Result<Metadata, Fault> {
        if !self.seen_preamble {
            return self.fault("no preamble");
        }
        let mut seen = HashSet::new();
        for (event, offset) in std::mem::take(&mut self.events) {
            let id = event.stream_class;
            let found = self.streams.get(&id).and_then(|&index| self.metadata.streams.get_mut(index));
            let Some(stream) = found else {
                return Err(Fault::new(
                    offset,
                    format!("an event record class of data stream class {id}, which there is not"),
                ));
            };
            if !seen.insert((id, event.id)) {
                return Err(Fault::new(offset, format!("a second event record class {} in {id}", event.id)));
            }
            stream.events.push(event);
        }
        Ok(self.metadata)
    }

    fn root(&mut self, object: &Object, key: &str) -> Result<Structure, Fault> {
        match object.get(key) {
            None => Ok(Structure::default()),
            Some(value) => match self.class(value)? {
                Class::Structure(structure) => Ok(structure),
                _ => self.fault(format!("`{key}` must be a structure")),
            },
        }
    }

    fn class_at(&mut self, object: &Object, key: &str) -> Result<Class, Fault> {
        match object.get(key) {
            Some(value) => self.class(value),
            None => self.fault(format!("`{key}` is missing")),
        }
    }

    fn class(&mut self, value: &Value) -> Result<Class, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(format!("nested more than {MAX_DEPTH} deep"));
        }
        let class = match value {
            Value::String(alias) => match self.aliases.get(alias) {
                Some(class) => class.clone(),
                None => return self.fault(format!("the alias `{alias}` is not known")),
            },
            Value::Object(object) => self.class_of(object)?,
            _ => return self.fault("a field class must be an object or an alias"),
        };
        self.depth -= 1;
        self.budget.spend(&class, self.offset)?;
        Ok(class)
    }

    fn class_of(&mut self, object: &Object) -> Result<Class, Fault> {
        let kind = self.text(object, "type")?;
        Ok(match kind {
            "fixed-length-bit-array" | "fixed-length-bit-map" => self.integer(object, false, IntegerKind::Bits)?,
            "fixed-length-boolean" => self.integer(object, false, IntegerKind::Boolean)?,
            "fixed-length-unsigned-integer" | "fixed-length-unsigned-enumeration" => {
                self.integer(object, false, IntegerKind::Number)?
            }
            "fixed-length-signed-integer" | "fixed-length-signed-enumeration" => {
                self.integer(object, true, IntegerKind::Number)?
            }
            "variable-length-unsigned-integer" | "variable-length-signed-integer" => {
                let signed = kind == "variable-length-signed-integer";
                let mut integer = Integer::new(0, 8, ByteOrder::Little);
                integer.signed = signed;
                self.describe(object, &mut integer)?;
                Class::Integer(integer)
            }
            "fixed-length-floating-point-number" => {
                let bits = self.number(object, "length", 0)? as u32;
                if bits != 32 && bits != 64 {
                    return self.fault("a floating point number must be of 32 or 64 bits");
                }
                Class::Float { bits, align: self.alignment(object, "alignment")?, order: self.order(object)? }
            }
            "null-terminated-string" => Class::String(self.encoding(object)?),
            "static-length-string" | "static-length-blob" | "dynamic-length-string" | "dynamic-length-blob" => {
                let is_text = kind.ends_with("string");
                let length = if kind.starts_with("static") {
                    Length::Fixed(self.number(object, "length", 0)?)
                } else {
                    Length::Of(self.location(object, "length-field-location")?)
                };
                let encoding = if is_text { Some(self.encoding(object)?) } else { None };
                Class::Blob(Blob { length, encoding })
            }
            "structure" => self.structure(object)?,
            "static-length-array" | "dynamic-length-array" => {
                let length = if kind.starts_with("static") {
                    Length::Fixed(self.number(object, "length", 0)?)
                } else {
                    Length::Of(self.location(object, "length-field-location")?)
                };
                let element = self.class_at(object, "element-field-class")?;
                let align = self.alignment(object, "minimum-alignment")?;
                Class::Array(Array { length, element: Box::new(element), align, text: false })
            }
            "optional" => {
                let inner = self.class_at(object, "field-class")?;
                let selector = self.location(object, "selector-field-location")?;
                let ranges = object.get("selector-field-ranges").map(|ranges| self.ranges(ranges)).transpose()?;
                Class::Optional(Optional { selector, ranges, class: Box::new(inner) })
            }
            "variant" => {
                let selector = self.location(object, "selector-field-location")?;
                let mut choices = Vec::new();
                for option in object.get("options").and_then(Value::as_array).into_iter().flatten() {
                    let Value::Object(option) = option else { return self.fault("an option must be an object") };
                    let Some(ranges) = option.get("selector-field-ranges") else {
                        return self.fault("an option without `selector-field-ranges`");
                    };
                    choices.push(Choice { ranges: self.ranges(ranges)?, member: self.member(option)? });
                }
                Class::Variant(Variant { selector, choices })
            }
            other => return self.fault(format!("the field class type `{other}` is not known")),
        })
    }

    fn member(&mut self, object: &Object) -> Result<Member, Fault> {
        let name = object.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
        let class = self.class_at(object, "field-class")?;
        Ok(Member::new(name, class, false))
    }

    fn structure(&mut self, object: &Object) -> Result<Class, Fault> {
        let mut members: Vec<Member> = Vec::new();
        let mut names = HashSet::new();
        let found = object.get("member-classes").or_else(|| object.get("members"));
        for member in found.and_then(Value::as_array).into_iter().flatten() {
            let Value::Object(member) = member else { return self.fault("a member must be an object") };
            let member = self.member(member)?;
            if !names.insert(member.name.clone()) {
                return self.fault(format!("a second member `{}`", member.name));
            }
            members.push(member);
        }
        Ok(Class::Structure(Structure { members, align: self.alignment(object, "minimum-alignment")? }))
    }

    fn integer(&mut self, object: &Object, signed: bool, kind: IntegerKind) -> Result<Class, Fault> {
        let bits = self.number(object, "length", 0)?;
        if !(1..=64).contains(&bits) {
            return self.fault("an integer must have 1 to 64 bits");
        }
        let mut integer = Integer::new(bits as u32, self.alignment(object, "alignment")?, self.order(object)?);
        (integer.signed, integer.kind) = (signed, kind);
        self.describe(object, &mut integer)?;
        Ok(Class::Integer(integer))
    }

    /// Base, names of values and roles.
    fn describe(&mut self, object: &Object, integer: &mut Integer) -> Result<(), Fault> {
        integer.base = match self.number(object, "preferred-display-base", 10)? {
            base @ (2 | 8 | 10 | 16) => base as u32,
            _ => return self.fault("a base must be 2, 8, 10 or 16"),
        };
        if let Some(mappings) = object.get("mappings").or_else(|| object.get("flags")).and_then(Value::as_object) {
            let mut all = Vec::new();
            for (label, ranges) in mappings {
                let ranges = self.ranges(ranges)?;
                all.extend(ranges.into_iter().map(|(low, high)| Mapping { label: label.clone(), low, high }));
            }
            integer.mappings = Some(Arc::new(all));
        }
        integer.roles.extend(roles(object).filter_map(|role| match role {
            "packet-magic-number" => Some(Role::Magic),
            "data-stream-class-id" => Some(Role::StreamClassId),
            "data-stream-id" => Some(Role::StreamId),
            "event-record-class-id" => Some(Role::EventClassId),
            "default-clock-timestamp" => Some(Role::Timestamp),
            "packet-end-default-clock-timestamp" => Some(Role::PacketEnd),
            "packet-total-length" => Some(Role::PacketBits),
            "packet-content-length" => Some(Role::ContentBits),
            "discarded-event-record-counter-snapshot" => Some(Role::DiscardedEvents),
            "packet-sequence-number" => Some(Role::SequenceNumber),
            _ => None,
        }));
        Ok(())
    }

    fn alignment(&self, object: &Object, key: &str) -> Result<u32, Fault> {
        let align = self.number(object, key, 1)?;
        if align.is_power_of_two() && align <= 1 << 20 {
            Ok(align as u32)
        } else {
            self.fault("an alignment must be a power of two")
        }
    }

    fn order(&self, object: &Object) -> Result<ByteOrder, Fault> {
        let order = match self.text(object, "byte-order")? {
            "little-endian" => ByteOrder::Little,
            "big-endian" => ByteOrder::Big,
            _ => return self.fault("a byte order must be little-endian or big-endian"),
        };
        let natural = if order == ByteOrder::Little { "first-to-last" } else { "last-to-first" };
        match object.get("bit-order").and_then(Value::as_str) {
            Some(bits) if bits != natural => {
                self.fault("a bit order that is not that of the byte order is not supported")
            }
            _ => Ok(order),
        }
    }

    fn encoding(&self, object: &Object) -> Result<Encoding, Fault> {
        match object.get("encoding").and_then(Value::as_str).unwrap_or("utf-8") {
            "utf-8" => Ok(Encoding::Utf8),
            "utf-16le" => Ok(Encoding::Utf16Le),
            "utf-16be" => Ok(Encoding::Utf16Be),
            "utf-32le" => Ok(Encoding::Utf32Le),
            "utf-32be" => Ok(Encoding::Utf32Be),
            other => self.fault(format!("the encoding `{other}` is not known")),
        }
    }

    /// `[[1, 3], [5, 5]]`
    fn ranges(&self, value: &Value) -> Result<Vec<(i128, i128)>, Fault> {
        let number = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        let range = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([low, high]) => Some((number(low)?, number(high)?)).filter(|(low, high)| low <= high),
            _ => None,
        };
        let all: Option<Vec<_>> = value.as_array().and_then(|ranges| ranges.iter().map(range).collect());
        all.map_or_else(|| self.fault("ranges must be pairs of numbers"), Ok)
    }

    fn location(&self, object: &Object, key: &str) -> Result<Reference, Fault> {
        let location = object.get(key);
        let (origin, path) = match location {
            Some(Value::Object(location)) => (location.get("origin").and_then(Value::as_str), location.get("path")),
            other => (None, other),
        };
        let origin = match origin {
            None => None,
            Some("packet-header") => Some(Scope::PacketHeader),
            Some("packet-context") => Some(Scope::PacketContext),
            Some("event-record-header") => Some(Scope::EventHeader),
            Some("event-record-common-context") => Some(Scope::StreamEventContext),
            Some("event-record-specific-context") => Some(Scope::EventContext),
            Some("event-record-payload") => Some(Scope::Payload),
            Some(other) => return self.fault(format!("the origin `{other}` is not known")),
        };
        let part = |part: &Value| match part {
            Value::Null => Some(None),
            Value::String(name) => Some(Some(name.clone())),
            _ => None,
        };
        let path: Option<Vec<_>> = path.and_then(Value::as_array).and_then(|path| path.iter().map(part).collect());
        match path {
            Some(path) if !path.is_empty() => Ok(Reference::Location { origin, path, offset: self.offset }),
            _ => self.fault(format!("`{key}` must have a path of names")),
        }
    }
}

fn roles(object: &Object) -> impl Iterator<Item = &str> {
    object.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
