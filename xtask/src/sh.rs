//! Running other programs: each is printed before it runs, and each failure names the command that failed.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::tally::Tally;

/// Failures are for people: a sentence that says what failed and what to do.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// A command that is being put together.
pub(crate) struct Cmd {
    command: Command,
    /// What is printed: the words that a person would type.
    words: Vec<String>,
}

impl Cmd {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        Self { command: Command::new(program), words: vec![name] }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_string_lossy().into_owned());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Adds the words of `line`: for arguments without blanks inside.
    pub(crate) fn line(self, line: &str) -> Self {
        self.args(line.split_whitespace())
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs to the end, output as it comes.
    pub(crate) fn run(mut self) -> Result {
        self.announce();
        let status = self.command.stdin(Stdio::null()).status();
        self.judge(status)
    }

    /// Runs to the end, output as it comes, and adds the closing lines of test runners to `tally`.
    pub(crate) fn run_counted(mut self, tally: &mut Tally) -> Result {
        self.announce();
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
        let mut screen = std::io::stdout().lock();
        // By bytes, not by text: a test may print anything.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| format!("cannot read what {} prints: {error}", self.words[0]))?;
            tally.read(&String::from_utf8_lossy(&line));
            screen
                .write_all(&line)
                .and_then(|()| screen.write_all(b"\n"))
                .map_err(|error| format!("cannot print: {error}"))?;
        }
        let status = child.wait();
        self.judge(status)
    }

    /// Runs quietly and returns what it printed on stdout. A failure carries what it printed on stderr.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self.command.stdin(Stdio::null()).output().map_err(|error| self.not_started(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{}` failed ({}): {}", self.words.join(" "), output.status, said.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts it and goes on; it is ended when the returned value is dropped. Its standard input stays open as
    /// long, so that a program which waits for the end of that does not outlive this one, however it ends.
    pub(crate) fn start(mut self, stdout: Stdio) -> Result<Running> {
        self.announce();
        let child = self
            .command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        Ok(Running { child, name: self.words[0].clone() })
    }

    fn announce(&self) {
        eprintln!("$ {}", self.words.join(" "));
    }

    fn judge(&self, status: std::io::Result<ExitStatus>) -> Result {
        let status = status.map_err(|error| self.not_started(&error))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", self.words.join(" "))) }
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        format!("cannot run `{}`: {error}", self.words.join(" "))
    }
}

/// A program that runs beside this one and never outlives it.
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Its standard output, where it was started with a pipe for it.
    pub(crate) fn stdout(&mut self) -> Result<&mut ChildStdout> {
        self.child.stdout.as_mut().ok_or_else(|| format!("{} was started without a pipe", self.name))
    }

    /// An error if it has ended already.
    pub(crate) fn check_alive(&mut self) -> Result {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended by itself ({status})", self.name)),
            Err(error) => Err(format!("cannot ask after {}: {error}", self.name)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The full path of a program, if it can be run by its name.
pub(crate) fn which(program: &str) -> Option<OsString> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file()).map(Into::into)
}
