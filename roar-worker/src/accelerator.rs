//! Bringing the accelerator (`roar-tracee/in_program/accelerator.rs`) into programs.
//!
//! At a program's start glibc's dynamic loader asks whether `/etc/ld.so.preload` is there
//! (ld.so(8)), nearly always for nothing. Where the accelerator does good and is known to do
//! no harm, the supervisor answers that it is, gives the loader a list that names the
//! library, and then the library. No variable, argument or descriptor of the program tells of
//! it, and a program that was made to forget its environment is reached as well.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use bstr::ByteSlice;
use roar_lineage::model::FileVersion;

use crate::arch::{self, Call};
use crate::elf;
use crate::filter::Exemption;
use crate::library;
use crate::memory;
use crate::observe::{Answer, Entry};
use crate::supervisor::Supervisor;
use crate::sys::file;
use crate::sys::{mapping, process};

/// `libroar_accelerator.so`; empty where there is none for this architecture.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libroar_accelerator.so"));
/// The list of libraries that the dynamic loader reads.
const LIST: &[u8] = b"/etc/ld.so.preload";
/// The dynamic loader of the programs that are accelerated (their ABI's name for it).
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// What a dynamic loader has whose libc has `dlsym` and all of threads in itself: the name of
/// that version.
const NEW_ENOUGH: &[u8] = b"\0GLIBC_2.34\0";
/// Files that a program opens for whose sake it is worth while.
const MANY: u64 = if cfg!(debug_assertions) { 1 } else { 32 };
/// Variables by which the loader is asked to do something else than to start the program.
const OF_LOADER: [&[u8]; 3] = [b"LD_TRACE_LOADED_OBJECTS=", b"LD_DEBUG=", b"LD_AUDIT="];
/// What programs with a sanitizer define or need (`__asan_init`, …): it must be loaded before
/// everything else.
const SANITIZER: &[u8] = b"san_init";

/// What the dynamic loader opens next in a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Loads {
    /// What the program itself brings.
    #[default]
    Nothing,
    /// It was just executed: the loader has not asked yet.
    Asks,
    /// The list.
    List,
    /// The library.
    Library,
}

/// What is known of a program.
#[derive(Clone, Copy, Debug, Default)]
struct Program {
    /// Whether the library does it no harm.
    suits: bool,
    /// Whether a process of it has ended.
    has_ended: bool,
    /// Most files that a process of it has opened.
    opens: u64,
}

/// What is prepared for all programs of a run.
pub struct Accelerator {
    secret: u64,
    path: Vec<u8>,
    list: File,
    library: File,
    programs: HashMap<FileVersion, Program>,
}

/// What the filter exempts, where the accelerator can work. Errors: why it cannot.
pub fn exemption() -> Result<Exemption, String> {
    if LIBRARY.is_empty() {
        return Err("there is none for this architecture".to_owned());
    }
    if file::stat_path(LIST).is_ok() {
        return Err("/etc/ld.so.preload is there".to_owned());
    }
    // Once for a process and those that are forked from it.
    static ASKS_AT: LazyLock<Result<u32, String>> = LazyLock::new(asks_at);
    let asks_at = ASKS_AT.clone()?;
    let secret = process::random().map_err(|error| format!("getrandom: {error}"))?;
    Ok(Exemption {
        secret: u64::from_ne_bytes(secret),
        asks_at,
    })
}

/// Where in a page the dynamic loader has the name of the list.
fn asks_at() -> Result<u32, String> {
    let failed = |error: io::Error| format!("{LOADER}: {error}");
    let loader = File::open(LOADER).map_err(failed)?;
    let is_new_enough = head(&loader).and_then(|head| defines(&loader, &head, NEW_ENOUGH));
    if !is_new_enough.unwrap_or(false) {
        return Err("glibc is older than 2.34".to_owned());
    }
    let found = position(&loader, &[LIST, b"\0"].concat()).map_err(failed)?;
    let at = found.ok_or("the dynamic loader reads no /etc/ld.so.preload")?;
    Ok((at % roar_tracee::ring::PAGE as u64) as u32)
}

/// Where a file has a text first (bytes from its start).
fn position(file: &File, text: &[u8]) -> io::Result<Option<u64>> {
    let mut window = vec![0; 32 << 10];
    let mut from = 0;
    loop {
        let read = file.read_at(&mut window, from)?;
        let there = window.get(..read).unwrap_or_default();
        if let Some(at) = there.find(text) {
            return Ok(Some(from + at as u64));
        }
        if read <= text.len() {
            return Ok(None);
        }
        // It may lie across the end.
        from += (read - text.len()) as u64;
    }
}

impl Accelerator {
    /// Prepares what programs load. Errors: it cannot be written.
    pub fn new(exemption: Exemption) -> io::Result<Self> {
        let path = library::install("accelerator", LIBRARY)?;
        let path = path.as_os_str().as_bytes().to_vec();
        if path
            .iter()
            .any(|byte| matches!(byte, b' ' | b':' | b'\t' | b'\n'))
        {
            return Err(io::Error::other("the list could not name the library"));
        }
        let library = memory_file(c"roar-accelerator", LIBRARY)?;
        // A security module may forbid what every program would then complain of.
        mapping::try_to_execute(library.as_fd())?;
        Ok(Self {
            secret: exemption.secret,
            list: memory_file(c"roar-list", &[&path, &b"\n"[..]].concat())?,
            library,
            path,
            programs: HashMap::new(),
        })
    }

    /// The secret of exempt calls.
    pub(crate) fn secret(&self) -> u64 {
        self.secret
    }

    /// Whether a program that starts now is to load the library.
    fn wants(&mut self, pid: u32, version: FileVersion) -> bool {
        let program = self.programs.entry(version).or_insert_with(|| Program {
            suits: suits(pid).unwrap_or(false),
            ..Program::default()
        });
        program.suits
            && (!program.has_ended || program.opens >= MANY)
            && !is_to_be_left(pid).unwrap_or(true)
    }

    /// Learns how many files a process of a program has opened.
    pub(crate) fn learn(&mut self, version: FileVersion, opens: u64) {
        if let Some(program) = self.programs.get_mut(&version) {
            program.has_ended = true;
            program.opens = program.opens.max(opens);
        }
    }
}

fn memory_file(name: &std::ffi::CStr, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(mapping::memory_file(name, 0)?);
    file.write_all(content)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    mapping::seal(file.as_fd(), seals)?;
    Ok(file)
}

/// The same file, to be read from its start by somebody else.
fn opened_again(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether a process runs a dynamic program of glibc's that gains no privilege and wants no
/// other library to be the first.
fn suits(pid: u32) -> Option<bool> {
    const E_MACHINE: usize = 18;
    let exe = format!("/proc/{pid}/exe");
    let file = File::open(&exe).ok()?;
    let stat = file::stat(file.as_fd()).ok()?;
    let head = head(&file)?;
    let is_x86_64 = head.get(E_MACHINE) == Some(&62);
    let loader = elf::interpreter(&head).filter(|name| name.ends_with(b"/ld-linux-x86-64.so.2"))?;
    let root = file::open_path(format!("/proc/{pid}/root").as_bytes(), 0).ok()?;
    let loader =
        File::from(file::open_path_under(root.as_fd(), &loader, 0, libc::RESOLVE_IN_ROOT).ok()?);
    let loader = opened_again(&loader).ok()?;
    let is_new_enough = defines(&loader, &self::head(&loader)?, NEW_ENOUGH)?;
    let is_privileged =
        stat.mode & (libc::S_ISUID | libc::S_ISGID) != 0 || file::has_capabilities(exe.as_bytes());
    let is_first = defines(&file, &head, SANITIZER)?;
    Some(is_x86_64 && is_new_enough && !is_privileged && !is_first)
}

fn head(file: &File) -> Option<[u8; elf::HEAD]> {
    let mut head = [0; elf::HEAD];
    file.read_at(&mut head, 0).ok().map(|_| head)
}

/// Whether a text is among the names that a file of 64 bits defines or needs.
fn defines(file: &File, head: &[u8], text: &[u8]) -> Option<bool> {
    Some(elf::dynamic_strings(file, head)?.contains_str(text))
}

/// Whether a process is to be left alone: its environment asks the loader for something, its
/// memory is limited, or there is a list in what is its root directory.
fn is_to_be_left(pid: u32) -> Option<bool> {
    if process::is_memory_limited(pid) {
        return Some(true);
    }
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut lines = environment.split(|byte| *byte == 0);
    let asks = lines.any(|line| OF_LOADER.iter().any(|name| line.starts_with(name)));
    let root = format!("/proc/{pid}/root");
    let list = [root.as_bytes(), LIST].concat();
    Some(asks || file::stat_path(&list).is_ok())
}

impl Supervisor {
    /// Takes part in the start of a program. `None`: the call is observed as any other.
    pub(crate) fn loading(&mut self, entry: &Entry) -> Option<Answer> {
        self.accelerator.as_ref()?;
        let (call, _) = arch::call(entry.arch, entry.nr)?;
        let [base, path, ..] = entry.args;
        match call {
            Call::Access => Some(self.loader_asks(entry.tid, base)),
            Call::Openat => self.loader_opens(entry.tid, path),
            _ => None,
        }
    }

    fn loader_asks(&mut self, tid: u32, path: u64) -> Answer {
        self.is_list_wanted(tid, path)
            .map_or(Answer::Continue, |()| Answer::Success)
    }

    fn is_list_wanted(&mut self, tid: u32, path: u64) -> Option<()> {
        let (pid, _) = self.process_of(tid)?;
        if self.path_at(pid, tid, path)? != LIST {
            return None;
        }
        self.catch_up(pid);
        self.confirm_exec(pid);
        let process = self.table.get_mut(pid)?;
        if std::mem::take(&mut process.loads) != Loads::Asks {
            return None;
        }
        // They belonged to the program that is gone.
        process.rings = None;
        self.with_rings.remove(&pid);
        self.learn(pid);
        let process = self.table.get_mut(pid)?;
        let exe = file::open_path(format!("/proc/{pid}/exe").as_bytes(), 0).ok()?;
        let program = file::stat(exe.as_fd()).ok()?.version();
        process.program = Some(program);
        process.opens = 0;
        if self.is_confined(pid) || !self.accelerator.as_mut()?.wants(pid, program) {
            return None;
        }
        self.table.get_mut(pid)?.loads = Loads::List;
        Some(())
    }

    fn loader_opens(&mut self, tid: u32, path: u64) -> Option<Answer> {
        let process = self.table.get(tid)?;
        let accelerator = self.accelerator.as_ref()?;
        let (wanted, file, next) = match process.loads {
            Loads::List => (LIST, &accelerator.list, Loads::Library),
            Loads::Library => {
                let path = accelerator.path.as_slice();
                (path, &accelerator.library, Loads::Nothing)
            }
            _ => return None,
        };
        let is_it = self
            .path_at(tid, tid, path)
            .is_some_and(|path| path == wanted);
        let given = is_it.then(|| opened_again(file));
        self.table.get_mut(tid)?.loads = if is_it { next } else { Loads::Nothing };
        given.map(|file| {
            file.map_or(Answer::Continue, |file| {
                Answer::Descriptor(OwnedFd::from(file))
            })
        })
    }

    /// Learns from a process whose program has ended.
    pub(crate) fn learn(&mut self, pid: u32) {
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        let (program, opens) = (process.program.take(), process.opens);
        if let (Some(accelerator), Some(program)) = (&mut self.accelerator, program) {
            accelerator.learn(program, opens);
        }
    }

    fn path_at(&self, pid: u32, tid: u32, address: u64) -> Option<bstr::BString> {
        let tracee = self.tracee(self.table.get(pid)?, tid);
        memory::path(&tracee, address).ok()?
    }
}
