//! Lists the Python shim's files and compiles the libraries that are loaded into programs,
//! all of which the launcher carries in itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shim = Path::new("../python-shim").canonicalize()?;
    let mut sources: Vec<PathBuf> = vec![shim.join("sitecustomize.py")];
    println!("cargo::rerun-if-changed={}", sources[0].display());
    println!(
        "cargo::rerun-if-changed={}",
        shim.join("roar_shim").display()
    );
    for entry in std::fs::read_dir(shim.join("roar_shim"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            sources.push(path);
        }
    }
    sources.sort();
    let mut list = String::from("&[\n");
    for source in sources {
        let name = source.strip_prefix(&shim)?;
        writeln!(list, "    ({name:?}, include_bytes!({source:?})),")?;
    }
    list.push_str("]\n");
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("shim.rs"), list)?;
    in_program("preload", &Path::new(&out).join("libroar_preload.so"))?;
    let accelerator = Path::new(&out).join("libroar_accelerator.so");
    match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => in_program("accelerator", &accelerator),
        // Its gate and its numbers are those of x86-64.
        _ => Ok(std::fs::write(accelerator, b"")?),
    }
}

/// Compiles a library that is loaded into programs: without std, libc and start files.
fn in_program(name: &str, library: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let tracee = Path::new("../roar-tracee").canonicalize()?;
    for part in ["in_program", "src"] {
        println!("cargo::rerun-if-changed={}", tracee.join(part).display());
    }
    let source = tracee.join("in_program").join(format!("{name}.rs"));
    let target = std::env::var("TARGET")?;
    let mut rustc = Command::new(std::env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-type", "cdylib"]);
    rustc.arg("--crate-name").arg(format!("roar_{name}"));
    rustc.args(["--target", &target]);
    // One object: a symbol is weak in that which says so.
    let options = [
        "panic=abort",
        "opt-level=2",
        "strip=symbols",
        "codegen-units=1",
    ];
    for option in options {
        rustc.args(["-C", option]);
    }
    rustc.args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-nostartfiles"]);
    // What no libc has would keep programs from starting.
    rustc.args(["-C", "link-arg=-Wl,--no-undefined"]);
    let compiler = format!("CC_{}", target.replace('-', "_"));
    println!("cargo::rerun-if-env-changed={compiler}");
    if let Ok(linker) = std::env::var(compiler) {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let made = rustc.arg("-o").arg(library).arg(&source).status()?;
    match made.success() {
        true => Ok(()),
        false => Err(format!("rustc cannot make {}", library.display()).into()),
    }
}
