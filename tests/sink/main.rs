//! Records in S3: mirrored as they are sealed, and taken home from there.

mod fetched;
mod mirrored;
mod server;
mod worker;
