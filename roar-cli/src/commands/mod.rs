//! One file for each command.

pub mod again;
pub mod config;
pub mod dag;
pub mod diff;
pub mod doctor;
pub mod drawing;
pub mod export;
pub mod init;
pub mod inputs;
pub mod lineage;
pub mod log;
pub mod manual;
pub mod merge;
pub mod page;
pub mod ray;
pub mod reproduce;
pub mod run;
pub mod show;
pub mod status;
pub mod trace;
pub mod verify;
