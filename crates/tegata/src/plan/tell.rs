//! A plan in words: for people, for machines, and as a page.

mod json;
mod page;
mod plot;
mod steps;
mod text;
mod words;

pub(crate) use json::json;
pub(crate) use page::page;
pub(crate) use plot::escaped;
pub(crate) use text::text;
pub(crate) use words::Lang;
