//! The project's own rules about its files, those that neither the compiler nor clippy knows. Also a test.

use std::fmt;

use pulse_core::wire::{CLOSES, ERRORS};

use crate::codes;
use crate::project::Project;
use crate::sh::{Cmd, Result};

/// A module is one noun; a longer one holds two.
const LONG_LINES: usize = 600;
const MOST_LINES: usize = 800;

pub(crate) fn run(project: &Project) -> Result {
    let files = files(project)?;
    for file in &files {
        let lines = file.text.lines().count();
        if file.is("rs") && lines > LONG_LINES {
            eprintln!("note: {} has {lines} lines: does it still hold one noun?", file.path);
        }
    }
    let problems = problems(project, &files);
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(format!("tidy found {count} problems")),
    }
}

fn problems(project: &Project, files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        for check in [length, promises, machine_paths, download_addresses, lints, sleeps, wasm_tests] {
            check(file, &mut problems);
        }
    }
    code_tests(files, &mut problems);
    if let Err(what) = codes::check(project) {
        problems.push(Problem { path: "docs/PROTOCOL.md".to_owned(), line: 0, what });
    }
    problems
}

/// A text file of the project.
struct File {
    /// From the workspace's root, with slashes.
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, end)| end == extension)
    }

    fn is_lock(&self) -> bool {
        self.path.ends_with("Cargo.lock") || self.path.ends_with("package-lock.json")
    }

    fn problem(&self, line: usize, what: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, what: what.into() }
    }

    /// A problem for each line that `is_wrong`.
    fn lines_that(&self, is_wrong: impl Fn(&str) -> bool, what: &str, problems: &mut Vec<Problem>) {
        let lines = self.text.lines().enumerate().filter(|(_, line)| is_wrong(line));
        problems.extend(lines.map(|(index, _)| self.problem(index + 1, what)));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    path: String,
    /// 0 where it is about the whole file.
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The text files that git knows or would add.
fn files(project: &Project) -> Result<Vec<File>> {
    let listed = Cmd::new("git")
        .line("ls-files -z --cached --others --exclude-standard")
        .dir(&project.root)
        .output()?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // What cannot be read as text is an image or the like, or a file that was removed and not yet committed so.
    Ok(paths
        .filter_map(|path| {
            let text = std::fs::read_to_string(project.root.join(path)).ok()?;
            Some(File { path: path.to_owned(), text })
        })
        .collect())
}

fn length(file: &File, problems: &mut Vec<Problem>) {
    let lines = file.text.lines().count();
    if file.is("rs") && lines > MOST_LINES {
        problems.push(
            file.problem(0, format!("{lines} lines, {MOST_LINES} at most: its next noun wants its own file")),
        );
    }
}

fn promises(file: &File, problems: &mut Vec<Problem>) {
    // In pieces, so that this file does not name itself.
    let words =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("TO", "DO")];
    let promises = |line: &str| words.iter().any(|word| line.contains(word));
    file.lines_that(promises, "a promise in the code: keep it, or leave out what it promises", problems);
}

fn machine_paths(file: &File, problems: &mut Vec<Problem>) {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt")];
    // The start of a path, not the middle of one: a folder of the project may have such a name.
    let is_path = |line: &str, folder: &str| {
        line.match_indices(folder).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-~*}".contains(c))
        })
    };
    let names_machine = |line: &str| folders.iter().any(|folder| is_path(line, folder));
    if !file.is_lock() {
        file.lines_that(names_machine, "a path of one machine", problems);
    }
}

fn download_addresses(file: &File, problems: &mut Vec<Problem>) {
    let address = concat!("\"resolved\": \"", "http");
    file.lines_that(
        |line| line.contains(address),
        "a download address in a lock file: take it out",
        problems,
    );
}

fn lints(file: &File, problems: &mut Vec<Problem>) {
    let is_package = file.path.ends_with("Cargo.toml") && file.text.contains("[package]");
    if is_package && !file.text.contains("[lints]\nworkspace = true") {
        problems.push(file.problem(0, "the workspace's lints are missing: [lints] workspace = true"));
    }
}

fn sleeps(file: &File, problems: &mut Vec<Problem>) {
    let words = ["thread::sleep(", "time::sleep("];
    let is_test = file.is("rs") && file.path.contains("/tests/");
    if is_test {
        let sleeps = |line: &str| words.iter().any(|word| line.contains(word));
        file.lines_that(
            sleeps,
            "a test that sleeps: let it wait for the event, or run in virtual time",
            problems,
        );
    }
}

/// The core's suite runs on wasm32 too, where a plain `#[test]` is silently none.
fn wasm_tests(file: &File, problems: &mut Vec<Problem>) {
    let is_core = file.is("rs") && file.path.starts_with("pulse-core/");
    let has_tests = file.text.lines().any(|line| line.trim() == "#[test]");
    let host_only = file.text.contains("#![cfg(not(target_");
    if is_core && has_tests && !host_only && !file.text.contains("wasm_bindgen_test as test;") {
        let what =
            "tests that do not run on wasm32: let wasm_bindgen_test be `test` there, or say #![cfg(not(..))]";
        problems.push(file.problem(0, what));
    }
}

/// Every code has the test that provokes it over a real socket: no test, no code.
fn code_tests(files: &[File], problems: &mut Vec<Problem>) {
    let rows =
        ERRORS.iter().map(|row| (row.code, row.test)).chain(CLOSES.iter().map(|row| (row.code, row.test)));
    for (code, test) in rows {
        let is_there = |file: &File| {
            file.path.starts_with("pulse-native/tests/") && file.is("rs") && has_test(&file.text, test)
        };
        if !files.iter().any(is_there) {
            problems.push(Problem {
                path: "pulse-core/src/wire/code.rs".to_owned(),
                line: 0,
                what: format!("code {code} names the test {test}, which is not in pulse-native/tests"),
            });
        }
    }
}

/// Whether `text` has a function of this name under a test attribute.
fn has_test(text: &str, name: &str) -> bool {
    let start = format!("fn {name}(");
    let mut under_attribute = false;
    for line in text.lines().map(str::trim) {
        if line.contains(&start) {
            return under_attribute;
        }
        if line.starts_with("#[") {
            under_attribute |= line.contains("test");
        } else {
            under_attribute = false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy() {
        let project = Project::find().expect("xtask is in the workspace");
        let files = files(&project).expect("git lists the files");
        let problems = problems(&project, &files);
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }

    /// How many problems `rule` finds in a file.
    fn count(rule: fn(&File, &mut Vec<Problem>), path: &str, text: &str) -> usize {
        let mut problems = Vec::new();
        rule(&File { path: path.to_owned(), text: text.to_owned() }, &mut problems);
        problems.len()
    }

    #[test]
    fn long_files_and_promises_are_found() {
        let long = "\n".repeat(MOST_LINES + 1);
        assert_eq!(count(length, "a/src/b.rs", &long), 1);
        assert_eq!(count(length, "a/src/b.md", &long), 0);
        assert_eq!(count(length, "a/src/b.rs", &long[1..]), 0);
        assert_eq!(count(promises, "a.rs", concat!("fn a() { to", "do!() }\n\n// FIX", "ME: later")), 2);
        assert_eq!(count(promises, "a.rs", "a list of what to do"), 0);
    }

    #[test]
    fn paths_of_a_machine_are_found_and_relative_ones_are_not() {
        assert_eq!(count(machine_paths, "a.md", concat!("see `/wo", "rk/shared`")), 1);
        assert_eq!(count(machine_paths, "a.sh", concat!("PATH=/ro", "ot/bin")), 1);
        assert_eq!(
            count(machine_paths, "a.sh", concat!("target/wo", "rk/file $X/ro", "ot/y ./wo", "rk/z")),
            0
        );
        assert_eq!(count(machine_paths, "Cargo.lock", concat!("/wo", "rk/")), 0);
    }

    #[test]
    fn download_addresses_missing_lints_and_sleeps_are_found() {
        assert_eq!(
            count(download_addresses, "package-lock.json", concat!("\"resolved\": \"", "https://a/b.tgz\"")),
            1
        );
        assert_eq!(count(lints, "a/Cargo.toml", "[package]\nname = \"a\"\n"), 1);
        assert_eq!(count(lints, "a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"), 0);
        assert_eq!(count(lints, "Cargo.toml", "[workspace]\n"), 0);
        assert_eq!(count(sleeps, "a/tests/b.rs", "tokio::time::sleep(ms).await;"), 1);
        assert_eq!(count(sleeps, "a/src/b.rs", "thread::sleep(ms);"), 0);
    }

    #[test]
    fn core_tests_that_wasm_would_not_run_are_found() {
        let test = "#[test]\nfn a() {}\n";
        let shadowed =
            "#[cfg(target_arch = \"wasm32\")]\nuse wasm_bindgen_test::wasm_bindgen_test as test;\n";
        assert_eq!(count(wasm_tests, "pulse-core/tests/a.rs", test), 1);
        assert_eq!(count(wasm_tests, "pulse-core/tests/a.rs", &format!("{shadowed}{test}")), 0);
        assert_eq!(count(wasm_tests, "pulse-native/tests/a.rs", test), 0);
    }

    #[test]
    fn a_function_is_a_test_under_a_test_attribute_only() {
        let text =
            "#[tokio::test]\nasync fn a_sentence() {}\n\nfn helper() {}\n#[test]\n#[ignore]\nfn other() {}\n";
        assert!(has_test(text, "a_sentence"));
        assert!(has_test(text, "other"));
        assert!(!has_test(text, "helper"));
        assert!(!has_test(text, "a_sent"));
    }
}
