//! Where things are: the workspace, its build directory and the files that the tests' own tools live in.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sh::{Cmd, Result};

/// The workspace that this command runs in.
pub(crate) struct Project {
    /// The directory of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's build directory.
    pub(crate) target: PathBuf,
}

impl Project {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable when it runs this program. The path from compile time is for a program that
        // was started by hand: it is wrong once the sources have moved.
        let package =
            env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let root =
            Path::new(&package).parent().ok_or("xtask has to be a folder inside the workspace")?.to_owned();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target })
    }

    /// The npm package of the JavaScript side of the tests.
    pub(crate) fn interop(&self) -> PathBuf {
        self.root.join("pulse-native/tests/interop")
    }

    /// The Python side of the tests: the Autobahn cases.
    pub(crate) fn autobahn(&self) -> PathBuf {
        self.root.join("pulse-native/tests/autobahn")
    }

    /// The settings of schemathesis, and what runs it.
    pub(crate) fn schemathesis(&self) -> PathBuf {
        self.root.join("pulse-native/tests/schemathesis")
    }

    /// The Python that has schemathesis; made by [`crate::setup`].
    pub(crate) fn schemathesis_python(&self) -> PathBuf {
        self.target.join("setup/schemathesis/bin/python")
    }

    /// The Python that has what the Autobahn cases need; made by [`crate::setup`].
    pub(crate) fn python(&self) -> PathBuf {
        self.target.join("setup/venv/bin/python")
    }

    /// The program that runs a WebAssembly test in Node; made by [`crate::setup`].
    pub(crate) fn wasm_runner(&self) -> PathBuf {
        self.target.join("tools/bin/wasm-bindgen-test-runner")
    }

    /// A cargo command at the workspace's root.
    pub(crate) fn cargo(&self) -> Cmd {
        Cmd::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).dir(&self.root)
    }

    /// The version of `package` in Cargo.lock; the first one where there are several.
    pub(crate) fn locked_version(&self, package: &str) -> Result<Option<String>> {
        Ok(version_in(&read(&self.root.join("Cargo.lock"))?, package))
    }
}

fn version_in(lock: &str, package: &str) -> Option<String> {
    let mut lines = lock.lines();
    lines.find(|line| *line == format!("name = \"{package}\""))?;
    Some(lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Writes `text`, making the folders above it where they are missing.
pub(crate) fn write(path: &Path, text: &str) -> Result {
    let folder = path.parent().ok_or_else(|| format!("{} has no folder", path.display()))?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Removes a folder with all that is in it; one that is not there is fine.
pub(crate) fn remove_folder(path: &Path) -> Result {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_of_exactly_the_package_asked_for() {
        let lock = "[[package]]\nname = \"ab-cd\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"ab\"\nversion = \"2.3.4\"\n";
        assert_eq!(version_in(lock, "ab").as_deref(), Some("2.3.4"));
        assert_eq!(version_in(lock, "cd"), None);
    }
}
