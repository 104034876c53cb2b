//! Renders diagnoses; computes nothing that is not in them.
//!
//! Every name in a diagnosis comes from a log and is hostile: [`text`] makes control characters visible, [`markdown`]
//! escapes what Markdown and HTML take as markup.

mod card;
mod escape;
mod evaluation;
mod evaluation_html;
mod json;
mod markdown;
mod phrases;
#[cfg(test)]
mod samples;
mod table;
mod text;
mod wrap;

pub use card::card;
pub use escape::for_terminal;
pub use evaluation::{calibration, evaluation};
pub use evaluation_html::evaluation_html;
pub use json::json;
pub use markdown::markdown;
pub use text::{TextOptions, text};
pub use wrap::wrap;
