//! One file for each command.

pub mod config;
pub mod dag;
pub mod doctor;
pub mod drawing;
pub mod init;
pub mod lineage;
pub mod log;
pub mod manual;
pub mod merge;
pub mod ray;
pub mod run;
pub mod show;
pub mod status;
pub mod trace;
