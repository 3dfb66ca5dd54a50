//! A supervisor without descriptors, without memory.

use std::fs;
use std::process::Command;

use crate::churn::Churn;

/// Sets a limit of a running process.
fn limit(pid: u32, what: &str, value: u64) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--{what}={value}")]);
    assert!(prlimit.status().unwrap().success());
}

/// One of the values of `/proc/PID/statm`, in bytes.
fn address_space(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

fn open_descriptors(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.count() as u64
}

/// Runs the load with a limit set in the middle; whether its record is complete.
fn starve(what: &str, value: impl Fn(u32) -> u64) -> bool {
    let churn = Churn::new(60);
    let running = churn.start(&[]);
    let supervisor = running.await_supervisor();
    std::thread::sleep(churn.took / 4);
    limit(supervisor, what, value(supervisor));
    let (seen, report) = running.end();
    assert_eq!(seen, churn.untraced);
    churn.check(&report)
}

#[test]
fn without_descriptors_the_record_is_not_complete_and_says_so() {
    assert!(!starve("nofile", |_| 3));
}

#[test]
fn with_few_descriptors_nothing_is_claimed_that_was_not_seen() {
    for more in [1, 2, 3] {
        starve("nofile", |pid| open_descriptors(pid) + more);
    }
}

#[test]
fn without_memory_nothing_is_claimed_that_was_not_seen() {
    for more in [0, 1 << 20] {
        starve("as", |pid| address_space(pid) + more);
    }
}
