//! Finds the integers that lengths and selectors refer to, and gives each a slot.

use super::class::{Class, Length, Mapping, Member, Reference, Scope, Structure};
use super::{EventClass, Metadata, StreamClass};
use crate::error::Fault;

/// The most names that are looked at: hostile metadata would have billions.
const MAX_WORK: usize = 50_000_000;

/// What one range of an option counts as, which is kept.
const RANGE_WORK: usize = 32;

/// From a root down: indices of members and choices; 0 into the element of an array or the class of an optional.
type Path = Vec<usize>;

/// Replaces every reference by a slot; checks what is referred to.
pub(super) fn resolve(mut metadata: Metadata) -> Result<Metadata, Fault> {
    let (mut slots, mut work) = (Vec::new(), 0);
    let header = &mut metadata.packet_header;
    let mut none = (StreamClass::default(), None);
    resolve_scope(header, &mut none.0, &mut none.1, Scope::PacketHeader, &mut slots, &mut work)?;
    for stream in &mut metadata.streams {
        stream.clock = clock_of(stream, &metadata.clocks)?;
        for scope in [Scope::PacketContext, Scope::EventHeader, Scope::StreamEventContext] {
            resolve_scope(header, stream, &mut None, scope, &mut slots, &mut work)?;
        }
        let events = std::mem::take(&mut stream.events);
        for event in events {
            let mut event = Some(event);
            for scope in [Scope::EventContext, Scope::Payload] {
                resolve_scope(header, stream, &mut event, scope, &mut slots, &mut work)?;
            }
            stream.events.extend(event);
        }
        stream.events.sort_by_key(|event| event.id);
    }
    metadata.slots = slots;
    Ok(metadata)
}

/// The one clock of a stream class.
fn clock_of(stream: &StreamClass, clocks: &[super::Clock]) -> Result<Option<usize>, Fault> {
    if stream.clock.is_some() {
        return Ok(stream.clock);
    }
    let mut names = Vec::new();
    for structure in [&stream.packet_context, &stream.event_header] {
        clock_names(structure, &mut names);
    }
    let Some(first) = names.first() else { return Ok(None) };
    if let Some(other) = names.iter().find(|name| *name != first) {
        return Err(Fault::new(0, format!("stream {} has two clocks, `{first}` and `{other}`", stream.id)));
    }
    let found = clocks.iter().position(|clock| clock.name == *first);
    found.map_or_else(|| Err(Fault::new(0, format!("the clock `{first}` is not known"))), |index| Ok(Some(index)))
}

fn clock_names(structure: &Structure, names: &mut Vec<String>) {
    for member in &structure.members {
        match &member.class {
            Class::Integer(integer) => names.extend(integer.clock.clone()),
            Class::Structure(inner) => clock_names(inner, names),
            Class::Variant(variant) => {
                for choice in &variant.choices {
                    if let Class::Structure(inner) = &choice.member.class {
                        clock_names(inner, names);
                    }
                }
            }
            _ => {}
        }
    }
}

/// All roots that are known where one of them is resolved.
struct Roots<'a> {
    header: &'a mut Structure,
    stream: &'a mut StreamClass,
    event: &'a mut Option<EventClass>,
}

impl Roots<'_> {
    fn get(&mut self, scope: Scope) -> Option<&mut Structure> {
        match scope {
            Scope::PacketHeader => Some(self.header),
            Scope::EventContext => self.event.as_mut().map(|event| &mut event.context),
            Scope::Payload => self.event.as_mut().map(|event| &mut event.payload),
            _ => self.stream.scope_mut(scope),
        }
    }
}

fn resolve_scope(
    header: &mut Structure,
    stream: &mut StreamClass,
    event: &mut Option<EventClass>,
    scope: Scope,
    slots: &mut Vec<bool>,
    work: &mut usize,
) -> Result<(), Fault> {
    let mut roots = Roots { header, stream, event };
    let Some(root) = roots.get(scope) else { return Ok(()) };
    let mut found = Vec::new();
    collect_structure(root, &mut Vec::new(), &mut found);
    for (path, reference) in found {
        let offset = match &reference {
            Reference::Names { offset, .. } | Reference::Location { offset, .. } => *offset,
            Reference::Slot(_) => continue,
        };
        let (target_scope, target_path) = locate(&mut roots, scope, &path, &reference, work)?;
        if *work > MAX_WORK {
            return Err(Fault::new(offset, "too many lengths and selectors among too many names"));
        }
        if (target_scope, target_path.as_slice()) >= (scope, path.as_slice()) {
            return Err(Fault::new(offset, "a length or a selector that comes behind what it is for"));
        }
        let target = roots.get(target_scope).and_then(|root| class_at(root, &target_path));
        let Some(Class::Integer(integer)) = target else {
            return Err(Fault::new(offset, "what a length or a selector refers to is not an integer"));
        };
        if integer.slot.is_none() {
            let slot = u16::try_from(slots.len()).map_err(|_| Fault::new(offset, "too many lengths and selectors"))?;
            integer.slot = Some(slot);
            slots.push(integer.signed);
        }
        let slot = integer.slot.unwrap_or_default();
        let (signed, mappings) = (integer.signed, integer.mappings.clone());
        let user = roots.get(scope).and_then(|root| class_at(root, &path));
        match user {
            Some(Class::Array(array)) => {
                if signed {
                    return Err(Fault::new(offset, "the length of a sequence is a signed integer"));
                }
                array.length = Length::Of(Reference::Slot(slot));
            }
            Some(Class::Blob(blob)) => {
                if signed {
                    return Err(Fault::new(offset, "a length is a signed integer"));
                }
                blob.length = Length::Of(Reference::Slot(slot));
            }
            Some(Class::Optional(optional)) => optional.selector = Reference::Slot(slot),
            Some(Class::Variant(variant)) => {
                variant.selector = Reference::Slot(slot);
                for choice in &mut variant.choices {
                    if choice.ranges.is_empty() {
                        let Some(mappings) = mappings.as_ref() else {
                            return Err(Fault::new(offset, "the selector of a variant is not an enumeration"));
                        };
                        *work = work.saturating_add(mappings.len());
                        if *work > MAX_WORK {
                            return Err(Fault::new(offset, "too many options of too many labels"));
                        }
                        choice.ranges = ranges(mappings, &choice.member);
                        *work = work.saturating_add(choice.ranges.len() * RANGE_WORK);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The values that are called like a choice. Names may differ by an underscore before them, which escapes reserved words.
fn ranges(mappings: &[Mapping], choice: &Member) -> Vec<(i128, i128)> {
    let of = |same: &dyn Fn(&str) -> bool| -> Vec<(i128, i128)> {
        mappings.iter().filter(|mapping| same(&mapping.label)).map(|mapping| (mapping.low, mapping.high)).collect()
    };
    let exactly = of(&|label| label == choice.raw_name);
    if exactly.is_empty() { of(&|label| label.strip_prefix('_').unwrap_or(label) == choice.name) } else { exactly }
}

fn collect_structure(structure: &Structure, path: &mut Path, found: &mut Vec<(Path, Reference)>) {
    for (index, member) in structure.members.iter().enumerate() {
        path.push(index);
        collect(&member.class, path, found);
        path.pop();
    }
}

fn collect(class: &Class, path: &mut Path, found: &mut Vec<(Path, Reference)>) {
    let inside = |index: usize, class: &Class, path: &mut Path, found: &mut Vec<(Path, Reference)>| {
        path.push(index);
        collect(class, path, found);
        path.pop();
    };
    match class {
        Class::Structure(structure) => collect_structure(structure, path, found),
        Class::Array(array) => {
            if let Length::Of(reference) = &array.length {
                found.push((path.clone(), reference.clone()));
            }
            inside(0, &array.element, path, found);
        }
        Class::Blob(blob) => {
            if let Length::Of(reference) = &blob.length {
                found.push((path.clone(), reference.clone()));
            }
        }
        Class::Variant(variant) => {
            found.push((path.clone(), variant.selector.clone()));
            for (index, choice) in variant.choices.iter().enumerate() {
                inside(index, &choice.member.class, path, found);
            }
        }
        Class::Optional(optional) => {
            found.push((path.clone(), optional.selector.clone()));
            inside(0, &optional.class, path, found);
        }
        Class::Integer(_) | Class::Float { .. } | Class::String(_) => {}
    }
}

fn step(class: &mut Class, index: usize) -> Option<&mut Class> {
    match class {
        Class::Structure(structure) => structure.members.get_mut(index).map(|member| &mut member.class),
        Class::Variant(variant) => variant.choices.get_mut(index).map(|choice| &mut choice.member.class),
        Class::Array(array) => Some(&mut array.element),
        Class::Optional(optional) => Some(&mut optional.class),
        _ => None,
    }
}

fn class_at<'a>(root: &'a mut Structure, path: &[usize]) -> Option<&'a mut Class> {
    let (first, rest) = path.split_first()?;
    let class = &mut root.members.get_mut(*first)?.class;
    rest.iter().try_fold(class, |class, &index| step(class, index))
}

/// The structures around a field from the root inwards: the path of each, and the index of the member that the field is in.
fn around(root: &mut Structure, path: &[usize]) -> Vec<(Path, usize)> {
    let mut all = Vec::new();
    for (depth, index) in path.iter().enumerate() {
        let before = &path[..depth];
        if depth == 0 || matches!(class_at(root, before), Some(Class::Structure(_))) {
            all.push((before.to_vec(), *index));
        }
    }
    all
}

fn members_at<'a>(root: &'a mut Structure, path: &[usize]) -> &'a [Member] {
    if path.is_empty() {
        return &root.members;
    }
    match class_at(root, path) {
        Some(Class::Structure(structure)) => &structure.members,
        _ => &[],
    }
}

fn locate(
    roots: &mut Roots<'_>,
    scope: Scope,
    path: &Path,
    reference: &Reference,
    work: &mut usize,
) -> Result<(Scope, Path), Fault> {
    match reference {
        Reference::Slot(_) => Err(Fault::new(0, "looked up already")),
        Reference::Location { origin, path: names, offset } => {
            let lost = || Fault::new(*offset, "a field location leads nowhere");
            let mut ancestors = roots.get(scope).map(|root| around(root, path)).unwrap_or_default();
            let (target, mut at) = match origin {
                Some(origin) => (*origin, Vec::new()),
                None => (scope, ancestors.pop().ok_or_else(lost)?.0),
            };
            for name in names {
                match name {
                    None => at = ancestors.pop().ok_or_else(lost)?.0,
                    Some(name) => {
                        let root = roots.get(target).ok_or_else(lost)?;
                        at = down(root, at, name, work).ok_or_else(lost)?;
                    }
                }
            }
            Ok((target, at))
        }
        Reference::Names { path: names, offset } => {
            let shown = names.join(".");
            let lost = || Fault::new(*offset, format!("the field `{shown}` is not known"));
            if names.is_empty() {
                return Err(Fault::new(*offset, "a variant without a selector"));
            }
            let words: Vec<&str> = names.iter().map(String::as_str).collect();
            let absolute = match words.as_slice() {
                ["trace", "packet", "header", rest @ ..] => Some((Scope::PacketHeader, rest)),
                ["stream", "packet", "context", rest @ ..] => Some((Scope::PacketContext, rest)),
                ["stream", "event", "header", rest @ ..] => Some((Scope::EventHeader, rest)),
                ["stream", "event", "context", rest @ ..] => Some((Scope::StreamEventContext, rest)),
                ["event", "context", rest @ ..] => Some((Scope::EventContext, rest)),
                ["event", "fields", rest @ ..] => Some((Scope::Payload, rest)),
                _ => None,
            };
            if let Some((target, rest)) = absolute {
                let root = roots.get(target).ok_or_else(lost)?;
                return descend(root, Vec::new(), rest, work).map(|at| (target, at)).ok_or_else(lost);
            }
            let root = roots.get(scope).ok_or_else(lost)?;
            for (at, index) in around(root, path).into_iter().rev() {
                *work = work.saturating_add(index);
                let before = members_at(root, &at).get(..index).unwrap_or_default();
                if before.iter().any(|member| called(member, words[0])) {
                    return descend(root, at, &words, work).map(|at| (scope, at)).ok_or_else(lost);
                }
            }
            let earlier = [
                Scope::EventContext,
                Scope::StreamEventContext,
                Scope::EventHeader,
                Scope::PacketContext,
                Scope::PacketHeader,
            ];
            for target in earlier.into_iter().filter(|target| *target < scope) {
                if let Some(at) = roots.get(target).and_then(|root| descend(root, Vec::new(), &words, work)) {
                    return Ok((target, at));
                }
            }
            Err(lost())
        }
    }
}

fn called(member: &Member, name: &str) -> bool {
    member.raw_name == name || member.name == name
}

fn descend(root: &mut Structure, at: Path, names: &[&str], work: &mut usize) -> Option<Path> {
    names.iter().try_fold(at, |at, name| down(root, at, name, work))
}

/// One name further down; through arrays and optionals to the structure in them.
fn down(root: &mut Structure, mut at: Path, name: &str, work: &mut usize) -> Option<Path> {
    let mut find = |structure: &Structure| {
        *work = work.saturating_add(structure.members.len());
        let exact = structure.members.iter().position(|member| member.raw_name == name);
        exact.or_else(|| structure.members.iter().position(|member| member.name == name))
    };
    if at.is_empty() {
        return find(root).map(|index| vec![index]);
    }
    loop {
        let index = match class_at(root, &at)? {
            Class::Structure(structure) => {
                let index = find(structure)?;
                at.push(index);
                return Some(at);
            }
            Class::Array(_) | Class::Optional(_) => 0,
            _ => return None,
        };
        at.push(index);
    }
}
