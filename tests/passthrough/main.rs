//! What a command sees and does under `roar trace` is what it sees and does without.

mod descriptors;
mod ends;
mod environment;
mod terminal;
