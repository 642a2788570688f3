//! Where is the program under test? Beside the test's own, where cargo puts both.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The repository's root.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

/// `target/<profile>`, from the running test's own place.
pub fn target() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this test's own program?")?;
    let folder =
        own.ancestors().find(|folder| folder.join(".fingerprint").is_dir() || folder.join("deps").is_dir());
    folder.map(Path::to_owned).context("this test's own program is in no target folder")
}

/// A program of this workspace; it must have been built.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = target()?.join(name);
    if !path.is_file() {
        bail!("{} is missing: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// A program of the machine, with the line that installs it when it is missing.
pub fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is missing: deploy/dev/tools.sh installs it"))
}

/// Where `deploy/dev/tools.sh` keeps what no package brings.
pub fn tools() -> PathBuf {
    let named = std::env::var_os("PORTREEVE_TOOLS").map(PathBuf::from);
    named.unwrap_or_else(|| repository().join(".tools"))
}

/// A program that `make tools` keeps (`bin/nats-server`), or the machine's own where it has none.
pub fn tool(path: &str) -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folders = [
        std::env::var_os("PORTREEVE_TOOLS").map(PathBuf::from),
        Some(repository().join(".tools")),
        cache.map(|cache| cache.join("portreeve/tools")),
    ];
    let kept = folders.into_iter().flatten().map(|folder| folder.join(path));
    match kept.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => installed(path.rsplit('/').next().unwrap_or(path)),
    }
}
