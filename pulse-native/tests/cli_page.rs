//! What docs/CLI.md shows, as it stands there but for ports: the examples in their order in one folder, and each exit code.
//!
//! A `sh` block has to succeed; a `console` block has to look as it stands there, on a terminal.

mod e2e_support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use e2e_support::process::{Process, run};
use rustix::process::{Pid, Signal, kill_process};

const PAGE: &str = include_str!("../../docs/CLI.md");

/// The commands that talk to a server.
const REMOTE: [&str; 4] = ["sub", "pub", "presence", "history"];

/// What precedes a publication that a subscriber prints.
const SUBSCRIBED: &str = "pulse: subscribed to ";

/// A folder of a test's own, and a server for the commands that talk to one.
struct Place {
    folder: PathBuf,
    server: Process,
}

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("cargo's directory for tests takes folders");
        let config = folder.join("kept.toml");
        fs::write(&config, "[namespaces.kept]\nhistory_size = 10\n").expect("the folder was made just now");
        let config = config.to_str().expect("cargo's directory is text");
        let server = Process::serve(&["--config", config]);
        Self { folder, server }
    }

    /// The command with this place's server in it, and with free ports for a server of its own.
    fn here(&self, command: &str) -> String {
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let Some(at) = words.iter().position(|word| word == "pulse") else { return command.to_owned() };
        match words.get(at + 1) {
            Some(name) if REMOTE.contains(&&**name) && words.len() > at + 2 && !command.contains("--url") => {
                words.insert(at + 2, format!("--url {}", self.server.url()));
            }
            Some(name) if name == "serve" => {
                match words.iter().position(|word| word == "--port") {
                    Some(at) if words[at + 1] == "8080" => {
                        words[at + 1] = self.server.addr.port().to_string();
                    }
                    Some(at) if words[at + 1] == "9000" => "0".clone_into(&mut words[at + 1]),
                    Some(_) => {}
                    None => words.push("--port 0".into()),
                }
                words.push("--metrics-port 0".into());
            }
            _ => {}
        }
        words.join(" ")
    }

    /// A program in the folder, which finds `pulse` by its name.
    fn program(&self, name: &str) -> Command {
        let pulse = Path::new(env!("CARGO_BIN_EXE_pulse")).parent().expect("a program is in a folder");
        let path = std::env::var("PATH").expect("there is a PATH");
        let mut command = Command::new(name);
        command.env_clear().env("PATH", format!("{}:{path}", pulse.display())).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end: exit code, standard output and standard error.
    fn run(&self, command: &str) -> (Option<i32>, String, String) {
        let output = self.program("sh").args(["-c", &self.here(command)]).output().expect("there is a shell");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Starts `pulse` itself, so that signals reach it; the command may begin with variables.
    fn start(&self, command: &str) -> Child {
        let command = format!("exec env {}", self.here(command));
        self.program("sh").args(["-c", &command]).spawn().expect("there is a shell")
    }

    /// Starts it on a terminal, which both its outputs go to.
    fn on_terminal(&self, command: &str) -> Screen {
        let mut program = self.program("script");
        program.args(["-qec", &self.here(command), "/dev/null"]);
        let mut child = program.spawn().expect("there is `script`, of util-linux");
        Screen { lines: BufReader::new(child.stdout.take().expect("it was asked for as a pipe")), child }
    }

    /// Runs a server until it listens, and then asks it to stop: its exit code.
    fn serve(&self, command: &str) -> Option<i32> {
        let mut child = self.start(command);
        let mut log = BufReader::new(child.stderr.take().expect("it was asked for as a pipe"));
        wait_for(&mut log, "listening on http", command);
        kill_process(Pid::from_child(&child), Signal::TERM).expect("nobody has waited for it");
        let mut rest = String::new();
        log.read_to_string(&mut rest).expect("logs are text");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{command} prints nothing");
        output.status.code()
    }

    /// Runs a subscriber of `news`, and publishes there: its exit code.
    fn subscribe(&self, command: &str) -> Option<i32> {
        let mut child = self.start(command);
        let mut said = BufReader::new(child.stderr.take().expect("it was asked for as a pipe"));
        wait_for(&mut said, SUBSCRIBED, command);
        self.publish("news");
        let output = child.wait_with_output().expect("it ends");
        assert_ne!(output.stdout.len(), 0, "{command} prints what is published");
        output.status.code()
    }

    fn publish(&self, channel: &str) {
        let (code, _, said) = run(&["pub", "--url", &self.server.url(), channel, "by the test"]);
        assert_eq!(code, Some(0), "{said}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left over is in cargo's own directory.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wait_for(lines: &mut BufReader<ChildStderr>, text: &str, command: &str) {
    let (mut all, mut line) = (String::new(), String::new());
    while !line.contains(text) {
        line.clear();
        let length = lines.read_line(&mut line).expect("messages are text");
        assert_ne!(length, 0, "{command} ended without {text:?}:\n{all}");
        all += &line;
    }
}

/// A command on a terminal.
struct Screen {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Screen {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a terminal shows text");
        line.replace("\r\n", "\n")
    }

    /// The rest, up to the end of the command.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("a terminal shows text");
        self.child.wait().expect("nobody has waited for it");
        rest.replace("\r\n", "\n")
    }
}

/// The blocks of the page in their order: language and content, which ends with a line feed.
fn blocks() -> Vec<(&'static str, &'static str)> {
    // Between two fences there is either a block or what is beside them.
    let blocks = PAGE.split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block begins with its language")).collect()
}

/// Commands of a `console` block, each with what it shows.
fn commands(block: &str) -> Vec<(&str, String)> {
    let mut commands: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, shown))) => *shown += &format!("{line}\n"),
            (None, None) => panic!("{line:?} is shown before a command"),
        }
    }
    commands
}

#[test]
fn the_examples_do_what_they_show() {
    let place = Place::new("examples");
    let mut subscribers = Vec::new();
    let mut tried = 0;
    for (language, block) in blocks() {
        match language {
            "sh" => {
                for command in block.lines() {
                    if command.contains("pulse serve") {
                        assert_eq!(place.serve(command), Some(0), "{command}");
                    } else {
                        let (code, _, said) = place.run(command);
                        assert_eq!((code, &*said), (Some(0), ""), "{command}");
                    }
                    tried += 1;
                }
            }
            "console" => {
                for (command, shown) in commands(block) {
                    let mut screen = place.on_terminal(command);
                    if command.starts_with("pulse sub") {
                        // It waits for what a later example publishes.
                        let channels = shown.matches(SUBSCRIBED).count();
                        let said: String = (0..channels).map(|_| screen.line()).collect();
                        assert!(channels > 0 && shown.starts_with(&said), "{command} shows\n{said}");
                        subscribers.push((command, screen, shown[said.len()..].to_owned()));
                    } else {
                        assert_eq!(screen.rest(), shown, "{command}");
                    }
                    tried += 1;
                }
            }
            other => panic!("no test knows what to do with a block of {other:?}"),
        }
    }
    assert!(tried >= 15 && subscribers.len() >= 2, "{tried} examples, {} subscribers", subscribers.len());
    for (command, screen, shown) in subscribers {
        // More than any of them waits for: whatever is missing by now, it ends.
        (0..10).for_each(|_| place.publish("chat:lobby"));
        assert_eq!(screen.rest(), shown, "{command}");
    }
}

/// The rows of the table of exit codes: a command, and a cell for each code.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let (_, table) = PAGE.split_once("| Command | 0 | 1 | 2 |\n").expect("the page has the table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    let row = |line: &'static str| {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        (cells.next().unwrap_or_default().trim_matches('`'), cells.collect())
    };
    rows.map(row).collect()
}

#[test]
fn each_exit_code_of_the_table_is_what_its_example_ends_with() {
    let place = Place::new("codes");
    for (name, cells) in rows() {
        assert_eq!(cells.len(), 3, "{name}");
        for (expected, cell) in (0..).zip(cells) {
            let commands = cell.split('`').skip(1).step_by(2).filter(|code| code.starts_with("pulse "));
            let [command] = commands.collect::<Vec<_>>()[..] else {
                panic!("{name} has not one example for {expected}: {cell}")
            };
            assert_eq!(command.split(' ').nth(1), Some(name), "{cell}");
            let code = match (name, expected) {
                ("serve", 0) => place.serve(command),
                ("sub", 0) => place.subscribe(command),
                ("store", 0) => {
                    let serve =
                        "pulse serve --store-path history --channels-history-size 1 --channels-durable true";
                    assert_eq!(place.serve(serve), Some(0), "it makes a store");
                    place.run(command).0
                }
                _ => {
                    let (code, _, said) = place.run(command);
                    assert_eq!(said.is_empty(), expected == 0, "{command} says {said:?}");
                    code
                }
            };
            assert_eq!(code, Some(expected), "{command}");
        }
    }
}

#[test]
fn every_command_of_the_program_stands_on_the_page() {
    let (_, help, _) = run(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect("the help has a list of commands");
    let list = list.lines().take_while(|line| !line.is_empty());
    let names: BTreeSet<&str> =
        list.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(names.len() >= 8, "{names:?}");
    let sections: BTreeSet<&str> =
        PAGE.split("\n## `").skip(1).filter_map(|section| section.split('`').next()).collect();
    assert_eq!(sections, names, "sections of the page, and commands");
    assert_eq!(rows().into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(), names, "exit codes");
    for name in names {
        assert!(PAGE.contains(&format!("| [`{name}`](#{name}) | ")), "{name} is not in the list");
        let example = |(_, block): (&str, &str)| block.contains(&format!("pulse {name}"));
        assert!(blocks().into_iter().any(example), "{name} has no example");
    }
}
