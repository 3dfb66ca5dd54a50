//! Hashing, away from the notifications: in threads, by plain reads, and only of the
//! version that was asked for.
//!
//! A digest is `exact` when device, inode, size, mtime and ctime are those of the
//! observation before and after reading, and the ctime was older than the file system's
//! clock when reading began, so that no later write could hide behind the same ctime.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bstr::BString;
use nix::sys::eventfd::{EfdFlags, EventFd};
use roar_lineage::digest_cache::DigestCache;
use roar_lineage::event::Outcome;
use roar_lineage::model::{FileState, FileVersion};

use crate::file_digest::{self, GoesOn, Read};
use crate::meter::Meter;
use crate::proc;
use crate::sys::{self, file, process};

/// Granularity of a local file system's timestamps: one tick of the slowest kernel clock.
const TICK: Duration = Duration::from_millis(10);
const URGENT_THREADS: usize = 2;
/// Most jobs that wait for an idle moment while their task goes on: more of its files are
/// asked for when it ends.
const MOST_EARLY: usize = 4096;

/// What to hash.
#[derive(Clone, Debug)]
pub struct HashJob {
    /// Where the version was.
    pub path: BString,
    /// The version.
    pub version: FileVersion,
    /// Whether the version is gone, so that only a digest taken earlier can tell.
    pub is_gone: bool,
    /// Whether its task goes on: what fails now may have moved, and is asked for again.
    pub is_early: bool,
}

/// How hashing ended.
pub type Hashed = (FileVersion, Outcome);

/// A job, and whoever waits for its result.
struct Asked {
    job: HashJob,
    answer: Option<Answer>,
}

/// Gives a result even if its thread ends without one, as it may where memory is short.
struct Answer {
    version: FileVersion,
    outcome: Outcome,
    done: Sender<Hashed>,
    wake: Arc<EventFd>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.done.send((self.version, self.outcome));
        let _ = self.wake.write(1);
    }
}

/// Threads that hash: one that runs only when nothing else wants the CPU, and a few for
/// what somebody waits for.
pub struct DigestPool {
    idle: Option<Sender<Asked>>,
    early: Arc<AtomicUsize>,
    urgent: Vec<Sender<Asked>>,
    turn: usize,
    done: (Sender<Hashed>, Receiver<Hashed>),
    wake: Arc<EventFd>,
    hurry: Arc<AtomicBool>,
    meter: Option<Arc<Meter>>,
}

impl DigestPool {
    /// No thread is started before there is something to hash.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            idle: None,
            early: Arc::new(AtomicUsize::new(0)),
            urgent: Vec::new(),
            turn: 0,
            done: channel(),
            wake: Arc::new(EventFd::from_value_and_flags(0, flags)?),
            hurry: Arc::new(AtomicBool::new(false)),
            meter: None,
        })
    }

    /// Has somebody see how far it is, and end it.
    pub(crate) fn measure(&mut self, meter: Meter) {
        self.meter = Some(Arc::new(meter));
    }

    /// Has whoever sees how far it is know what is to come, about: sizes (bytes).
    pub(crate) fn expect(&self, sizes: impl Iterator<Item = u64>) {
        if let Some(meter) = &self.meter {
            sizes.for_each(|size| meter.expected(size));
        }
    }

    /// All has been asked for.
    pub(crate) fn expect_no_more(&self) {
        if let Some(meter) = &self.meter {
            meter.expect_no_more();
        }
    }

    /// Readable when results wait.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Results since the last call.
    pub fn results(&self) -> Vec<Hashed> {
        let _ = self.wake.read();
        self.done.1.try_iter().collect()
    }

    /// Hashes when there is time. Without a result when it is given up.
    pub fn when_idle(&mut self, job: HashJob) {
        if self.idle.is_none() {
            self.idle = self.start(true);
        }
        let Some(idle) = &self.idle else {
            return;
        };
        if job.is_early {
            if self.early.load(Ordering::Relaxed) >= MOST_EARLY {
                return;
            }
            self.early.fetch_add(1, Ordering::Relaxed);
        }
        let _ = idle.send(Asked { job, answer: None });
    }

    /// Hashes now; there is always a result. What waits for an idle moment is given up.
    /// False when no thread could be started.
    pub fn now(&mut self, job: HashJob) -> bool {
        self.hurry.store(true, Ordering::Relaxed);
        self.idle = None;
        if self.urgent.len() < URGENT_THREADS
            && let Some(thread) = self.start(false)
        {
            self.urgent.push(thread);
        }
        if let Some(meter) = &self.meter {
            meter.asked(job.version.size);
        }
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn.checked_rem(self.urgent.len()).unwrap_or(0);
        let Some(thread) = self.urgent.get(turn) else {
            return false;
        };
        let answer = Answer {
            version: job.version,
            outcome: Outcome::None(FileState::Skipped),
            done: self.done.0.clone(),
            wake: self.wake.clone(),
        };
        let answer = Some(answer);
        let _ = thread.send(Asked { job, answer });
        true
    }

    /// Closes the cache, so that all is in it, and who opens it next need not read its journal.
    pub fn close(&self) {
        *CACHE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn start(&self, is_idle: bool) -> Option<Sender<Asked>> {
        let (jobs, waiting) = channel::<Asked>();
        let (done, wake) = (self.done.0.clone(), self.wake.clone());
        let hurry = self.hurry.clone();
        let early = self.early.clone();
        let meter = self.meter.clone();
        let work = move || {
            if is_idle {
                process::become_idle();
            }
            while let Some(Asked { job, answer }) = next(&waiting) {
                if job.is_early {
                    early.fetch_sub(1, Ordering::Relaxed);
                }
                let outcome = if is_idle {
                    let goes_on = |_| !hurry.load(Ordering::Relaxed);
                    let may_open = |inode| !proc::is_leased(inode);
                    let outcome = digest(&job, &goes_on, may_open, file_digest::alone);
                    let outcome = outcome.filter(|_| goes_on(0));
                    outcome.filter(|outcome| !job.is_early || matches!(outcome, Outcome::Exact(_)))
                } else {
                    let goes_on = |read| {
                        meter.as_ref().is_none_or(|meter| {
                            meter.read(read);
                            !meter.has_ended()
                        })
                    };
                    let outcome = digest(&job, &goes_on, |_| true, file_digest::together);
                    if let Some(meter) = &meter {
                        meter.done();
                    }
                    outcome
                };
                match (answer, outcome) {
                    (Some(mut answer), Some(outcome)) => answer.outcome = outcome,
                    (None, Some(outcome)) => {
                        let _ = done.send((job.version, outcome));
                        let _ = wake.write(1);
                    }
                    (_, None) => {}
                }
            }
        };
        let name = if is_idle {
            "roar-idle-hash"
        } else {
            "roar-hash"
        };
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(256 << 10)
            .spawn(work)
            .ok()?;
        Some(jobs)
    }
}

/// Hashes in the calling thread.
pub fn hash(job: &HashJob) -> Outcome {
    digest(job, &|_| true, |_| true, file_digest::alone)
        .unwrap_or(Outcome::None(FileState::Skipped))
}

fn age(version: FileVersion) -> Duration {
    let now = file::clock(libc::CLOCK_REALTIME_COARSE);
    Duration::from_nanos(u64::try_from(now.saturating_sub(version.ctime)).unwrap_or(0))
}

/// Whether a later change of the file would show in its ctime.
fn is_settled(version: FileVersion) -> bool {
    age(version) > TICK
}

/// The user's digests of earlier runs, opened when first asked and shared by the threads.
/// The inner `None`: it cannot be opened.
static CACHE: Mutex<Option<Option<DigestCache>>> = Mutex::new(None);

fn with_cache<T>(ask: impl FnOnce(&mut DigestCache) -> Option<T>) -> Option<T> {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    ask(cache.get_or_insert_with(open_cache).as_mut()?)
}

/// Has other supervisors know the digests taken so far.
pub(crate) fn flush_cache() {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Some(cache)) = cache.as_mut() {
        cache.flush();
    }
}

/// The next job. While none waits, what was found out is there for others.
fn next(jobs: &Receiver<Asked>) -> Option<Asked> {
    jobs.try_recv().ok().or_else(|| {
        flush_cache();
        jobs.recv().ok()
    })
}

/// `$XDG_CACHE_HOME/roar`, else `~/.cache/roar`.
fn open_cache() -> Option<DigestCache> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    DigestCache::open(&caches.join("roar"), &crate::host::boot()).ok()
}

/// `None` when it was given up, or the file with its inode may not be opened now.
fn digest(
    job: &HashJob,
    goes_on: &GoesOn,
    may_open: fn(u64) -> bool,
    read: fn(&File, u64, &GoesOn) -> io::Result<Read>,
) -> Option<Outcome> {
    if !goes_on(0) {
        return None;
    }
    // Somebody has seen this version there: what it was, whatever is there now.
    if let Some(known) = with_cache(|cache| cache.get(job.version)) {
        return Some(Outcome::Exact(known));
    }
    if job.is_gone {
        return Some(Outcome::None(FileState::Superseded));
    }
    let failed = |error: io::Error| {
        sys::note_starvation(&error);
        Some(Outcome::None(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileState::Missing,
            _ => FileState::Unreadable,
        }))
    };
    if !may_open(job.version.ino) {
        return None;
    }
    let file = match open(&job.path) {
        Ok(file) => file,
        Err(error) => return failed(error),
    };
    if is_remote(&file) {
        return Some(Outcome::None(FileState::Skipped));
    }
    let is_same = |file: &File| {
        file::stat(file.as_fd())
            .is_ok_and(|stat| stat.is_regular() && stat.version() == job.version)
    };
    if !is_same(&file) {
        return Some(Outcome::None(FileState::Superseded));
    }
    while !is_settled(job.version) {
        let rest = TICK.saturating_sub(age(job.version)) + Duration::from_millis(1);
        std::thread::sleep(rest);
        // A ctime in the future never settles: clocks were set, or the file is another's.
        if job.version.ctime > file::clock(libc::CLOCK_REALTIME) {
            return Some(Outcome::None(FileState::Skipped));
        }
    }
    let digest = match read(&file, job.version.size, goes_on) {
        Ok(Read::Digest(digest)) if is_same(&file) => digest,
        Ok(Read::Digest(_) | Read::Short) => return Some(Outcome::None(FileState::Superseded)),
        Ok(Read::GivenUp) => return None,
        Err(error) => return failed(error),
    };
    with_cache(|cache| {
        cache.put(job.version, digest);
        Some(())
    });
    Some(Outcome::Exact(digest))
}

/// Whether reading goes over a network or through somebody's process: such files are not
/// hashed, since reading them costs others, and their timestamps are coarse.
fn is_remote(file: &File) -> bool {
    // NFS, SMB, CIFS, SMB2, FUSE, Ceph, Lustre, AFS, 9p, Coda, GFS2 (linux/magic.h).
    const REMOTE: [u64; 11] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x6573_5546,
        0x00C3_6400,
        0x0BD0_0BD0,
        0x5346_414F,
        0x0102_1997,
        0x7375_7245,
        0x0116_1970,
    ];
    nix::sys::statfs::fstatfs(file)
        .is_ok_and(|fs| REMOTE.contains(&(fs.filesystem_type().0.cast_unsigned() & 0xFFFF_FFFF)))
}

/// Opens without waiting (FIFOs), following (links) or, where allowed, leaving a trace.
fn open(path: &[u8]) -> io::Result<File> {
    let (path, _directory) = file::short(path)?;
    let path = std::ffi::OsStr::from_bytes(&path);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let with = |flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    with(flags | libc::O_NOATIME).or_else(|error| match error.raw_os_error() {
        Some(libc::EPERM) => with(flags),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use roar_lineage::digest::Digest;

    use super::*;

    fn version(path: &std::path::Path) -> FileVersion {
        file::stat_path(path.as_os_str().as_bytes())
            .unwrap()
            .version()
    }

    #[test]
    fn a_thread_that_is_gone_still_answers() {
        let mut pool = DigestPool::new().unwrap();
        pool.urgent = (0..URGENT_THREADS).map(|_| channel().0).collect();
        let path = std::env::current_exe().unwrap();
        let job = HashJob {
            path: path.as_os_str().as_bytes().into(),
            version: version(&path),
            is_gone: false,
            is_early: false,
        };
        assert!(pool.now(job.clone()));
        assert_eq!(
            pool.results(),
            [(job.version, Outcome::None(FileState::Skipped))]
        );
    }

    #[test]
    fn only_the_version_asked_for_gets_a_digest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let old = version(&path);
        let job = HashJob {
            path: path.as_os_str().as_bytes().into(),
            version: old,
            is_gone: false,
            is_early: false,
        };
        let one = Outcome::Exact(Digest::of(b"one"));
        assert_eq!(hash(&job), one);
        std::fs::write(&path, "two").unwrap();
        let mut unknown = job.clone();
        unknown.version.ino = 0;
        assert_eq!(hash(&unknown), Outcome::None(FileState::Superseded));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(hash(&unknown), Outcome::None(FileState::Missing));
        // As it was hashed once.
        assert_eq!(hash(&job), one);
    }
}
