//! Runs what README.md shows, in its order and as it stands there: the `sh` blocks as a person would in several
//! terminals, then the scripts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::interop::is_healthy;
use crate::project::Project;
use crate::sh::{Cmd, Result};
use crate::tally::Tally;

/// The release build is part of the first command, and is done by then on most runs.
const START_LIMIT: Duration = Duration::from_secs(900);

/// How often a message is published until the subscriber, which may still be starting, has it.
const TRIES: usize = 60;

/// Fails unless the commands do what the page says.
pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    let page = project.root.join("README.md");
    let page = std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let shell = blocks(&page, "sh");
    let [serve, subscribe, publish] = shell[..] else {
        return Err(format!("README.md has {} `sh` blocks; this check knows three", shell.len()));
    };
    if is_healthy(8080) {
        return Err("port 8080 is taken: the README's commands cannot be tried".to_owned());
    }
    let mut server = shell_command(project, serve).start(Stdio::null())?;
    let started = Instant::now();
    while !is_healthy(8080) {
        server.check_alive()?;
        if started.elapsed() > START_LIMIT {
            return Err(format!("`{serve}` does not answer /health on port 8080"));
        }
        sleep(Duration::from_millis(100));
    }
    tally.passed += 1;

    let mut subscriber = shell_command(project, subscribe).start(Stdio::piped())?;
    let stdout = subscriber.stdout()?;
    let reader = BufReader::new(stdout);
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Ends with the first line: that is the message, and all that is looked for.
            let line = reader.lines().next();
            // The other side is gone only if it has given up.
            let _ = sender.send(line.and_then(std::result::Result::ok).unwrap_or_default());
        });
        let mut seen = None;
        for _ in 0..TRIES {
            shell_command(project, publish).run()?;
            seen = lines.recv_timeout(Duration::from_secs(1)).ok();
            if seen.is_some() {
                break;
            }
        }
        match seen {
            Some(line) if line.contains("hello, world") => Ok(()),
            Some(line) => Err(format!("`{subscribe}` printed {line:?} instead of the message")),
            None => Err(format!("`{subscribe}` printed nothing")),
        }
    })?;
    tally.passed += 1;

    let script = blocks(&page, "js");
    let [script] = script[..] else {
        return Err(format!("README.md has {} `js` blocks; this check knows one", script.len()));
    };
    expect(project, script, "hello")?;
    tally.passed += 1;

    let html = blocks(&page, "html");
    let script = html.first().and_then(|html| html.split_once("<script type=\"module\">\n"));
    let Some((_, script)) = script else {
        return Err("README.md has no page with a module script".to_owned());
    };
    let script = script.replace("</script>", "");
    expect(project, &format!("{BROWSER}{script}"), "{\"text\":\"hello\"}")?;
    tally.passed += 1;
    Ok(())
}

/// What the page's script finds in a browser; and it ends with the first publication that it shows.
const BROWSER: &str = r#"
globalThis.WebSocket = (await import("ws")).default;
const show = console.log;
console.log = (frame) => {
  if (frame.type !== "publish") return;
  show(JSON.stringify(frame.payload));
  process.exit();
};
"#;

/// Runs a script in Node, beside the packages of the interop tests.
fn expect(project: &Project, script: &str, expected: &str) -> Result {
    let node = Cmd::new("node").args(["--input-type=module", "--eval", script]).dir(&project.interop());
    let printed = node.output()?;
    if printed.trim() == expected {
        return Ok(());
    }
    Err(format!("a script of the README printed {printed:?} instead of {expected:?}"))
}

fn shell_command(project: &Project, line: &str) -> Cmd {
    // `exec`: what is ended when this program is done with it is the command, not a shell around it.
    Cmd::new("sh").args(["-c", &format!("exec {}", line.trim())]).dir(&project.root)
}

/// The content of each fenced block in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    page.match_indices(&open)
        .filter_map(|(at, _)| page[at + open.len()..].split_once("\n```"))
        .map(|(block, _)| block)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_their_language() {
        let page = "text\n```sh\nfirst\n```\n```js\nother\n```\n```sh\nsecond\nline\n```\n";
        assert_eq!(blocks(page, "sh"), ["first", "second\nline"]);
        assert_eq!(blocks(page, "js"), ["other"]);
        assert_eq!(blocks(page, "rust"), Vec::<&str>::new());
    }
}
