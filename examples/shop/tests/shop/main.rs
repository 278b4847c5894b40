//! The shop as a whole: all services on real ports, called as the gateway calls them.

#![cfg(test)]

mod graph;
mod isolation;
mod ordering;
mod stage;
mod undoing;
