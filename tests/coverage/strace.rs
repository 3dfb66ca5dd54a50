//! What strace shows, taken naively.

use std::fs;

use crate::Seen;
use crate::cases::Case;
use crate::place::{self, Place};

/// Runs a case under strace, and reads what that wrote.
pub(crate) fn observed(place: &Place, case: &Case) -> Seen {
    let log = place.project.report_path();
    let log = log.to_str().unwrap();
    let strace = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        "10000",
        "-e",
        "trace=file,desc",
    ];
    place.run(case, &[&strace[..], &["-o", log, "--"]].concat());
    let log = fs::read(log).unwrap_or_default();
    let seen = roar_tests::strace::files(&log, &place.project.path(""));
    // Made and deleted, or moved away: as anybody would read it.
    let [reads, writes, deletes] = seen;
    let writes = writes.difference(&deletes).cloned().collect::<Vec<_>>();
    let [reads, writes, deletes] = [
        place::below(place, reads),
        place::below(place, writes),
        place::below(place, deletes),
    ];
    Seen {
        files: [reads, writes, deletes],
        faults: Vec::new(),
    }
}
