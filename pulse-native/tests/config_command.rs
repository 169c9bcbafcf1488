//! The command `pulse` as people and scripts meet it: exit codes, help, and what goes to which stream.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output, Stdio},
};

use pulse_native::config::SETTINGS;

/// `pulse` with this environment and no other.
fn pulse(environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.env_clear().envs(environment.iter().copied()).args(arguments).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary was built for this test");
    let text = |bytes| String::from_utf8(bytes).expect("pulse writes text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn help_teaches_every_setting_with_examples_and_exit_codes() {
    for arguments in [&["--help"][..], &["serve", "--help"]] {
        let (code, help, errors) = output(pulse(&[], arguments));
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        for setting in SETTINGS {
            let flag = format!("--{}", setting.short_flag().map_or_else(|| setting.flag(), str::to_owned));
            assert!(help.contains(&flag), "{flag} is not in\n{help}");
        }
        assert!(
            help.contains("Examples:") && help.contains("Exit codes:") && help.contains("<MS>"),
            "{help}"
        );
    }
}

#[test]
fn the_short_help_fits_a_screen() {
    let (code, help, _) = output(pulse(&[], &["-h"]));
    assert_eq!(code, Some(0));
    assert!(help.contains("--port") && !help.contains("--limits") && help.lines().count() <= 34, "{help}");
}

#[test]
fn the_version_is_told() {
    let (code, version, _) = output(pulse(&[], &["--version"]));
    assert_eq!((code, version), (Some(0), format!("pulse {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_wrong_configuration_ends_with_code_2_and_a_line_for_each_mistake() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("command-{}.toml", std::process::id()));
    fs::write(&path, "[server]\nprot = 1\n").expect("cargo's directory for tests takes files");
    let shown = path.display().to_string();
    let result = output(pulse(&[("PULSE_METRICS_PORT", "x")], &["--config", &shown, "--port", "-1"]));
    // Gone or not: nothing below reads it.
    let _ = fs::remove_file(&path);
    let expected = format!(
        "pulse: {shown}:2: server.prot is not a setting; did you mean server.port?\n\
         pulse: PULSE_METRICS_PORT: metrics.port is x; allowed: a whole number from 0 to 65535\n\
         pulse: --port: server.port is -1; allowed: a whole number from 0 to 65535\n"
    );
    assert_eq!(result, (Some(2), String::new(), expected));
}

#[test]
fn a_wrong_command_line_ends_with_code_2_and_a_suggestion() {
    let (code, out, errors) = output(pulse(&[], &["--limits-max-conections", "5"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains("--limits-max-connections"), "{errors}");
}

#[test]
fn a_full_disk_behind_standard_error_changes_no_exit_code() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has a full device");
    let mut command = pulse(&[], &["--port", "x"]);
    let status = command.stderr(full).status().expect("the binary was built for this test");
    assert_eq!(status.code(), Some(2));
}
