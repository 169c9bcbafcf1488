//! Compilers for the targets that Pulse's core has to build for and that a machine may not have.
//!
//! In this order: a target that is installed in the active toolchain; Debian's Rust for the web, whose source package
//! lets it compile the standard library itself. rustup is never called: it needs a network that may be closed, so
//! a person is told the command instead. `WASM_TOOLCHAIN=debian` passes over the installed targets.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{Project, read, remove_folder, write};
use crate::sh::{Cmd, Result};

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Without an operating system, and 32 bits wide with no 64-bit atomics: what builds here builds on any other.
pub(crate) const BARE: &str = "thumbv7em-none-eabi";

/// What Debian's way needs.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Of lld-22. The compiler would look for `rust-lld`, which comes with neither.
const DEBIAN_LINKER: &str = "wasm-ld-22";
const DEBIAN_RUSTLIB: &str = "/usr/lib/rustlib";

/// A way to compile for one target.
pub(crate) enum Toolchain {
    /// The target belongs to the active toolchain.
    Installed,
    /// Debian's compiler with a standard library of our own making, in the folder given.
    Sysroot(PathBuf),
    /// Debian's compiler, which compiles `core` and `alloc` along with the crate.
    BuildStd,
}

impl Toolchain {
    /// For [`WASM`], with the whole standard library, so that tests run too. Makes it once: about a minute.
    pub(crate) fn wasm(project: &Project) -> Result<Self> {
        if is_installed(WASM) {
            return Ok(Self::Installed);
        }
        require_debian(WASM)?;
        let sysroot = project.target.join("setup/wasm-sysroot");
        make_sysroot(project, &sysroot)?;
        Ok(Self::Sysroot(sysroot))
    }

    /// For [`BARE`].
    pub(crate) fn bare() -> Result<Self> {
        if is_installed(BARE) {
            return Ok(Self::Installed);
        }
        require_debian(BARE)?;
        Ok(Self::BuildStd)
    }

    /// A cargo command that compiles for `target`; the caller adds what is to be done after `subcommand`.
    pub(crate) fn cargo(&self, project: &Project, subcommand: &str, target: &str) -> Cmd {
        let cmd = match self {
            Self::Installed => project.cargo(),
            // A build directory of its own: another compiler would throw away what the first one made.
            Self::Sysroot(sysroot) => debian_cargo(&sysroot.join("bin/rustc"))
                .dir(&project.root)
                .env("CARGO_TARGET_DIR", project.target.join("debian"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER),
            Self::BuildStd => debian_cargo(Path::new(DEBIAN_RUSTC))
                .dir(&project.root)
                .env("CARGO_TARGET_DIR", project.target.join("debian"))
                .env("RUSTC_BOOTSTRAP", "1"),
        };
        let cmd = cmd.line(subcommand).args(["--target", target]);
        if matches!(self, Self::BuildStd) { cmd.arg("-Zbuild-std=core,alloc") } else { cmd }
    }

    /// For the log: sizes and warnings differ between compilers.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Installed => "the target installed in the active toolchain".to_owned(),
            Self::Sysroot(_) | Self::BuildStd => {
                let version = Cmd::new(DEBIAN_RUSTC).arg("--version").output().unwrap_or_default();
                format!("Debian's {}", version.trim())
            }
        }
    }
}

/// Whether both targets can do without Debian's packages.
pub(crate) fn all_installed() -> bool {
    is_installed(WASM) && is_installed(BARE)
}

fn is_installed(target: &str) -> bool {
    if env::var("WASM_TOOLCHAIN").is_ok_and(|way| way == "debian") {
        return false;
    }
    let libdir = Cmd::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    libdir.is_ok_and(|dir| has_core(Path::new(dir.trim())))
}

fn has_core(libdir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(libdir) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

fn require_debian(target: &str) -> Result {
    let source = Path::new(DEBIAN_RUSTLIB).join("src/rust/library/Cargo.toml");
    let missing =
        [Path::new(DEBIAN_CARGO), Path::new(DEBIAN_RUSTC), &source].into_iter().find(|file| !file.exists());
    match missing {
        None => Ok(()),
        Some(file) => Err(format!(
            "no compiler for {target}: {} is missing; run `rustup target add {target}`, or on Debian \
             `apt-get install --no-install-recommends {}`",
            file.display(),
            DEBIAN_PACKAGES.join(" ")
        )),
    }
}

/// Debian's cargo, free of the settings that rustup's proxies and `cargo run` leave in the environment.
fn debian_cargo(rustc: &Path) -> Cmd {
    ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTC_WRAPPER"]
        .into_iter()
        .fold(Cmd::new(DEBIAN_CARGO), Cmd::without_env)
        .env("RUSTC", rustc)
}

/// Compiles the standard library for [`WASM`] into `sysroot`, beside a `rustc` that uses it: from then on neither
/// an unstable flag nor another compilation of it is needed, whatever the profile.
fn make_sysroot(project: &Project, sysroot: &Path) -> Result {
    let stamp = sysroot.join("stamp");
    let wanted = format!("{}\n{}", sysroot.display(), Cmd::new(DEBIAN_RUSTC).arg("-vV").output()?);
    if stamp.is_file() && read(&stamp)? == wanted {
        return Ok(());
    }
    let work = project.target.join("setup/wasm-std");
    remove_folder(&work)?;
    remove_folder(sysroot)?;
    write(&work.join("Cargo.toml"), EMPTY_PACKAGE)?;
    write(&work.join("src/lib.rs"), "#![no_std]\n")?;
    debian_cargo(Path::new(DEBIAN_RUSTC))
        .dir(&work)
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Lets link-time optimisation see into the standard library.
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Cembed-bitcode=yes")
        .line("build --quiet --release -Zbuild-std=std,panic_abort,test")
        .args(["--target", WASM])
        .run()?;

    let lib = sysroot.join("lib/rustlib").join(WASM).join("lib");
    let io = |error: std::io::Error| format!("cannot fill {}: {error}", sysroot.display());
    fs::create_dir_all(&lib).map_err(io)?;
    for entry in fs::read_dir(work.join("target").join(WASM).join("release/deps")).map_err(io)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(entry.path(), lib.join(name)).map_err(io)?;
        }
    }
    // The host's own library, for build scripts and procedural macros.
    let host = host(&wanted)?;
    link(&Path::new(DEBIAN_RUSTLIB).join(host), &sysroot.join("lib/rustlib").join(host)).map_err(io)?;
    let rustc = sysroot.join("bin/rustc");
    write(&rustc, &format!("#!/bin/sh\nexec {DEBIAN_RUSTC} --sysroot '{}' \"$@\"\n", sysroot.display()))?;
    make_executable(&rustc).map_err(io)?;
    remove_folder(&work)?;
    write(&stamp, &wanted)
}

const EMPTY_PACKAGE: &str = r#"[package]
name = "empty"
version = "0.0.0"
edition = "2024"

[profile.release]
opt-level = "s"
codegen-units = 1

[workspace]
"#;

/// The target that a compiler runs on, from what `rustc -vV` prints.
pub(crate) fn host(verbose_version: &str) -> Result<&str> {
    verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or_else(|| "rustc -vV does not name its host".to_owned())
}

#[cfg(unix)]
fn link(original: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(unix)]
fn make_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

// Debian's way exists on Debian alone; these two let the rest of xtask build elsewhere.
#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
