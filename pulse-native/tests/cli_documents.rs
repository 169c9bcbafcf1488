//! The commands that print something and end: what they print is what it says to be.

mod e2e_support;

use std::fs;
use std::process::{Command, Stdio};

use e2e_support::process::{pulse, run, run_with_input};

/// A file of this test's own.
fn file(name: &str, text: &str) -> String {
    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::write(&path, text).expect("cargo's directory for tests takes files");
    path.display().to_string()
}

#[test]
fn the_default_file_is_a_configuration_and_changes_nothing() {
    let (code, defaults, errors) = run(&["default-config"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let path = file("default.toml", &defaults);
    let (code, with, errors) = run(&["check-config", &path]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (_, without, _) = run(&["check-config"]);
    let settings = |text: &str| {
        let settings =
            text.lines().map(|line| line.split("  # ").next().unwrap_or_default().trim_end().to_owned());
        settings.collect::<Vec<_>>()
    };
    assert_eq!(settings(&with), settings(&without));
    assert!(with.contains(&format!("# {path}:")), "{with}");
    assert!(without.contains("port = 8080") && without.contains("# default"), "{without}");
}

#[test]
fn a_checked_configuration_is_printed_as_a_configuration() {
    let path = file("some.toml", "[server]\nport = 9000\n[namespaces.news]\npublish = \"nobody\"\n");
    let (code, printed, errors) = run(&["check-config", &path, "--limits-max-channels", "7"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(printed.contains(&format!("# {path}:2")), "{printed}");
    assert!(
        printed.contains("[namespaces.news]") && printed.contains("# --limits-max-channels"),
        "{printed}"
    );
    let again = file("again.toml", &printed);
    let (code, reprinted, errors) = run(&["check-config", &again]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(reprinted.lines().count(), printed.lines().count());
}

#[test]
fn each_mistake_of_a_configuration_is_named_with_its_place() {
    let path = file("wrong.toml", "[server]\nprot = 1\n\n[limits]\nqueue_bytes = 1\n");
    let (code, printed, errors) = run(&["check-config", &path, "--logging-format", "xml"]);
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    for part in [":2", "port", ":5", "1024", "--logging-format", "json"] {
        assert!(errors.contains(part), "{part} is not in\n{errors}");
    }
    let (code, _, errors) = run(&["check-config", "no/such/file.toml"]);
    assert!(code == Some(2) && errors.contains("no/such/file.toml"), "{errors}");
}

#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, errors) = run(&["completions", shell]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        assert!(script.contains("check-config"), "{shell}: {script}");
    }
    let (_, script, _) = run(&["completions", "bash"]);
    let path = file("completions.bash", &script);
    let ask = format!(
        "source {path} && COMP_WORDS=(pulse chec) COMP_CWORD=1 && _pulse pulse chec pulse && echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &ask]).output().expect("bash is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "check-config");
    assert_eq!(run(&["completions", "tcsh"]).0, Some(2));
}

#[test]
fn manual_pages_are_there_for_the_program_and_each_command() {
    let (code, page, errors) = run(&["man"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(page.contains(".TH pulse 1") && page.contains("\\-\\-port"), "{page}");
    for command in ["serve", "sub", "pub", "check-config", "default-config", "completions", "man"] {
        let (code, page, _) = run(&["man", command]);
        assert_eq!(code, Some(0));
        assert!(page.contains(&format!(".TH pulse-{command} 1")), "{page}");
    }
    let (code, _, errors) = run(&["man", "fly"]);
    assert!(code == Some(2) && errors.contains("\"fly\""), "{errors}");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut child = pulse(&["default-config"]).stdout(Stdio::piped()).spawn().expect("pulse starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("pulse ends").code(), Some(0));
    // Nothing is read from standard input either.
    assert_eq!(run_with_input(&["default-config"], b"anything").0, Some(0));
}
