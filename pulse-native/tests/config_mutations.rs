//! Thousands of damaged files, environments and command lines: none panics, and each refusal names what to change.

use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path};

use pulse_native::config::{self, ConfigErrors, Origin, SETTINGS};

/// Values that some setting may trip over.
const NASTY: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "18446744073709551616",
    "1_0",
    "true",
    "false",
    "\"\"",
    "\"a b\"",
    "[]",
    "[\"*\"]",
    "[[1]]",
    "{}",
    "{ a = 1 }",
    "1.5",
    "nan",
    "1979-05-27",
    "tcp://10.0.0.1:80",
    "anyone",
    "\"nobody\"",
    "debug,a=info",
    "\u{0}",
    "\u{feff}",
    "é",
    "\"\\u0000\"",
    "'''",
    "\"\"\"",
    "::1",
    "[::1]",
    "/ws",
    ",,",
    "#",
];

/// Bytes that mean something to TOML, and some that mean nothing to anyone.
const BYTES: &[u8] = b"[]{}=.,\"'#\n\r\t\\ 0-_aZ:/*\x00\x7f\xc3\xff";

/// Knuth's generator, the upper bits: enough for choosing, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(bound).expect("a length is small");
        usize::try_from((self.0 >> 33) % bound).expect("less than the bound")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A file that says everything, damaged in a few places.
fn file(random: &mut Random) -> Vec<u8> {
    let whole = config::default_toml() + "[namespaces.chat]\npublish = \"nobody\"\n";
    let mut lines: Vec<Vec<u8>> = whole.lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..random.below(4) {
        let at = random.below(lines.len());
        let column = random.below(lines[at].len() + 1);
        match random.below(7) {
            0 => lines[at].insert(column, *random.pick(BYTES)),
            1 => lines[at].truncate(column),
            2 => drop(lines.remove(at)),
            3 => lines.insert(at, random.pick(NASTY).as_bytes().to_vec()),
            4 => {
                let other = random.below(lines.len());
                lines.swap(at, other);
            }
            5 if column < lines[at].len() => lines[at][column] = *random.pick(BYTES),
            _ => {
                if let Some(equals) = lines[at].iter().position(|&byte| byte == b'=') {
                    lines[at].truncate(equals + 1);
                    lines[at].extend_from_slice(random.pick(NASTY).as_bytes());
                }
            }
        }
        if lines.is_empty() {
            lines.push(Vec::new());
        }
    }
    lines.join(&b'\n')
}

fn environment(random: &mut Random) -> BTreeMap<OsString, OsString> {
    let mut environment = BTreeMap::new();
    for _ in 0..random.below(3) {
        let setting = random.pick(SETTINGS);
        let mut name =
            setting.short_variable().filter(|_| random.below(2) == 0).unwrap_or_else(|| setting.variable());
        if random.below(4) == 0 {
            name.remove(random.below(name.len()));
        }
        let value = match random.below(4) {
            0 => OsString::from_vec(vec![*random.pick(BYTES), *random.pick(BYTES)]),
            1 | 2 => setting.default_value().to_string().trim_matches('"').into(),
            _ => random.pick(NASTY).into(),
        };
        environment.insert(name.into(), value);
    }
    environment
}

fn flags(random: &mut Random) -> Vec<(String, String)> {
    let flags = 0..random.below(2);
    flags.map(|_| (random.pick(SETTINGS).path(), (*random.pick(NASTY)).to_owned())).collect()
}

/// One damaged configuration; shown if the test fails while it is looked at.
struct Case<'a> {
    seed: u64,
    file: &'a [u8],
    environment: &'a BTreeMap<OsString, OsString>,
    flags: &'a [(String, String)],
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let file = String::from_utf8_lossy(self.file);
            println!("seed {}: {:?} {:?}\n{}", self.seed, self.environment, self.flags, file);
        }
    }
}

/// Each complaint points to something that is there: a line of the file, a variable that is set, a flag that was given.
fn check(errors: &ConfigErrors, lines: usize, environment: &BTreeMap<OsString, OsString>, num_flags: usize) {
    assert!(errors.iter().len() > 0, "a refusal without a reason");
    for error in errors.iter() {
        let text = error.to_string();
        let origin = error.origin().unwrap_or_else(|| panic!("no place: {text}"));
        assert!(text.starts_with(&origin.to_string()), "{text} does not begin with {origin}");
        match origin {
            Origin::File { line, .. } => assert!((1..=lines).contains(&line), "{line} of {lines}: {text}"),
            Origin::Variable(name) => assert!(environment.contains_key(&OsString::from(&name)), "{text}"),
            Origin::Flag(name) => assert!(name.starts_with("--") && num_flags > 0, "{text}"),
            other => panic!("{other} is nothing to change: {text}"),
        }
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn damaged_configurations_never_panic_and_each_refusal_names_what_to_change() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutation-{}.toml", std::process::id()));
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        random.below(1);
        let (file, environment, flags) = (file(&mut random), environment(&mut random), flags(&mut random));
        // A new file each time: truncating one makes some file systems wait for the disk.
        let _ = fs::remove_file(&path);
        fs::write(&path, &file).expect("cargo's directory for tests takes files");
        let _case = Case { seed, file: &file, environment: &environment, flags: &flags };
        match config::load(Some(&path), environment.clone(), &flags) {
            Ok(loaded) => {
                accepted += 1;
                let rules = SETTINGS.iter().filter(|setting| setting.section == "channels").count();
                let more = loaded.effective().len() - SETTINGS.len();
                assert_eq!(more % rules, 0, "a namespace has {rules} rules");
            }
            Err(errors) => {
                refused += 1;
                // A mistake at the very end is on the line after the last newline.
                let lines = 1 + file.iter().filter(|&&byte| byte == b'\n').count();
                check(&errors, lines, &environment, flags.len());
            }
        }
    }
    // The file stays only if the test fails.
    let _ = fs::remove_file(&path);
    assert!(
        accepted > 2_000 && refused > 10_000,
        "{accepted} accepted and {refused} refused: one-sided mutations"
    );
}
