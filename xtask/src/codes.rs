//! Writes the code tables of the docs from the one in pulse-core, and tells when they differ.

use std::fmt::Write;
use std::path::PathBuf;

use pulse_core::wire::{CLOSES, CloseCode, ERRORS};

use crate::project::{Project, read, write};
use crate::sh::Result;

const BEGIN: &str = "<!-- codes:begin -->\n";
const END: &str = "<!-- codes:end -->";

/// Rewrites the tables in docs/PROTOCOL.md.
pub(crate) fn run(project: &Project) -> Result {
    let file = document(project);
    let text = read(&file)?;
    let renewed = renew(&text, &tables())?;
    if renewed == text { Ok(()) } else { write(&file, &renewed) }
}

/// What is wrong with the tables in docs/PROTOCOL.md, if something is.
pub(crate) fn check(project: &Project) -> Result {
    let text = read(&document(project))?;
    if renew(&text, &tables())? == text {
        return Ok(());
    }
    Err("the code tables differ from pulse-core/src/wire/code.rs; run `cargo xtask codes`".to_owned())
}

fn document(project: &Project) -> PathBuf {
    project.root.join("docs/PROTOCOL.md")
}

/// `text` with `tables` in the place of what stands between the two markers.
fn renew(text: &str, tables: &str) -> Result<String> {
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = parts else {
        return Err(format!(
            "the code tables have no place: the lines {} and {END} are missing",
            BEGIN.trim()
        ));
    };
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

/// Both tables in Markdown.
fn tables() -> String {
    let mut text =
        String::from("\nIn `error` frames:\n\n| code | name | temporary | meaning |\n|---|---|---|---|\n");
    for row in ERRORS {
        let temporary = if row.temporary { "yes" } else { "no" };
        line(&mut text, row.code, row.name, temporary, row.text);
    }
    text.push_str("\nIn `disconnect` frames, and as close codes:\n\n| code | name | come back | meaning |\n|---|---|---|---|\n");
    for row in CLOSES {
        let back = if CloseCode(row.code).comes_back() { "yes, with backoff" } else { "no" };
        line(&mut text, row.code, row.name, back, row.text);
    }
    text.push('\n');
    text
}

fn line(text: &mut String, code: u16, name: &str, verdict: &str, meaning: &str) {
    let meaning = meaning.replace('|', "\\|");
    writeln!(text, "| {code} | `{name}` | {verdict} | {meaning} |").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_stands_between_the_markers_and_nothing_else() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let renewed = renew(&text, "new\n").expect("both markers are there");
        assert_eq!(renewed, format!("before\n{BEGIN}new\n{END}\nafter\n"));
        assert_eq!(renew(&renewed, "new\n").as_deref(), Ok(&*renewed));
        assert!(renew("no markers", "new\n").is_err());
    }

    #[test]
    fn lists_every_code_with_its_verdict() {
        let tables = tables();
        assert!(tables.contains("| 1013 | `limit_exceeded` | yes | "));
        assert!(tables.contains("| 4500 | `malformed` | no | "));
        assert!(tables.contains("| 4000 | `shutdown` | yes, with backoff | "));
        let lines =
            tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| code")).count();
        assert_eq!(lines, ERRORS.len() + CLOSES.len());
    }
}
