//! Reads Common Trace Format traces: CTF 1.8 (TSDL metadata) and CTF 2 (JSON metadata), as LTTng, perf and barectf write them.
//!
//! ```no_run
//! use emberscope_ctf::{Events, Selection, Trace};
//!
//! let traces = [Trace::open("recording/kernel".as_ref())?];
//! let mut selection = Selection::new();
//! selection.event("sched_switch", &["prev_tid", "next_tid", "packet.cpu_id"]);
//! let mut events = Events::open(&traces, &selection);
//! while let Some(event) = events.next()? {
//!     println!("{} {:?} -> {:?}", event.time_ns(), event.value(0).as_i64(), event.value(1).as_i64());
//! }
//! # Ok::<(), emberscope_ctf::Error>(())
//! ```
//!
//! Only what is asked for is read: metadata are compiled into steps that skip the rest. Memory is bounded by a window of 256 KiB a
//! stream, more only where one event is larger.

mod bits;
mod compile;
mod error;
mod events;
mod lost;
mod metadata;
mod plan;
mod program;
mod record;
mod stream;
mod trace;
mod value;

pub use error::Error;
pub use events::{Event, Events};
pub use lost::{LostInterval, LostStream};
pub use metadata::class::{
    Array, Blob, ByteOrder, Choice, Class, Encoding, Integer, IntegerKind, Mapping, Member, Optional, Structure,
    Variant,
};
pub use metadata::{Clock, EnvironmentValue, EventClass, StreamClass};
pub use plan::Selection;
pub use record::{Field, Record};
pub use trace::{Trace, discover};
pub use value::Value;
