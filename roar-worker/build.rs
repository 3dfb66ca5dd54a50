//! Packs the Python shim into one zip file, which the launcher carries in itself.

use std::io::Write;
use std::path::Path;

use zip::write::SimpleFileOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shim = Path::new("../python-shim/roar_shim");
    println!("cargo::rerun-if-changed={}", shim.display());
    let out = std::env::var("OUT_DIR")?;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(Path::new(&out).join("shim.zip"))?);
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut sources: Vec<_> = std::fs::read_dir(shim)?.collect::<Result<_, _>>()?;
    sources.sort_by_key(std::fs::DirEntry::file_name);
    for source in sources {
        let path = source.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let name = source.file_name();
            zip.start_file(format!("roar_shim/{}", name.to_string_lossy()), options)?;
            zip.write_all(&std::fs::read(&path)?)?;
        }
    }
    zip.finish()?;
    Ok(())
}
