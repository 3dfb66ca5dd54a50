//! Lists the Python shim's files, which the launcher carries in itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};

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
    Ok(())
}
