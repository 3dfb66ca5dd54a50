//! Outputs that another task may have written again before their own had ended. What was
//! found there at the end is then not known to be what the task left.
//!
//! One observer knows which of its tasks wrote last. Of two observers neither saw what the
//! other's task did, and each took what was there for its own task's.

use rusqlite::{Connection, params};

use super::load::{Role, Usage, Use};
use crate::fragment::RAY_OBSERVER;
use crate::model::{FileState, Stamp};

/// When a task wrote a location.
struct Writing<'a> {
    index: usize,
    task: usize,
    /// Stamps of one boot can be compared.
    boot: &'a str,
    first: Stamp,
    last: Stamp,
    /// When it was looked at.
    ended: Stamp,
}

/// Takes back what is said of outputs that another task may have written later and before
/// their task's end. Uses of one location stand together; `numbers` are those of `tasks`.
pub(super) fn supersede(
    db: &Connection,
    uses: &mut [Use],
    tasks: &[Usage],
    numbers: &[i64],
) -> Result<(), rusqlite::Error> {
    let is_one_view =
        |a: usize, b: usize| is_one_view(db, [a, b].map(|it| (numbers[it], &tasks[it])));
    let mut superseded = Vec::new();
    let mut start = 0;
    for group in uses.chunk_by(|a, b| a.location == b.location) {
        let mut writings = writings(group, start, tasks);
        start += group.len();
        writings.sort_by_key(|writing| (writing.boot, writing.last));
        for writings in writings.chunk_by(|a, b| a.boot == b.boot) {
            add_overwritten(writings, is_one_view, &mut superseded)?;
        }
    }
    for index in superseded {
        let file = &mut uses[index].file;
        (file.digest, file.size, file.version) = (None, None, None);
        (file.state, file.unchanged) = (FileState::Superseded, false);
    }
    Ok(())
}

/// The writes of one location, whose uses begin at `start`; none if there is but one.
fn writings<'a>(group: &[Use], start: usize, tasks: &'a [Usage]) -> Vec<Writing<'a>> {
    let is_write = |used: &Use| used.role == Role::Write && used.file.object.is_none();
    if group.iter().filter(|used| is_write(used)).nth(1).is_none() {
        return Vec::new();
    }
    let written = group.iter().enumerate().filter(|(_, used)| is_write(used));
    let writing = |(index, used): (usize, &Use)| {
        let task = &tasks[used.task].task;
        let (first, last) = (used.file.first, used.file.last);
        let ended = task.ended.map_or(Stamp::MAX, |ended| ended.max(last));
        Writing {
            index: start + index,
            task: used.task,
            boot: &task.boot,
            first,
            last,
            ended,
        }
    };
    written.map(writing).collect()
}

/// Of writings in one boot, in the order of their ends: those after which another may have
/// come before the result was looked at.
fn add_overwritten(
    writings: &[Writing<'_>],
    is_one_view: impl Fn(usize, usize) -> Result<bool, rusqlite::Error>,
    overwritten: &mut Vec<usize>,
) -> Result<(), rusqlite::Error> {
    // Of each and those behind it.
    let mut earliest: Vec<Stamp> = writings.iter().map(|writing| writing.first).collect();
    for index in (1..earliest.len()).rev() {
        earliest[index - 1] = earliest[index - 1].min(earliest[index]);
    }
    for writing in writings {
        let later = writings.partition_point(|other| other.last <= writing.last);
        let others = writings[later..].iter().zip(&earliest[later..]);
        for (other, _) in others.take_while(|(_, first)| **first <= writing.ended) {
            let is_within = other.task != writing.task && other.first <= writing.ended;
            if is_within && !is_one_view(writing.task, other.task)? {
                overwritten.push(writing.index);
                break;
            }
        }
    }
    Ok(())
}

/// Whether one observer saw both of two tasks, or one of them, another roar's, was a part of
/// the other.
fn is_one_view(db: &Connection, both: [(i64, &Usage); 2]) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM fragment AS a JOIN fragment AS b USING (observer)
                  WHERE a.task = ?1 AND b.task = ?2 AND observer <> ?3)
               OR EXISTS (SELECT 1 FROM fragment JOIN process ON process.fragment = fragment.n
                  WHERE (task = ?1 AND process.pid = ?5) OR (task = ?2 AND process.pid = ?4))";
    let [(a, one), (b, other)] = both;
    let parameters = params![a, b, RAY_OBSERVER, one.task.pid, other.task.pid];
    db.prepare_cached(sql)?
        .query_row(parameters, |row| row.get(0))
}
