//! Installs what the tests need and the machine lacks: Debian packages, npm packages, a Python environment and
//! the runner of WebAssembly tests. Everything but the Debian packages goes into the build directory or a
//! `node_modules`; each part is skipped in no time when it is there already.

use std::path::Path;

use crate::coverage;
use crate::playground;
use crate::project::{Project, read, remove_folder, write};
use crate::sh::{Cmd, Result, which};
use crate::toolchain;

pub(crate) fn run(project: &Project) -> Result {
    debian()?;
    npm(project)?;
    autobahn(project)?;
    schemathesis(project)?;
    wasm_runner(project)?;
    toolchain::Toolchain::wasm(project)?;
    Ok(())
}

/// Debian packages, where the machine is a Debian and lacks what they bring.
fn debian() -> Result {
    let mut wanted: Vec<&str> = Vec::new();
    if which("node").is_none() || which("npm").is_none() {
        wanted.extend(["nodejs", "npm"]);
    }
    if !toolchain::all_installed() {
        wanted.extend(toolchain::DEBIAN_PACKAGES);
    }
    if coverage::llvm_tools().is_err() {
        wanted.push(coverage::DEBIAN_PACKAGE);
    }
    if which("python3").is_none()
        || Cmd::new("python3").args(["-c", "import venv, ensurepip"]).output().is_err()
    {
        wanted.extend(["python3", "python3-venv"]);
    }
    if playground::browser().is_none() {
        wanted.extend(playground::DEBIAN_PACKAGES);
    }
    let programs = [
        ("nginx", "nginx"),
        ("haproxy", "haproxy"),
        ("caddy", "caddy"),
        ("openssl", "openssl"),
        ("curl", "curl"),
        ("script", "bsdutils"),
        ("systemd-analyze", "systemd"),
        ("promtool", "prometheus"),
        ("strace", "strace"),
    ];
    wanted
        .extend(programs.iter().filter(|(program, _)| which(program).is_none()).map(|(_, package)| package));
    if which("apt-get").is_none() {
        // The steps that miss something say what it is, and how to get it elsewhere.
        return Ok(());
    }
    wanted.retain(|package| !is_debian_package_installed(package));
    if wanted.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", wanted.join(" "));
    if !is_root()? {
        return Err(format!(
            "packages are missing; run `sudo apt-get update && sudo {install}`, then this again"
        ));
    }
    Cmd::new("apt-get").line("update -qq").run()?;
    let mut words = install.split(' ');
    Cmd::new(words.next().unwrap_or_default())
        .args(words)
        .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

fn is_debian_package_installed(package: &str) -> bool {
    let status = Cmd::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    status.is_ok_and(|status| status == "installed")
}

fn is_root() -> Result<bool> {
    Ok(Cmd::new("id").arg("-u").output()?.trim() == "0")
}

/// The JavaScript packages that the interop tests run against, as the lock file has them.
fn npm(project: &Project) -> Result {
    let package = project.interop();
    let lock = read(&package.join("package-lock.json"))?;
    let stamp = project.target.join("setup/npm.stamp");
    once(&stamp, &lock, &package.join("node_modules"), || {
        Cmd::new("npm").line("ci --no-audit --no-fund --ignore-scripts").dir(&package).run()
    })
}

/// A Python environment with the Autobahn cases, translated to Python 3.
fn autobahn(project: &Project) -> Result {
    let source = project.autobahn();
    let wanted = ["requirements.txt", "prepare.py"]
        .into_iter()
        .map(|file| read(&source.join(file)))
        .collect::<Result<Vec<_>>>()?
        .join("\n");
    let home = project.target.join("setup");
    let cases = home.join("autobahn");
    once(&home.join("python.stamp"), &wanted, &cases, || {
        remove_folder(&cases)?;
        environment(&home.join("venv"), &project.python(), &source.join("requirements.txt"))?;
        Cmd::new(project.python()).arg(source.join("prepare.py")).arg(&cases).run()
    })
}

/// Another one with schemathesis: the two ask for different versions of the same packages.
fn schemathesis(project: &Project) -> Result {
    let requirements = project.schemathesis().join("requirements.txt");
    let (python, stamp) = (project.schemathesis_python(), project.target.join("setup/schemathesis.stamp"));
    once(&stamp, &read(&requirements)?, &python, || {
        environment(&project.target.join("setup/schemathesis"), &python, &requirements)
    })
}

/// Makes a Python environment anew, whose Python is `python`.
fn environment(folder: &Path, python: &Path, requirements: &Path) -> Result {
    remove_folder(folder)?;
    Cmd::new("python3").args(["-m", "venv"]).arg(folder).run()?;
    let pip = Cmd::new(python).args(["-m", "pip", "--disable-pip-version-check", "--quiet"]);
    pip.args(["install", "-r"]).arg(requirements).run()
}

/// The runner of WebAssembly tests: it has to be of the very version of the library that the tests are linked to.
fn wasm_runner(project: &Project) -> Result {
    let version = project.locked_version("wasm-bindgen")?.ok_or(
        "wasm-bindgen is not in Cargo.lock: pulse-core needs wasm-bindgen-test as a dev-dependency for wasm32",
    )?;
    let has = Cmd::new(project.wasm_runner()).arg("--version").output();
    if has.is_ok_and(|has| has.split_whitespace().last() == Some(version.as_str())) {
        return Ok(());
    }
    project
        .cargo()
        .args(["install", "wasm-bindgen-cli", "--version", &version, "--bin", "wasm-bindgen-test-runner"])
        // Unoptimised and without TLS, which only its use of browsers would need: it builds in under a minute.
        .line("--debug --no-default-features --force --quiet --root")
        .arg(project.target.join("tools"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run()
}

/// Does `work` unless `stamp` says that it was done for `wanted`, and `result` is there.
fn once(stamp: &Path, wanted: &str, result: &Path, work: impl FnOnce() -> Result) -> Result {
    if result.exists() && stamp.is_file() && read(stamp)? == wanted {
        return Ok(());
    }
    work()?;
    write(stamp, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_its_work_once_and_again_when_what_is_wanted_changes() {
        let folder = std::env::temp_dir().join(format!("pulse-xtask-once-{}", std::process::id()));
        let stamp = folder.join("stamp");
        let times = std::cell::Cell::new(0);
        let ask = |wanted: &str| {
            once(&stamp, wanted, &folder, || {
                times.set(times.get() + 1);
                Ok(())
            })
            .expect("the work cannot fail");
            times.get()
        };
        assert_eq!(ask("a"), 1);
        assert_eq!(ask("a"), 1);
        assert_eq!(ask("b"), 2);
        remove_folder(&folder).expect("the folder was just made");
    }
}
