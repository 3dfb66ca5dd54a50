//! Observes a process tree: which files its programs read, write, rename and delete, and
//! for which task.
//!
//! ```text
//! filter → listener → supervisor: decode → attribute → accumulate → task log → fragments
//!              └── guardian: answers when the supervisor cannot
//! ```
//!
//! Every path from a notification ends in an answer to it. Only [`sys`] is unsafe.
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod accelerated;
pub mod accelerator;
pub mod arch;
pub mod attribution;
pub mod backend;
pub mod clock;
pub mod decode;
mod deep;
pub mod digest_pool;
mod driver;
mod elf;
mod execute;
pub mod file_digest;
pub mod filter;
mod forward;
pub mod guardian;
pub mod host;
mod imports;
mod inherited;
pub mod inner;
pub mod launch;
pub mod launcher;
mod library;
pub mod live;
mod lookup;
pub mod memory;
pub mod meter;
pub mod mirror;
mod mounts;
mod observe;
mod other_workers;
mod outside;
pub mod packages;
mod paths;
mod pieces;
pub mod preload;
pub mod proc;
pub mod process_table;
mod ptrace;
mod pulse;
pub mod ray;
mod record;
pub mod rings;
#[cfg(feature = "s3")]
mod s3;
pub mod scope;
pub mod seal;
pub mod served;
pub mod shim;
pub mod side;
pub mod sink;
pub mod stores;
pub mod supervisor;
mod supervisor_process;
#[allow(unsafe_code, clippy::indexing_slicing)]
pub mod sys;
pub mod task_log;
mod tasks;
pub mod tracee;
mod under_way;
mod wait;
mod walk;
