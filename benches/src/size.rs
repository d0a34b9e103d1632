//! How large what is uploaded to Lambda is.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, write::DeflateEncoder};

/// What the format spends on each file beside its name, which stands in it twice: a header before it and one in the directory.
const PER_FILE: usize = 30 + 46;
/// The end of the directory.
const PER_ARCHIVE: usize = 22;

/// The size of a zip with one file or all files of a folder, in megabytes of 1,000,000 bytes.
pub(crate) fn zipped(path: &Path) -> io::Result<f64> {
    Ok((PER_ARCHIVE + entries(path, path)?) as f64 / 1e6)
}

fn entries(root: &Path, path: &Path) -> io::Result<usize> {
    if path.is_file() {
        let name = path.strip_prefix(root).map_or(0, |name| name.as_os_str().len());
        return Ok(PER_FILE + 2 * name + deflated(&fs::read(path)?)?);
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if !is_left_out(&entry) {
            sum += entries(root, &entry)?;
        }
    }
    Ok(sum)
}

/// What Python makes by itself, scripts for people, and Node's bundler.
const LEFT_OUT: [&str; 5] = ["__pycache__", "bin", ".bin", "esbuild", "@esbuild"];

fn is_left_out(path: &Path) -> bool {
    path.file_name().is_some_and(|name| LEFT_OUT.into_iter().any(|left_out| name == left_out))
}

fn deflated(bytes: &[u8]) -> io::Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_small() {
        assert!(deflated(&[b'a'; 10_000]).unwrap() < 100);
    }
}
