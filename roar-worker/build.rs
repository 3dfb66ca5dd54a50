//! Lists the Python shim's files and compiles the preloaded library, which the launcher
//! carries in itself.

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
    preload(&Path::new(&out).join("libroar_preload.so"))
}

/// Compiles the library that is preloaded: without std, libc and start files.
fn preload(library: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let source = Path::new("../roar-tracee/preload/lib.rs").canonicalize()?;
    println!("cargo::rerun-if-changed={}", source.display());
    let target = std::env::var("TARGET")?;
    let mut rustc = Command::new(std::env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-type", "cdylib"]);
    rustc.args(["--crate-name", "roar_preload", "--target", &target]);
    for option in ["panic=abort", "opt-level=2", "strip=symbols"] {
        rustc.args(["-C", option]);
    }
    rustc.args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-nostartfiles"]);
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
