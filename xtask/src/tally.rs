//! Counts what test runners report in their closing lines, so that a whole run ends in one line of its own.

use std::fmt;

/// The tests of one run or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Adds the counts of `line` if it is a closing line: libtest's (`test result: ok. 3 passed; 0 failed; ...`)
    /// or the plain one (`3 passed, 0 failed`, perhaps after one word and a colon).
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        let counts = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ").map(|(_, counts)| counts),
            None => Some(line.split_once(": ").map_or(line, |(_, counts)| counts)),
        };
        let Some(counts) = counts else { return };
        let mut parts = counts.split([';', ',']).map(str::trim);
        let mut next = |word| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
        if let (Some(passed), Some(failed)) = (next("passed"), next("failed")) {
            let (passed, failed): (u64, u64) = (passed, failed);
            self.passed += passed;
            self.failed += failed;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u64, failed: u64) {
        let mut tally = Tally::default();
        tally.read(line);
        assert_eq!(tally, Tally { passed, failed }, "{line}");
    }

    #[test]
    fn counts_closing_lines_and_nothing_else() {
        check(
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            12,
            0,
        );
        check("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 filtered out", 4, 2);
        check("codec: 31 passed, 0 failed", 31, 0);
        check("31 passed, 1 failed", 31, 1);
        check("test a::b ... ok", 0, 0);
        check("running 12 tests", 0, 0);
        check("12 passed", 0, 0);
    }

    #[test]
    fn prints_the_plain_closing_line() {
        assert_eq!(Tally { passed: 7, failed: 1 }.to_string(), "7 passed, 1 failed");
    }
}
