//! Calls that were let go a moment ago, and may not have happened yet.
//!
//! What a call will find is looked up before it is let go (seccomp_unotify(2)). Where another
//! process changes one of its names in between, the two may come in either order, and nobody
//! can tell in which they came: that is noticed, and said.

use std::collections::VecDeque;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use roar_lineage::event::Access;
use roar_lineage::model::Stamp;

use crate::arch::Call;
use crate::proc::{self, Activity};
use crate::sys::file;

/// How long a call may take to begin once it is let go (nanoseconds): its thread waits for a
/// CPU.
const SOON: u64 = 10_000_000;
/// How often a thread that runs is looked at, and what is between two looks.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_micros(10);
/// Most calls that are remembered.
const MOST: usize = 64;

/// What a call does to names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It uses what they lead to.
    Uses,
    /// It makes this one.
    Makes(BString),
    /// It takes this one away, and may put another file at another.
    Takes(BString),
}

impl Effect {
    /// Of a call that looked these names up, and accesses these files.
    pub(crate) fn of(call: Call, names: &[BString], accesses: &[Access]) -> Self {
        let made = accesses.iter().find_map(|access| match access {
            Access::Write {
                path, before: None, ..
            } => Some(path),
            Access::Link { to, .. } => Some(to),
            _ => None,
        });
        let takes = matches!(
            call,
            Call::Rename | Call::Renameat | Call::Renameat2 | Call::Unlink | Call::Unlinkat
        );
        match (made, names.first()) {
            (Some(made), _) => Self::Makes(made.clone()),
            (None, Some(name)) if takes => Self::Takes(name.clone()),
            _ => Self::Uses,
        }
    }

    /// Whether it can be seen to have happened.
    fn is_seen(&self) -> bool {
        match self {
            Self::Uses => false,
            Self::Makes(name) => file::stat_path(name).is_ok(),
            Self::Takes(name) => {
                file::stat_path(name).is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT))
            }
        }
    }
}

/// A call that names files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Naming {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) nr: i32,
    pub(crate) stamp: Stamp,
    /// Paths, as they are and as they were given.
    pub(crate) names: Vec<BString>,
    pub(crate) effect: Effect,
}

impl Naming {
    /// Whether it has surely happened: it can be seen, or its thread waits in another call.
    pub(crate) fn has_happened(&self) -> bool {
        let has_returned = || match proc::activity(self.pid, self.tid) {
            Some(Activity::Waits(nr)) => nr != self.nr,
            Some(Activity::None) => true,
            Some(Activity::Runs) | None => false,
        };
        self.effect.is_seen() || has_returned()
    }

    /// Whether the order of two calls matters to what they find.
    fn meets(&self, other: &Self) -> bool {
        let is_of_one = |a: &BString, b: &BString| is_at_or_below(a, b) || is_at_or_below(b, a);
        let share = |is_of_one: fn(&BString, &BString) -> bool| {
            let mut names = self.names.iter();
            names.any(|name| other.names.iter().any(|it| is_of_one(name, it)))
        };
        match (&self.effect, &other.effect) {
            (Effect::Uses, Effect::Uses) => false,
            // Whoever comes first, both have the same file.
            (Effect::Makes(_), Effect::Makes(_)) => false,
            (Effect::Makes(_), Effect::Uses) | (Effect::Uses, Effect::Makes(_)) => {
                share(BString::eq)
            }
            _ => share(is_of_one),
        }
    }
}

fn is_at_or_below(path: &BString, directory: &BString) -> bool {
    let rest = path.strip_prefix(directory.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The calls of a moment, by when they were let go.
#[derive(Default)]
pub(crate) struct UnderWay(VecDeque<Naming>);

impl UnderWay {
    /// A thread calls: what it called before has happened.
    pub(crate) fn returned(&mut self, tid: u32, now: Stamp) {
        self.0
            .retain(|it| it.tid != tid && now.saturating_sub(it.stamp) < SOON);
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, pid: u32) {
        self.0.retain(|it| it.pid != pid);
    }

    /// A call that is about to be let go. Gives the processes, its own among them, of which it
    /// is not known what their calls find.
    pub(crate) fn add(
        &mut self,
        naming: Naming,
        has_happened: impl Fn(&Naming) -> bool,
    ) -> Vec<u32> {
        let met = self.0.iter();
        let mut met: Vec<_> = met
            .filter(|it| it.pid != naming.pid && it.meets(&naming))
            .collect();
        for looks in 1..=LOOKS {
            met.retain(|it| !has_happened(it));
            if !met.is_empty() && looks < LOOKS {
                std::thread::sleep(PAUSE);
            }
        }
        let mut unclear = Vec::new();
        for other in met {
            if naming.effect != Effect::Uses {
                unclear.push(other.pid);
            }
            if other.effect != Effect::Uses {
                unclear.push(naming.pid);
            }
        }
        unclear.dedup();
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(naming);
        unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(pid: u32, effect: Effect, names: &[&str]) -> Naming {
        Naming {
            pid,
            tid: pid,
            nr: 0,
            stamp: 1,
            names: names.iter().map(|name| BString::from(*name)).collect(),
            effect,
        }
    }

    fn meet(a: (Effect, &[&str]), b: (Effect, &[&str])) -> bool {
        let (a, b) = (naming(1, a.0, a.1), naming(2, b.0, b.1));
        assert_eq!(a.meets(&b), b.meets(&a));
        a.meets(&b)
    }

    fn takes(name: &str) -> Effect {
        Effect::Takes(name.into())
    }

    fn makes(name: &str) -> Effect {
        Effect::Makes(name.into())
    }

    #[test]
    fn a_name_on_the_way_matters_to_what_is_behind_it() {
        let used = (Effect::Uses, &["/a/v1/f", "/a/cur/f"][..]);
        assert!(meet(used.clone(), (takes("/a/new"), &["/a/new", "/a/cur"])));
        assert!(meet(used.clone(), (takes("/a"), &["/a", "/b"])));
        assert!(!meet(used.clone(), (takes("/a/c"), &["/a/c", "/a/cu"])));
        assert!(!meet(used.clone(), (Effect::Uses, &["/a/v1/f"])));
        assert!(!meet(used, (makes("/a/v1/g"), &["/a/v1/g"])));
    }

    #[test]
    fn of_two_that_make_a_name_either_may_be_the_first() {
        let made = (makes("/a"), &["/a"][..]);
        assert!(!meet(made.clone(), made.clone()));
        assert!(meet(made.clone(), (Effect::Uses, &["/a"])));
        assert!(meet(made, (takes("/a"), &["/a"])));
    }

    #[test]
    fn what_is_made_and_taken_is_known_by_the_call() {
        let names = ["/from".into(), "/to".into()];
        let of = |call, accesses: &[Access]| Effect::of(call, &names, accesses);
        assert_eq!(of(Call::Renameat2, &[]), takes("/from"));
        assert_eq!(of(Call::Unlink, &[]), takes("/from"));
        assert_eq!(of(Call::Openat, &[]), Effect::Uses);
    }

    #[test]
    fn a_call_has_happened_once_its_thread_calls_again_or_ends() {
        let mut calls = UnderWay::default();
        let add = |calls: &mut UnderWay, pid, effect, name: &str| {
            calls.add(naming(pid, effect, &[name]), |_| false)
        };
        assert!(add(&mut calls, 6, takes("/d"), "/d").is_empty());
        assert_eq!(add(&mut calls, 7, Effect::Uses, "/d/x"), [7]);
        assert_eq!(add(&mut calls, 8, takes("/d/x"), "/d/x"), [6, 8, 7]);
        calls.returned(6, 2);
        calls.ended(8);
        assert!(add(&mut calls, 9, Effect::Uses, "/d/x").is_empty());
        assert_eq!(add(&mut calls, 10, takes("/d/x"), "/d/x"), [7, 9]);
        calls.returned(11, 1 + SOON);
        assert!(add(&mut calls, 11, takes("/d/x"), "/d/x").is_empty());
        let seen = calls.add(naming(12, Effect::Uses, &["/x"]), |_| true);
        assert!(seen.is_empty());
    }

    #[test]
    fn an_effect_is_seen() {
        assert!(makes("/proc/self").is_seen() && !makes("/no/such").is_seen());
        assert!(takes("/no/such").is_seen() && !takes("/proc/self").is_seen());
        assert!(!Effect::Uses.is_seen());
    }
}
