//! Which pages are built into the API? Those that lie in `services/web/dist` while it is compiled.
//!
//! Without them (nobody ran `make web`) the API compiles all the same and says how to get them.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Compressed copies lie beside their original under these endings.
const BROTLI: &str = "br";
const GZIP: &str = "gz";
/// Stands in the folder also when nothing is built.
const NOTE: &str = "README.md";

fn main() -> io::Result<()> {
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../web/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut table = String::from("pub static FILES: &[File] = &[\n");
    for path in files(&dist)? {
        row(&mut table, &dist, &path)?;
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("web_files.rs"), table)
}

/// The originals, in order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().unwrap_or_default();
        let hidden =
            path.file_name().is_some_and(|name| name == NOTE || name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if !hidden && ending != BROTLI && ending != GZIP {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn row(table: &mut String, dist: &Path, path: &Path) -> io::Result<()> {
    let name = path.strip_prefix(dist).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let path = path.canonicalize()?;
    // tells versions apart, nothing more
    let mut hasher = DefaultHasher::new();
    fs::read(&path)?.hash(&mut hasher);
    let version = hasher.finish();
    let copy = |ending: &str| {
        let copy = PathBuf::from(format!("{}.{ending}", path.display()));
        if copy.exists() { format!("Some(include_bytes!({copy:?}))") } else { "None".to_owned() }
    };
    let (brotli, gzip) = (copy(BROTLI), copy(GZIP));
    let _infallible = writeln!(
        table,
        "    File {{ name: {name:?}, version: \"{version:016x}\", plain: include_bytes!({path:?}), brotli: {brotli}, gzip: {gzip} }},"
    );
    Ok(())
}
