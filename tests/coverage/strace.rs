//! What strace shows, taken naively.

use roar_tests::strace;

use crate::Seen;
use crate::cases::Case;
use crate::place::{self, Place};

/// Runs a case under strace, and reads what that wrote.
pub(crate) fn observed(place: &Place, case: &Case) -> Seen {
    let log = place.project.report_path().with_file_name("strace");
    let strace = strace::command("trace=file,desc", &log);
    let words = [strace.get_program()].into_iter().chain(strace.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    place.run(case, &words);
    let seen = strace::files(&log, &place.project.path(""));
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
