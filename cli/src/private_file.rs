//! Files that only their owner can read.

use std::{fs::File, io, path::Path};

/// Opens a file for writing. A file that exists is emptied and loses the permissions of others.
///
/// # Errors
///
/// Those of the system.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // An older file keeps its mode, and a pipe has none.
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(file)
}
