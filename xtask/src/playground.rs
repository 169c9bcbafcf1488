//! The playground in a real browser: tabs that talk, a restart under them, and what axe-core finds.

use std::ffi::OsString;

use crate::project::Project;
use crate::sh::{Cmd, Result, which};
use crate::tally::Tally;

/// What Debian's way needs: a browser, and letters for it to draw.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["chromium", "fonts-dejavu-core"];

/// Names under which systems have Chromium, or a browser that is one underneath.
const BROWSERS: &[&str] =
    &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"];

/// With `SCREENSHOTS=FOLDER` it leaves pictures of the page there.
pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    let browser = browser().ok_or_else(|| {
        format!("no Chromium: install one as {}, or name one by CHROMIUM=PATH", BROWSERS.join(", "))
    })?;
    project.cargo().line("build --package pulse-native --bin pulse").run()?;
    let screenshots = std::env::var_os("SCREENSHOTS").map(|folder| project.root.join(folder));
    Cmd::new("node")
        .arg("playground.mjs")
        .arg(browser)
        .arg(project.target.join("debug/pulse"))
        .args(screenshots)
        .dir(&project.interop())
        .run_counted(tally)
}

/// The browser that the test uses: `CHROMIUM`, or the first one that is installed.
pub(crate) fn browser() -> Option<OsString> {
    let named = std::env::var_os("CHROMIUM").filter(|path| !path.is_empty());
    named.or_else(|| BROWSERS.iter().find_map(|name| which(name)))
}
