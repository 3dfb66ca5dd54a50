//! Libraries that are loaded into programs, put where programs of all users find them.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use roar_lineage::digest::Digest;

/// Writes a library below the temporary directory, once for each content.
///
/// Errors: it cannot be written, or the directory is another user's.
pub(crate) fn install(name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let own = nix::unistd::geteuid().as_raw();
    let directory = std::env::temp_dir().join(format!("roar-lib-{own}"));
    let there = std::fs::symlink_metadata(&directory).or_else(|_| {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(&directory)?;
        std::fs::symlink_metadata(&directory)
    })?;
    // Before anything in it is opened: it may be anything.
    if there.uid() != own || !there.is_dir() {
        return Err(io::Error::other(
            "the library's directory is another user's",
        ));
    }
    let digest = Digest::of(content).hex();
    let digest = digest.get(..16).unwrap_or_default();
    let path = directory.join(format!("libroar_{name}-{digest}.so"));
    if std::fs::read(&path).is_ok_and(|there| there == content) {
        return Ok(path);
    }
    let draft = directory.join(format!(".{}", std::process::id()));
    std::fs::write(&draft, content)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&draft, &path)?;
    Ok(path)
}
