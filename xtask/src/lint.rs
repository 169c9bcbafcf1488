//! Everything that judges the sources without running them.

use crate::project::Project;
use crate::sh::Result;
use crate::tidy;

pub(crate) fn run(project: &Project) -> Result {
    project.cargo().line("fmt --all --check").run()?;
    project.cargo().line("clippy --workspace --all-targets -- -D warnings").run()?;
    // The client alone, for programs that serve nothing.
    let client = "--package pulse-native --lib --no-default-features --features client";
    project.cargo().line(&format!("clippy {client} -- -D warnings")).run()?;
    let doc = || project.cargo().env("RUSTDOCFLAGS", "-D warnings").line("doc --workspace --no-deps");
    // As readers of the public interface see it, and then as its engineers do: each finds broken links of its own.
    doc().run()?;
    doc().arg("--document-private-items").run()?;
    tidy::run(project)
}
