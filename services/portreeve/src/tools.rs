//! Where is a program that `up` starts? Beside us, in the cache of the tools script, or on the PATH.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("{program} was not found in {searched}; install it with deploy/dev/tools.sh{or}")]
pub struct NotFound {
    program: &'static str,
    searched: String,
    or: &'static str,
}

/// nats-server.
pub fn nats_server() -> Result<PathBuf, NotFound> {
    let places = tool_places().chain(path_places());
    find("nats-server", places, " or name an external one with --nats")
}

/// The folder with `postgres` and `initdb`, the newest version installed.
pub fn postgres_bin() -> Result<PathBuf, NotFound> {
    let own = std::env::var_os("PORTREEVE_POSTGRES_BIN").map(PathBuf::from);
    let places = own.into_iter().chain(debian_postgres()).chain(path_places());
    let postgres = find("postgres", places, " or name an external server with --database-url")?;
    // On the PATH it may be a link; initdb stands beside what it leads to.
    let postgres = postgres.canonicalize().unwrap_or(postgres);
    Ok(postgres.parent().map(Path::to_owned).unwrap_or_default())
}

/// podman.
pub fn podman() -> Result<PathBuf, NotFound> {
    find("podman", path_places(), " or name an engine with --container-host")
}

fn tool_places() -> impl Iterator<Item = PathBuf> {
    let own = std::env::var_os("PORTREEVE_TOOLS").map(|dir| PathBuf::from(dir).join("bin"));
    // <exe dir>/../.tools/bin, and the same further up: target/debug/portreeve is in a clone.
    let exe = std::env::current_exe().ok();
    let beside: Vec<PathBuf> = exe
        .iter()
        .flat_map(|exe| exe.ancestors().skip(1).take(4))
        .map(|dir| dir.join(".tools/bin"))
        .collect();
    let clone = PathBuf::from(".tools/bin");
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("portreeve/tools/bin"));
    own.into_iter().chain(beside).chain([clone]).chain(cache)
}

fn path_places() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// /usr/lib/postgresql/<version>/bin, newest first.
fn debian_postgres() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else { return vec![] };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn find(
    program: &'static str,
    places: impl Iterator<Item = PathBuf>,
    or: &'static str,
) -> Result<PathBuf, NotFound> {
    let mut searched = Vec::new();
    for place in places {
        let path = place.join(program);
        let runs = std::fs::metadata(&path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if runs {
            return Ok(std::path::absolute(&path).unwrap_or(path));
        }
        searched.push(place.display().to_string());
    }
    Err(NotFound { program, searched: searched.join(", "), or })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_place_with_a_program_counts_and_a_plain_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for (place, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            let file = dir.path().join(place).join("tool");
            std::fs::create_dir(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let places = || ["a", "b", "c"].map(|place| dir.path().join(place)).into_iter();
        assert_eq!(find("tool", places(), "").unwrap(), dir.path().join("b/tool"));
        let missing = find("other", places(), " or else").unwrap_err().to_string();
        assert!(missing.contains("/a, ") && missing.ends_with("or else"), "{missing}");
    }
}
