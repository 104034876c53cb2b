//! Records a Spark run: what the operating system did to each task, and what Spark says of it.
//!
//! Three steps, apart from each other: [`Facts::look`] asks the machine what it allows, [`plan`] makes of facts and
//! [`Options`] a [`Plan`] of exact commands without touching anything, and [`run`] runs them around the job. A dry run
//! prints the plan; a test of the plan needs no tracer.
//!
//! No shell is involved: commands are argument vectors. Nothing that could not be recorded is passed over: it is a
//! [`Lack`] of the plan, or an issue of the [`Manifest`], which is written last.

mod clocks;
mod command;
mod events;
mod facts;
mod manifest;
mod options;
mod perf_data;
mod plan;
mod run;
mod submit;
mod tools;
mod tracers;

pub use clocks::ClockPair;
pub use command::Command;
pub use facts::{Facts, OutFolder, Perf};
pub use manifest::{Manifest, RecordedLog, Trace, Tracer};
pub use options::{Options, Profile, parse_duration, parse_size};
pub use perf_data::{PerfCounts, count};
pub use plan::{Kernel, Lack, PerfRecorder, Plan, PlanError, Session, plan};
pub use run::{Outcome, RecordError, run};
pub use submit::{LogPlace, Settings};
