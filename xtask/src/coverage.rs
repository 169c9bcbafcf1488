//! Measures which lines and branches of the decoder its tests reach.
//!
//! Branch coverage is a compiler option that is not stable yet, so the stable compiler is told to accept it. The tools
//! that read the result have to be of the compiler's LLVM: rustup's component or Debian's package, whichever is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{Project, remove_folder, write};
use crate::sh::{Cmd, Result, which};
use crate::toolchain::host;

/// Of the same LLVM as Rust 1.95.
pub(crate) const DEBIAN_PACKAGE: &str = "llvm-22";

/// The program of this LLVM tool as Debian names it.
const DEBIAN_SUFFIX: &str = "-22";

pub(crate) fn run(project: &Project) -> Result {
    let tools = llvm_tools()?;
    let target = project.target.join("coverage");
    let raw = target.join("raw");
    remove_folder(&raw)?;
    let cargo = || {
        project
            .cargo()
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Cinstrument-coverage -Zcoverage-options=branch")
            .env("LLVM_PROFILE_FILE", raw.join("%p-%m.profraw"))
            .line("test --quiet --package pulse-core --lib --test wire_* --test json_*")
    };
    let built = cargo().line("--no-run --message-format=json").output()?;
    let programs = test_programs(&built);
    cargo().run()?;

    let profile = target.join("decoder.profdata");
    let list = target.join("profiles.txt");
    write(&list, &profiles(&raw)?.join("\n"))?;
    Cmd::new(&tools.profdata).line("merge --sparse -o").arg(&profile).arg("-f").arg(&list).run()?;
    let (first, others) = programs.split_first().ok_or("cargo named no test program")?;
    let report = Cmd::new(&tools.cov)
        .line("report --show-branch-summary --show-region-summary=false")
        .arg(format!("--instr-profile={}", profile.display()))
        .arg(first)
        .args(others.iter().map(|program| format!("--object={program}")))
        .arg("--sources")
        .arg(project.root.join("pulse-core/src/wire"))
        .output()?;
    println!(
        "\nCoverage of pulse-core/src/wire by its unit tests and pulse-core/tests/{{wire,json}}_*.rs:\n\n{report}"
    );
    Ok(())
}

/// The two programs that turn raw counts into a report.
pub(crate) struct LlvmTools {
    profdata: PathBuf,
    cov: PathBuf,
}

pub(crate) fn llvm_tools() -> Result<LlvmTools> {
    let sysroot = Cmd::new("rustc").line("--print sysroot").output()?;
    let version = Cmd::new("rustc").arg("-vV").output()?;
    let component = Path::new(sysroot.trim()).join("lib/rustlib").join(host(&version)?).join("bin");
    if component.join("llvm-cov").is_file() {
        return Ok(LlvmTools { profdata: component.join("llvm-profdata"), cov: component.join("llvm-cov") });
    }
    let debian = |tool: &str| which(&format!("{tool}{DEBIAN_SUFFIX}")).map(PathBuf::from);
    match (debian("llvm-profdata"), debian("llvm-cov")) {
        (Some(profdata), Some(cov)) => Ok(LlvmTools { profdata, cov }),
        _ => Err(format!(
            "llvm-cov is missing; run `rustup component add llvm-tools`, or on Debian \
             `apt-get install --no-install-recommends {DEBIAN_PACKAGE}`"
        )),
    }
}

/// The test programs among cargo's messages, one JSON object a line.
fn test_programs(messages: &str) -> Vec<String> {
    let program = |line: &str| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    messages.lines().filter(|line| line.contains(r#""test":true}"#)).filter_map(program).collect()
}

fn profiles(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("no test left a profile: {error}"))?;
    Ok(entries.flatten().map(|entry| entry.path().display().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_test_programs_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","profile":{"opt_level":"0","test":false},"executable":"/t/build"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","profile":{"opt_level":"0","test":true},"executable":"/t/wire_read-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(test_programs(messages), ["/t/wire_read-1"]);
    }
}
