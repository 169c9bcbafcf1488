//! `docs/CONFIGURATION.md` says what the code does. After a change, `UPDATE_DOCS=1 cargo test -p pulse-native --test
//! config_docs` writes the generated parts anew.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use pulse_native::config;

/// What somebody may get wrong: a file, variables and flags.
struct Example {
    file: &'static str,
    environment: &'static [(&'static str, &'static str)],
    flags: &'static [(&'static str, &'static str)],
    command: &'static str,
}

const EXAMPLES: &[Example] = &[
    Example {
        file: "[server]\nport = 70000\nprot = 9000\n\n[logging]\nformat = \"jsno\"\n",
        environment: &[],
        flags: &[],
        command: "pulse --config pulse.toml",
    },
    Example {
        file: "[server]\nport = = 9000\n",
        environment: &[],
        flags: &[],
        command: "pulse --config pulse.toml",
    },
    Example {
        file: "",
        environment: &[("PULSE_METRICS_ENABLED", "yes")],
        flags: &[("limits.max_channels", "0")],
        command: "PULSE_METRICS_ENABLED=yes pulse --limits-max-channels 0",
    },
    Example {
        file: "",
        environment: &[("PULSE_PORT", "tcp://10.96.0.1:8080")],
        flags: &[],
        command: "PULSE_PORT=tcp://10.96.0.1:8080 pulse",
    },
    Example {
        file: "",
        environment: &[],
        flags: &[("heartbeat.interval_ms", "90000")],
        command: "pulse --heartbeat-interval-ms 90000",
    },
];

/// Each example with what the server answers.
fn errors() -> String {
    let mut text = String::new();
    for (index, Example { file, environment, flags, command }) in EXAMPLES.iter().enumerate() {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("docs-{}-{index}.toml", std::process::id()));
        fs::write(&path, file).expect("cargo's directory for tests takes files");
        let environment = environment.iter().map(|&(name, value)| (name.into(), value.into()));
        let flags: Vec<_> = flags.iter().map(|&(path, value)| (path.to_owned(), value.to_owned())).collect();
        let errors =
            config::load(Some(&path), environment, &flags).expect_err("an example of a mistake is one");
        // Gone or not: nothing below reads it.
        let _ = fs::remove_file(&path);
        if !file.is_empty() {
            let _ = writeln!(text, "```toml\n{file}```\n");
        }
        let _ = writeln!(text, "```text\n$ {command}");
        for error in errors.iter() {
            let _ = writeln!(
                text,
                "pulse: {}",
                error.to_string().replace(&path.display().to_string(), "pulse.toml")
            );
        }
        text.push_str("```\n\n");
    }
    text
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md")
}

/// Holds the part of the page between the marks of `name` against `expected`, or writes it there if asked to.
#[track_caller]
fn check(name: &str, expected: &str) {
    let path = page();
    let page = fs::read_to_string(&path).expect("the page is part of the repository");
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has the mark of the beginning");
    let (found, after) = rest.split_once(&end).expect("the page has the mark of the end");
    let expected = format!("\n{}\n\n", expected.trim());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}{begin}{expected}{end}{after}");
        fs::write(&path, page).expect("the repository can be written to");
        return;
    }
    assert!(
        found == expected,
        "docs/CONFIGURATION.md and the code differ in \"{name}\"; run UPDATE_DOCS=1 cargo test -p pulse-native --test \
         config_docs, or put this there:\n{expected}"
    );
}

#[test]
fn the_example_of_a_file_is_accepted() {
    let page = fs::read_to_string(page()).expect("the page is part of the repository");
    let (_, rest) = page.split_once("```toml\n").expect("the page begins with a file");
    let (file, _) = rest.split_once("```").expect("the file ends");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("docs-{}.toml", std::process::id()));
    fs::write(&path, file).expect("cargo's directory for tests takes files");
    let loaded = config::load(Some(&path), [], &[]);
    // Gone or not: nothing below reads it.
    let _ = fs::remove_file(&path);
    let config = loaded.expect("the page shows a file that works").config;
    assert_eq!((config.server.port, config.limits.max_connections), (9000, 50_000));
    assert_eq!(config.namespaces["news"].publish, config::Who::Nobody);
}

#[test]
fn the_page_is_what_the_code_does() {
    // One test: both parts are of one file, and two threads that write it would lose one.
    check("settings", &config::reference());
    check("errors", &errors());
}
