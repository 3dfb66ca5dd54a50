//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const QUICK_START: &str = "\
Quick start:
  roar run python train.py      record a command and everything it starts
  roar dag                      the graph of what read and wrote what
  roar show data/model.bin      where a file came from";

/// Records which files your programs read and write, and which made which.
#[derive(Parser, Debug)]
#[command(name = "roar", version, after_help = QUICK_START, subcommand_required = true)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Trace one command and report its inputs and outputs; needs no project
    Trace(TraceArgs),
    /// Run a command, or a Ray job, and record it in this project
    Run(TraceArgs),
    /// Make this directory's project a recorded one
    Init(InitArgs),
    /// Take fragments from anywhere into this project's store
    Merge(MergeArgs),
    /// Show the graph of tasks and files
    Dag(DagArgs),
    /// Show a step (@5), a task id, a path, or a digest
    Show(ShowArgs),
    /// Show all that a file was made from, or all that was made from it
    Lineage(LineageArgs),
    /// Show the sources: files that were read and no recorded task made
    Inputs(InputsArgs),
    /// Show what differs between two steps, or between what made two files
    Diff(DiffArgs),
    /// Read files again, and say which are not what they were
    Verify(VerifyArgs),
    /// Make a file again: run its steps once more, as far as it takes, and compare
    Reproduce(ReproduceArgs),
    /// Print the session in another format: for catalogues, archives, attestations, traces
    Export(ExportArgs),
    /// Show the session at a glance
    Status(QueryArgs),
    /// Show the history, newest first
    Log(QueryArgs),
    /// Say what works here, and why something does not
    Doctor(QueryArgs),
    /// Fetch a Ray job's record, or put roar into a KubeRay manifest
    #[command(subcommand)]
    Ray(RayCommand),
    /// Show and change this project's settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what completes roar's words in a shell
    Completions(CompletionsArgs),
    /// Print roar's manual page
    Man(QueryArgs),
}

/// `roar completions`.
#[derive(Args, Debug)]
#[command(
    after_help = "For bash:  roar completions bash > ~/.local/share/bash-completion/completions/roar"
)]
pub struct CompletionsArgs {
    /// Of which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// How to observe.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The most complete that works here
    Auto,
    /// The kernel's seccomp notifications
    Notify,
    /// The debugger's interface
    Ptrace,
    /// A preloaded library: dynamic programs only
    Preload,
}

/// Whether to use the in-process fast path.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// Where it is known to be harmless
    Auto,
    /// Wherever possible
    On,
    /// Never
    Off,
}

/// What becomes of io_uring.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoUring {
    /// Rings work, and are a gap when one was made
    Allow,
    /// io_uring_setup fails with EPERM
    Refuse,
}

/// When tracing is finished.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// When the whole tree has ended
    Tree,
    /// When the command itself has
    Child,
}

/// `roar trace` and `roar run`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Write the report there as JSON (-: stdout, after the command ended)
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Report files of every category
    #[arg(long, help_heading = "Report")]
    pub all: bool,
    /// Say less
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,
    /// Say more (repeatable)
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Report")]
    pub verbose: u8,
    /// How to observe
    #[arg(long, value_enum, default_value = "auto", help_heading = "Observing")]
    pub backend: Backend,
    /// The in-process fast path
    #[arg(long, value_enum, default_value = "auto", help_heading = "Observing")]
    pub accel: Accel,
    /// What becomes of io_uring
    #[arg(long, value_enum, default_value = "allow", help_heading = "Observing")]
    pub io_uring: IoUring,
    /// Finish when the whole tree has ended, or the command itself
    #[arg(long, value_enum, default_value = "child", help_heading = "Observing")]
    pub wait: Wait,
    /// Take no digests
    #[arg(long, help_heading = "Content")]
    pub no_hash: bool,
    /// Take none of inputs larger than SIZE (such as 500M), or on network filesystems
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Content")]
    pub hash_limit: Option<u64>,
    /// What counts as the project [default: the git root, else the working directory]
    #[arg(long, value_name = "DIR", help_heading = "Project")]
    pub root: Option<PathBuf>,
    /// Record into DIR/roar.db [default: the nearest .roar]
    #[arg(long, value_name = "DIR", help_heading = "Project")]
    pub store: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `roar init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The project's root [default: the git root, else the working directory]
    #[arg(value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `roar merge`.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Fragment files, directories that have some somewhere below, or s3://BUCKET/PREFIX
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `roar dag`.
#[derive(Args, Debug)]
pub struct DagArgs {
    /// Print one JSON document
    #[arg(long, group = "format")]
    pub json: bool,
    /// Print it in Graphviz's language: `roar dag --dot | dot -Tsvg > graph.svg`
    #[arg(long, group = "format")]
    pub dot: bool,
    /// Print it as a Mermaid flowchart, which Markdown may have
    #[arg(long, group = "format")]
    pub mermaid: bool,
    /// Write it as a page for a browser, which needs nothing but itself (-: stdout)
    #[arg(long, group = "format", value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Files and edges of every category
    #[arg(long)]
    pub all: bool,
    /// Edges to who read the same content elsewhere, too: inferred ones
    #[arg(long)]
    pub same_content: bool,
}

/// `roar show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A step (@5), a task id, a path, a digest, or the beginning of one
    #[arg(value_name = "REF")]
    pub reference: OsString,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar lineage`.
#[derive(Args, Debug)]
pub struct LineageArgs {
    /// A path, a directory, a URL, a digest, or the beginning of one
    #[arg(value_name = "REF")]
    pub reference: OsString,
    /// Ancestors: the tasks that made it, and all that they used (the default)
    #[arg(long, conflicts_with = "down")]
    pub up: bool,
    /// Descendants: the tasks that used it, and all that they made
    #[arg(long)]
    pub down: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar inputs`.
#[derive(Args, Debug)]
pub struct InputsArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// A step (@5), a task id, or a path or digest: the last task that wrote it
    #[arg(value_name = "A")]
    pub a: OsString,
    /// The other one
    #[arg(value_name = "B")]
    pub b: OsString,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar verify`.
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 where nothing differs, 1 where something does.")]
pub struct VerifyArgs {
    /// A path, a directory, a digest; of a step (@5) or task what it read and wrote [default: all]
    #[arg(value_name = "REF")]
    pub reference: Option<OsString>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar reproduce`.
#[derive(Args, Debug)]
#[command(after_help = "\
The steps that made it run again where they ran before, with the environment of now; before
them those whose results they need and which are not what they were. Nothing runs where a
source is not what it was, or where it would overwrite what another step wrote later or
somebody changed.

Exit status: 0 where it came out as it was, 1 where it did not or could not be made.")]
pub struct ReproduceArgs {
    /// A path, a directory, a URL, a digest; of a step (@5) or task all that its command left
    #[arg(value_name = "REF")]
    pub reference: OsString,
    /// Say what would be run, and run nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print one JSON document; what the steps print goes to stderr
    #[arg(long)]
    pub json: bool,
}

/// What `roar export` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenLineage events of runs, a list
    Openlineage,
    /// W3C PROV, as PROV-JSON
    Prov,
    /// RO-Crate: the ro-crate-metadata.json of the project's root
    RoCrate,
    /// in-toto statements with SLSA provenance, unsigned, one for each command, a list
    InToto,
    /// OpenTelemetry spans, as OTLP/JSON
    Otlp,
    /// DVC: the dvc.yaml of the project's root
    Dvc,
}

/// `roar export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Which
    #[arg(value_enum, value_name = "FORMAT")]
    pub format: Format,
    /// Print one JSON document of roar's, with the other in it
    #[arg(long)]
    pub json: bool,
    /// Files of every category
    #[arg(long)]
    pub all: bool,
}

/// `roar status`, `roar log`, `roar doctor` and `roar man`.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `roar ray`.
#[derive(Subcommand, Debug)]
pub enum RayCommand {
    /// Collect what was recorded of a submitted job
    Fetch(FetchArgs),
    /// Put roar into the RayCluster, RayJob and RayService of a manifest
    Prepare(PrepareArgs),
}

/// `roar ray prepare`.
#[derive(Args, Debug)]
pub struct PrepareArgs {
    /// The manifest (-: stdin)
    #[arg(value_name = "FILE.yaml")]
    pub file: PathBuf,
    /// Write there [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// An image that has roar-worker on its PATH, to take it from [default: that of Ray has it]
    #[arg(long)]
    pub image: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `roar ray fetch`.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// The job's submission id
    #[arg(value_name = "SUBMISSION_ID")]
    pub submission_id: String,
    /// The cluster, as `ray job submit` takes it
    #[arg(long)]
    pub address: Option<String>,
    /// Headers of the requests, as `ray job submit` takes them (JSON)
    #[arg(long, value_name = "JSON")]
    pub headers: Option<String>,
    /// Whether to verify certificates, or a path to some, as `ray job submit` takes it
    #[arg(long, value_name = "BOOL|PATH")]
    pub verify: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `roar config`.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Show all settings, and where each comes from
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show one setting
    Get {
        /// Its name, such as ray.ship
        key: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Change a setting in .roar/config.toml
    Set {
        /// Its name, such as ray.ship
        key: String,
        /// Its value
        value: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

/// Bytes, with an optional K, M, G or T (of 1024).
fn size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let plain = upper.trim_end_matches('B').trim_end_matches('I');
    let (digits, power) = match plain.char_indices().last() {
        Some((at, unit)) if "KMGT".contains(unit) => {
            (&plain[..at], 1 + "KMGT".find(unit).unwrap_or(0) as u32)
        }
        _ => (plain, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1024u64.pow(power)));
    bytes.ok_or_else(|| "a size is a number with K, M, G or T".to_owned())
}
