//! What CTF 1.8 reads from fields, by their names (sections 5 and 6).

use super::Metadata;
use super::class::{Class, Integer, Role, Structure};

/// Gives integers the roles that their names have. A time without a clock has the only clock that there is.
pub(super) fn give(metadata: &mut Metadata) {
    let only = match metadata.clocks.as_slice() {
        [clock] => Some(clock.name.clone()),
        _ => None,
    };
    of_structure(&mut metadata.packet_header, &HEADER, None);
    for stream in &mut metadata.streams {
        of_structure(&mut stream.packet_context, &CONTEXT, only.as_deref());
        of_structure(&mut stream.event_header, &EVENT, only.as_deref());
    }
}

const HEADER: [(&str, Role); 3] =
    [("magic", Role::Magic), ("stream_id", Role::StreamClassId), ("stream_instance_id", Role::StreamId)];
const CONTEXT: [(&str, Role); 6] = [
    ("packet_size", Role::PacketBits),
    ("content_size", Role::ContentBits),
    ("timestamp_begin", Role::Timestamp),
    ("timestamp_end", Role::PacketEnd),
    ("events_discarded", Role::DiscardedEvents),
    ("packet_seq_num", Role::SequenceNumber),
];
const EVENT: [(&str, Role); 2] = [("id", Role::EventClassId), ("timestamp", Role::Timestamp)];

fn of_structure(structure: &mut Structure, names: &[(&str, Role)], only_clock: Option<&str>) {
    for member in &mut structure.members {
        let role = names.iter().find(|(name, _)| *name == member.name).map(|found| found.1);
        match &mut member.class {
            Class::Integer(integer) => set(integer, role, only_clock),
            Class::Structure(inner) => of_structure(inner, names, only_clock),
            Class::Variant(variant) => {
                for choice in &mut variant.choices {
                    if let Class::Structure(inner) = &mut choice.member.class {
                        of_structure(inner, names, only_clock);
                    }
                }
            }
            _ => {}
        }
    }
}

fn set(integer: &mut Integer, role: Option<Role>, only_clock: Option<&str>) {
    let is_time = matches!(role, Some(Role::Timestamp | Role::PacketEnd));
    if is_time && integer.clock.is_none() && !integer.signed {
        integer.clock = only_clock.map(str::to_owned);
    }
    integer.roles.extend(role);
    // Any integer of a clock tells the time.
    if integer.clock.is_some() && !is_time {
        integer.roles.push(Role::Timestamp);
    }
}
