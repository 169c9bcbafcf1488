//! Where settings come from, which source wins, and what a mistake in each looks like.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use pulse_native::config::{self, Config, Loaded, LogFormat, SETTINGS, Who};

/// A file that goes when its test ends.
struct Temporary(PathBuf);

impl Temporary {
    fn new(content: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("load-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, content).expect("cargo's directory for tests takes files");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A file that stays is only untidy.
        let _ = fs::remove_file(&self.0);
    }
}

/// What the sources make: the configuration, or every complaint with the file called `pulse.toml`.
fn load(file: &[u8], environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let file = Temporary::new(file);
    let environment = environment.iter().map(|&(name, value)| (name.into(), value.into()));
    let flags: Vec<_> = flags.iter().map(|&(path, value)| (path.to_owned(), value.to_owned())).collect();
    config::load(Some(&file.0), environment, &flags).map_err(|errors| {
        let shown = file.0.display().to_string();
        errors.iter().map(|error| error.to_string().replace(&shown, "pulse.toml")).collect()
    })
}

#[track_caller]
fn accepted(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    load(file.as_bytes(), environment, flags).unwrap_or_else(|errors| panic!("refused: {errors:#?}"))
}

#[track_caller]
fn refuses(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], expected: &[&str]) {
    let errors = load(file.as_bytes(), environment, flags).expect_err("this is not allowed");
    assert_eq!(errors, expected);
}

/// The warnings, without the ones that say that an address is public.
#[track_caller]
fn warns(environment: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(accepted("", environment, &[]).warnings, expected);
}

#[test]
fn without_a_source_the_defaults_hold() {
    let loaded = config::load(None, [], &[]).expect("the defaults are allowed");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.origins.len(), SETTINGS.len());
    assert!(loaded.origins.values().all(|origin| *origin == config::Origin::Default));
}

#[test]
fn the_default_file_says_what_holds_without_one() {
    let loaded = accepted(&config::default_toml(), &[], &[]);
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.values().all(|origin| matches!(origin, config::Origin::File { .. })));
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let file = "[server]\nport = 1\nretry_spread_ms = 1\nshutdown_timeout_ms = 1\n";
    let environment = [("PULSE_SERVER_PORT", "2"), ("PULSE_SERVER_RETRY_SPREAD_MS", "2")];
    let loaded = accepted(file, &environment, &[("server.port", "3")]);
    let server = &loaded.config.server;
    assert_eq!((server.port, server.retry_spread_ms, server.shutdown_timeout_ms), (3, 2, 1));
    let origin = |path: &str| loaded.origins[path].to_string();
    assert_eq!(origin("server.port"), "--port");
    assert_eq!(origin("server.retry_spread_ms"), "PULSE_SERVER_RETRY_SPREAD_MS");
    assert!(origin("server.shutdown_timeout_ms").ends_with(".toml:4"));
    assert_eq!(origin("server.host"), "default");
}

#[test]
fn every_setting_can_be_given_by_file_variable_and_flag() {
    for setting in SETTINGS {
        let value = setting.default_value();
        let file = format!("[{}]\n{} = {value}\n", setting.section, setting.key);
        let bare = value.to_string().trim_matches(['"', '[', ']']).to_owned();
        let from_file = accepted(&file, &[], &[]);
        let from_variable = accepted("", &[(&setting.variable(), &bare)], &[]);
        let from_flag = accepted("", &[], &[(&setting.path(), &bare)]);
        for (loaded, expected) in [
            (from_file, "pulse.toml:2".to_owned()),
            // An empty list has no value to put into a variable.
            (from_variable, if bare.is_empty() { "default".to_owned() } else { setting.variable() }),
            (from_flag, format!("--{}", setting.short_flag().map_or_else(|| setting.flag(), str::to_owned))),
        ] {
            let origin = loaded.origins[&setting.path()].to_string();
            let same = origin == expected || (expected == "pulse.toml:2" && origin.ends_with(".toml:2"));
            assert!(same, "{}: {origin}, not {expected}", setting.path());
            assert_eq!(setting.value(&loaded.config), value, "{}", setting.path());
        }
    }
}

#[test]
fn the_variables_of_the_first_release_still_work() {
    let environment =
        [("PULSE_PORT", "9000"), ("PULSE_HOST", "127.0.0.2"), ("PULSE_LIMITS_MAX_CONNECTIONS", "5_000")];
    let config = accepted("", &environment, &[]).config;
    assert_eq!((config.server.port, config.server.host.as_str()), (9000, "127.0.0.2"));
    assert_eq!(config.limits.max_connections, 5_000);
}

#[test]
fn what_is_durable_needs_something_to_keep_and_a_folder() {
    let file = "[namespaces.safe]\ndurable = true\n";
    let errors = load(file.as_bytes(), &[], &[]).expect_err("there is neither");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].contains("namespaces.safe.durable")
            && errors[0].contains("namespaces.safe.history_size (0, ")
    );
    assert!(errors[1].contains("namespaces.safe.durable") && errors[1].contains("store.path"));
    let file = "[namespaces.safe]\ndurable = true\nhistory_size = 10\n";
    let store = [("PULSE_STORE_PATH", "/var/lib/pulse")];
    let loaded = accepted(file, &store, &[]);
    assert!(loaded.config.namespaces["safe"].durable && !loaded.config.channels.durable);
    let loaded = accepted(&format!("{file}history_per_key = true\n"), &store, &[]);
    let rules = loaded.config.to_core().namespaces[0].rules;
    assert!(rules.durable && rules.history_per_key);
    assert_eq!(load(file.as_bytes(), &[], &[]).expect_err("there is no folder").len(), 1);
    let errors = load(b"", &store, &[("channels.durable", "true")]).expect_err("nothing is kept");
    assert!(
        errors[0].contains("channels.durable") && errors[0].contains("channels.history_size"),
        "{errors:?}"
    );
}

#[test]
fn a_short_variable_and_the_long_one_have_to_agree() {
    let loaded = accepted("", &[("PULSE_PORT", "9000"), ("PULSE_SERVER_PORT", "9_000")], &[]);
    assert_eq!(loaded.config.server.port, 9000);
    refuses(
        "",
        &[("PULSE_PORT", "9000"), ("PULSE_SERVER_PORT", "9001")],
        &[],
        &["PULSE_PORT: server.port is 9000 here and 9001 in PULSE_SERVER_PORT; set one of them"],
    );
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let loaded = accepted("", &[("PULSE_PORT", ""), ("PULSE_HOST", "  "), ("PULSE_NO_SUCH_KEY", "")], &[]);
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_list_is_separated_by_commas_outside_the_file() {
    let expected = ["https://a.example", "http://localhost:3000"];
    let file = "[server]\norigins = [\"https://a.example\", \"http://localhost:3000\"]";
    assert_eq!(accepted(file, &[], &[]).config.server.origins, expected);
    let text = "https://A.example, http://localhost:3000,";
    assert_eq!(accepted("", &[("PULSE_SERVER_ORIGINS", text)], &[]).config.server.origins, expected);
    assert_eq!(accepted("", &[], &[("server.origins", text)]).config.server.origins, expected);
    assert!(accepted(file, &[], &[("server.origins", "")]).config.server.origins.is_empty());
}

#[test]
fn all_mistakes_of_all_sources_are_reported_at_once() {
    let file = "port = 1\n\n[server]\nport = 70000\nprot = 9000\n[loging]\nlevel = \"info\"\n";
    refuses(
        file,
        &[("PULSE_METRICS_ENABLED", "yes")],
        &[("limits.max_channels", "0")],
        &[
            "pulse.toml:1: port is not a setting; did you mean server.port?",
            "pulse.toml:4: server.port is 70000; allowed: a whole number from 0 to 65535",
            "pulse.toml:5: server.prot is not a setting; did you mean server.port?",
            "pulse.toml:6: loging is not a setting; did you mean [logging]?",
            "PULSE_METRICS_ENABLED: metrics.enabled is yes; allowed: true or false",
            "--limits-max-channels: limits.max_channels is 0; allowed: a whole number from 1 to 100000000",
        ],
    );
}

#[test]
fn a_value_of_another_type_is_shown_as_it_was_written() {
    let file = "[server]\nport = \"8080\"\nhost = 127\norigins = \"*\"\nretry_spread_ms = 1.5\n\
                shutdown_timeout_ms = -1\n[metrics]\nenabled = 1\nport = 2020-01-01\n[logging]\nformat = [\"json\"]\n";
    let host = "an IP address or a host name, without a port, or \"unix:\" and the path of a socket of at most 107 bytes, such \
                as \"0.0.0.0\", \"::1\" or \"unix:/run/pulse/pulse.sock\"";
    let origin = "\"*\" or an origin as browsers send it, scheme://host[:port] without a path, \
                  such as \"https://example.com\"";
    refuses(
        file,
        &[],
        &[],
        &[
            "pulse.toml:2: server.port is \"8080\"; allowed: a whole number from 0 to 65535",
            &format!("pulse.toml:3: server.host is 127; allowed: {host}"),
            &format!("pulse.toml:4: server.origins is \"*\"; allowed: a list, each {origin}"),
            "pulse.toml:5: server.retry_spread_ms is 1.5; allowed: a whole number of ms from 0 to 600000",
            "pulse.toml:6: server.shutdown_timeout_ms is -1; allowed: a whole number of ms from 0 to 600000",
            "pulse.toml:8: metrics.enabled is 1; allowed: true or false",
            "pulse.toml:9: metrics.port is 2020-01-01; allowed: a whole number from 0 to 65535",
            "pulse.toml:11: logging.format is [\"json\"]; allowed: \"text\" or \"json\"",
        ],
    );
}

#[test]
fn a_wrong_entry_of_a_list_is_named() {
    let errors =
        load(b"[server]\norigins = [\"*\", \"https://a.example/\"]", &[], &[]).expect_err("a path is none");
    assert!(
        errors[0].starts_with("pulse.toml:2: server.origins is [\"*\", \"https://a.example/\"]"),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("; \"https://a.example/\" is not"), "{errors:?}");
}

#[test]
fn a_mistyped_word_gets_the_word_that_is_meant() {
    refuses(
        "[logging]\nformat = \"jsno\"",
        &[],
        &[],
        &["pulse.toml:2: logging.format is \"jsno\"; allowed: \"text\" or \"json\"; did you mean \"json\"?"],
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_its_own() {
    refuses(
        "[server]\nmax_connections = 5\n",
        &[],
        &[],
        &["pulse.toml:2: server.max_connections is not a setting; did you mean limits.max_connections?"],
    );
}

#[test]
fn as_many_shards_as_processors_serve_unless_a_number_is_given() {
    let cores = std::thread::available_parallelism().expect("this system tells").get();
    assert_eq!(usize::from(accepted("", &[], &[]).config.num_shards()), cores.min(64));
    let given = accepted("", &[("PULSE_SERVER_SHARDS", "3")], &[]);
    assert_eq!(given.config.num_shards(), 3);
    assert_eq!(given.config.to_options().expect("there are no origins").shards, 3);
    refuses(
        "[server]\nshards = 65\n",
        &[],
        &[],
        &["pulse.toml:2: server.shards is 65; allowed: a whole number from 0 to 64"],
    );
}

#[test]
fn a_key_like_no_other_gets_no_suggestion() {
    refuses(
        "[server]\nwibble = 5\n[kerberos]\n",
        &[],
        &[],
        &["pulse.toml:2: server.wibble is not a setting", "pulse.toml:3: kerberos is not a setting"],
    );
}

#[test]
fn a_section_has_to_be_a_table() {
    refuses(
        "server = 5\nlimits = [1]\nnamespaces = \"chat\"\n[[metrics]]\n[logging.level]\n",
        &[],
        &[],
        &[
            "pulse.toml:1: server is 5; allowed: a table, as in [server]",
            "pulse.toml:2: limits is [1]; allowed: a table, as in [limits]",
            "pulse.toml:3: namespaces is \"chat\"; allowed: a table, as in [namespaces]",
            "pulse.toml:4: metrics is an array of tables; allowed: a table, as in [metrics]",
            "pulse.toml:5: logging.level is a table; allowed: error, warn, info, debug, trace or off, or several of \
         module=level separated by commas, such as \"info,pulse_native=debug\"",
        ],
    );
}

#[test]
fn every_way_to_write_a_table_is_understood() {
    for file in [
        "[server]\nport = 9000",
        "server.port = 9000",
        "server = { port = 9000 }",
        "\"server\".'port' = 9000",
    ] {
        let loaded = accepted(file, &[], &[]);
        assert_eq!(loaded.config.server.port, 9000, "{file}");
        assert_ne!(loaded.origins["server.port"], config::Origin::Default, "{file}");
    }
}

#[test]
fn a_file_may_come_from_windows() {
    let loaded = accepted("\u{feff}[server]\r\nhost = \"::1\"\r\nport = 9000\r\n", &[], &[]);
    assert_eq!((loaded.config.server.host.as_str(), loaded.config.server.port), ("::1", 9000));
    assert!(loaded.origins["server.port"].to_string().ends_with(":3"));
}

#[test]
fn what_is_not_toml_is_named_by_line_and_column() {
    let check = |file: &str, expected: &str| {
        let errors = load(file.as_bytes(), &[], &[]).expect_err("this is not TOML");
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{errors:?} does not start with {expected}"
        );
    };
    check("[server]\nport = = 1\n", "pulse.toml:2:8: ");
    check("[server]\nport = 1\nport = 2\n", "pulse.toml:3:1: ");
    check("[server\n", "pulse.toml:1:8: ");
    check("[server]\nhost = \"é\" x\n", "pulse.toml:2:12: ");
    check("[server]\nhost = \"open", "pulse.toml:2:");
    check(&"[".repeat(100_000), "pulse.toml:1:");
    check(&format!("a = {}", "[".repeat(100_000)), "pulse.toml:1:");
}

#[test]
fn a_file_that_is_not_text_is_named_with_the_line() {
    let errors = load(b"[server]\n\nhost = \"\xff\"\n", &[], &[]).expect_err("0xff is not UTF-8");
    assert_eq!(errors, ["pulse.toml:3: is not valid UTF-8"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let check = |path: &str, expected: &str| {
        let errors = config::load(Some(Path::new(path)), [], &[]).expect_err("there is nothing to read");
        assert_eq!(errors.to_string(), format!("{path}: {expected}"));
    };
    check("no/such/pulse.toml", "there is no such file");
    check(env!("CARGO_TARGET_TMPDIR"), "this is a directory, not a file");
    check("/dev/zero", "a configuration file has at most 1048576 bytes");
}

#[test]
fn a_stray_variable_is_warned_about() {
    warns(
        &[("PULSE_SERVER_PROT", "1")],
        &["PULSE_SERVER_PROT is not a setting, so it changes nothing; did you mean PULSE_SERVER_PORT?"],
    );
    warns(&[("PULSE_NO_SUCH_KEY", "1")], &["PULSE_NO_SUCH_KEY is not a setting, so it changes nothing"]);
    warns(
        &[("PULSE_CONFIG", "a.toml")],
        &["PULSE_CONFIG is not used: name the configuration file by the flag --config"],
    );
    warns(
        &[("PULSE_NAMESPACES_CHAT_PUBLISH", "nobody")],
        &["PULSE_NAMESPACES_CHAT_PUBLISH is not used: only the configuration file sets namespaces"],
    );
    warns(&[("PULSEAUDIO", "1"), ("PORT", "x"), ("pulse_port", "x")], &[]);
}

#[test]
fn what_kubernetes_says_of_a_service_named_pulse_is_passed_over() {
    let address = "tcp://10.96.0.1:8080";
    warns(
        &[
            ("PULSE_SERVICE_HOST", "10.96.0.1"),
            ("PULSE_SERVICE_PORT", "8080"),
            ("PULSE_SERVICE_PORT_WS", "8080"),
            ("PULSE_PORT_8080_TCP", address),
            ("PULSE_PORT_8080_TCP_PROTO", "tcp"),
            ("PULSE_PORT_8080_TCP_PORT", "8080"),
            ("PULSE_PORT_8080_TCP_ADDR", "10.96.0.1"),
            ("PULSE_EDGE_SERVICE_HOST", "10.96.0.2"),
            ("PULSE_EDGE_PORT", address),
            ("PULSE_EDGE_PORT_53_UDP_ADDR", "10.96.0.2"),
        ],
        &[],
    );
}

#[test]
fn a_port_from_kubernetes_is_refused_with_the_way_out() {
    let expected = |name: &str, key: &str| {
        format!(
            "{name}: {key} is tcp://10.96.0.1:80; allowed: a whole number from 0 to 65535; Kubernetes sets this \
             variable for a service of this name: put enableServiceLinks: false into the pod's spec, or rename \
             the service"
        )
    };
    for (name, key) in [("PULSE_PORT", "server.port"), ("PULSE_METRICS_PORT", "metrics.port")] {
        refuses("", &[(name, "tcp://10.96.0.1:80")], &[], &[&expected(name, key)]);
    }
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    let bytes = || OsString::from_vec(vec![b'8', 0xff]);
    let errors = config::load(None, [("PULSE_PORT".into(), bytes())], &[]).expect_err("0xff is not UTF-8");
    assert_eq!(errors.to_string(), "PULSE_PORT: is not valid UTF-8");
    // What is not ours is none of our business.
    assert!(config::load(None, [("PATH".into(), bytes()), (bytes(), bytes())], &[]).is_ok());
}

#[test]
fn a_given_value_cannot_write_to_the_terminal() {
    let long = format!("\u{1b}[2J\n{}", "x".repeat(1_000));
    let errors = load(b"", &[("PULSE_PORT", &long)], &[]).expect_err("this is no port");
    assert!(errors[0].len() < 200 && !errors[0].contains(['\u{1b}', '\n']), "{errors:?}");
}

#[test]
fn webtransport_is_refused_until_there_is_one() {
    assert!(!accepted("[transport]\nwebtransport = false", &[], &[]).config.transport.webtransport);
    refuses(
        "[transport]\nwebtransport = true",
        &[],
        &[],
        &[
            "pulse.toml:2: transport.webtransport is true; allowed: false (this version does not have WebTransport yet)",
        ],
    );
}

#[test]
fn a_namespace_takes_what_it_does_not_say_from_the_channels_section() {
    let file =
        "[channels]\npresence = \"nobody\"\n[namespaces.news]\npublish = \"nobody\"\n[namespaces.chat]\n";
    let loaded = accepted(file, &[("PULSE_CHANNELS_SUBSCRIBE", "nobody")], &[]);
    let (news, chat) = (&loaded.config.namespaces["news"], &loaded.config.namespaces["chat"]);
    assert_eq!((news.subscribe, news.publish, news.presence), (Who::Nobody, Who::Nobody, Who::Nobody));
    assert_eq!((chat.subscribe, chat.publish, chat.presence), (Who::Nobody, Who::Anyone, Who::Nobody));
    assert!(loaded.origins["namespaces.news.publish"].to_string().ends_with(".toml:4"));
    assert_eq!(loaded.origins["namespaces.news.subscribe"].to_string(), "as [channels]");
}

#[test]
fn the_settings_of_presence_reach_the_routers() {
    let file = "[limits]\nmax_presence_size = 0\n[channels]\npresence_grace_ms = 7\n[namespaces.chat]\npresence_grace_ms = 0\n";
    let core = accepted(file, &[], &[]).config.to_core();
    assert_eq!(core.limits.max_presence_size, 0);
    assert_eq!((core.rules.presence_grace_ms, core.namespaces[0].rules.presence_grace_ms), (7, 0));
    let (ours, theirs) = (Config::default().to_core(), pulse_core::Limits::default());
    assert_eq!(
        (ours.limits, ours.rules),
        (theirs, pulse_core::Rules::default()),
        "there is one set of defaults"
    );
}

#[test]
fn the_settings_of_history_reach_the_routers() {
    let file = "[namespaces.chat]\nhistory_size = 5\nhistory_bytes = 2048\nhistory_ttl = 7\nrecovery = false\nidempotency_window = 8\nhistory_per_key = true\n";
    let core = accepted(file, &[], &[]).config.to_core();
    assert_eq!(core.rules.history_size, 0, "nothing is kept where nobody asks for it");
    let rules = core.namespaces[0].rules;
    assert_eq!((rules.history_size, rules.history_bytes, rules.history_ttl_ms), (5, 2048, 7));
    assert!(core.rules.recovery && !rules.recovery);
    assert!(!core.rules.history_per_key && rules.history_per_key);
    assert_eq!((core.rules.idempotency_window_ms, rules.idempotency_window_ms), (300_000, 8));
}

#[test]
fn a_namespace_has_a_plain_name_and_the_keys_of_channels() {
    let file =
        "[namespaces.\"a:b\"]\n[namespaces.chat]\npublsh = \"nobody\"\nsubscribe = \"all\"\nport = 1\n";
    refuses(
        file,
        &[],
        &[],
        &[
            "pulse.toml:1: the name of a namespace is \"a:b\"; allowed: 1 to 64 letters, digits, - or _ (ASCII)",
            "pulse.toml:3: namespaces.chat.publsh is not a setting; did you mean namespaces.chat.publish?",
            "pulse.toml:4: namespaces.chat.subscribe is \"all\"; allowed: \"anyone\" or \"nobody\"",
            "pulse.toml:5: namespaces.chat.port is not a setting; did you mean server.port?",
        ],
    );
}

#[test]
fn a_client_has_longer_to_answer_than_it_takes_to_ask() {
    refuses(
        "[heartbeat]\ninterval_ms = 60000\n",
        &[],
        &[],
        &[
            "pulse.toml:2: heartbeat.timeout_ms (60000, default) has to be greater than heartbeat.interval_ms (60000, \
         pulse.toml:2)",
        ],
    );
    refuses(
        "[heartbeat]\ninterval_ms = 90000\n",
        &[],
        &[("heartbeat.timeout_ms", "80000")],
        &[
            "--heartbeat-timeout-ms: heartbeat.timeout_ms (80000, --heartbeat-timeout-ms) has to be greater than \
         heartbeat.interval_ms (90000, pulse.toml:2)",
        ],
    );
    let off = accepted("[heartbeat]\ninterval_ms = 0\ntimeout_ms = 1\n", &[], &[]);
    assert!(off.warnings[0].starts_with("heartbeat.interval_ms is 0 ("), "{:?}", off.warnings);
}

#[test]
fn a_queue_has_room_for_one_message() {
    refuses(
        "",
        &[("PULSE_LIMITS_MAX_MESSAGE_SIZE", "2000000")],
        &[],
        &["PULSE_LIMITS_MAX_MESSAGE_SIZE: limits.queue_bytes (1048576, default) has to be at least \
         limits.max_message_size (2000000, PULSE_LIMITS_MAX_MESSAGE_SIZE)"],
    );
}

#[test]
fn the_two_listeners_have_different_ports() {
    refuses(
        "",
        &[("PULSE_PORT", "9090")],
        &[],
        &["PULSE_PORT: metrics.port (9090, default) has to differ from server.port (9090, PULSE_PORT)"],
    );
    for elsewhere in
        [("PULSE_HOST", "127.0.0.2"), ("PULSE_METRICS_ENABLED", "false"), ("PULSE_METRICS_PORT", "0")]
    {
        accepted("", &[("PULSE_PORT", "9090"), elsewhere], &[]);
    }
}

#[test]
fn an_address_that_others_reach_is_warned_about() {
    let about = |environment: &[(&str, &str)]| -> Vec<String> {
        let warnings = accepted("", environment, &[]).warnings;
        warnings.iter().map(|warning| warning.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(about(&[("PULSE_HOST", "0.0.0.0")]), ["server.host is 0.0.0.0 (PULSE_HOST)"]);
    assert_eq!(
        about(&[("PULSE_METRICS_HOST", "10.0.0.1")]),
        ["metrics.host is 10.0.0.1 (PULSE_METRICS_HOST)"]
    );
    let closed = [
        ("PULSE_HOST", "0.0.0.0"),
        ("PULSE_CHANNELS_SUBSCRIBE", "nobody"),
        ("PULSE_CHANNELS_PUBLISH", "nobody"),
        ("PULSE_CHANNELS_PRESENCE", "nobody"),
    ];
    assert!(about(&closed).is_empty());
    assert!(about(&[("PULSE_HOST", "localhost")]).is_empty());
    assert_eq!(
        about(&[("PULSE_TRANSPORT_WEBSOCKET", "false")]),
        ["transport.websocket is false (PULSE_TRANSPORT_WEBSOCKET)"]
    );
}

#[test]
fn the_effective_settings_name_every_value_and_its_origin() {
    let file = "[namespaces.news]\npublish = \"nobody\"\n";
    let loaded = accepted(file, &[("PULSE_LOGGING_FORMAT", "json")], &[]);
    assert_eq!(loaded.config.logging.format, LogFormat::Json);
    let effective = loaded.effective();
    assert_eq!(effective.len(), SETTINGS.len() + 12);
    let lines: Vec<String> = effective
        .iter()
        .map(|line| format!("{}.{} = {} ({})", line.section, line.key, line.value, line.origin))
        .collect();
    assert_eq!(lines[0], "server.host = \"127.0.0.1\" (default)");
    assert!(lines.contains(&"logging.format = \"json\" (PULSE_LOGGING_FORMAT)".to_owned()), "{lines:#?}");
    assert!(
        lines.contains(&"namespaces.news.subscribe = \"anyone\" (as [channels])".to_owned()),
        "{lines:#?}"
    );
    let news = lines.iter().find(|line| line.starts_with("namespaces.news.publish = \"nobody\" ("));
    assert!(news.is_some_and(|line| line.ends_with(".toml:2)")), "{lines:#?}");
}
