//! Random operations against a model that is too simple to be wrong: who must have received what, in which order.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::collections::{BTreeMap, BTreeSet};

use pulse_core::{Config, ConnId, Dialect, Kind, Link};
use support::{Dice, World, connect, publish, publish_with_id, subscribe, unsubscribe};

const CHANNELS: [&str; 5] = ["a", "b", "chat:1", "chat:2", "z"];

/// What each connection has to see, and which channels it is in.
#[derive(Default)]
struct Model {
    channels: BTreeMap<ConnId, BTreeSet<&'static str>>,
    due: BTreeMap<ConnId, Vec<String>>,
}

impl Model {
    fn publish(&mut self, channel: &'static str, payload: &str) {
        for (conn, channels) in &self.channels {
            if channels.contains(channel) {
                self.due.entry(*conn).or_default().push(format!("{channel} {payload}"));
            }
        }
    }

    fn due(&mut self, conn: ConnId, line: String) {
        self.due.entry(conn).or_default().push(line);
    }
}

#[test]
fn every_client_sees_exactly_what_the_model_says_in_its_order() {
    for seed in 1..=300 {
        run(seed);
    }
}

fn run(seed: u64) {
    let (mut dice, mut w, mut model) = (Dice(seed), World::new(Config::default()), Model::default());
    let (mut conns, mut blocked, mut written) = (vec![], BTreeSet::new(), BTreeMap::new());
    for step in 0..400_u64 {
        let conn = if conns.is_empty() { None } else { Some(conns[dice.roll(conns.len())]) };
        let channel = CHANNELS[dice.roll(CHANNELS.len())];
        match (dice.roll(20), conn) {
            (0 | 1, _) | (_, None) => {
                let dialect = [Dialect::V1, Dialect::Legacy][dice.roll(2)];
                let conn = w.router.open(Link { class: dice.roll(2) as u8, dialect });
                if dialect == Dialect::V1 {
                    w.send(conn, &connect(1));
                }
                model.channels.insert(conn, BTreeSet::new());
                model.due(conn, "connected".into());
                conns.push(conn);
            }
            (2, Some(conn)) => {
                // What was due to it is nobody's business any more.
                w.router.closed(conn);
                conns.retain(|c| *c != conn);
                blocked.remove(&conn);
                model.channels.remove(&conn);
                model.due.remove(&conn);
                written.remove(&conn);
                w.take(conn);
            }
            (3..=7, Some(conn)) => {
                w.send(conn, &subscribe(step, channel));
                let new = model.channels.get_mut(&conn).unwrap().insert(channel);
                model.due(conn, if new { format!("ack {step}") } else { format!("error {step} 1009") });
            }
            (8 | 9, Some(conn)) => {
                w.send(conn, &unsubscribe(step, channel));
                let was = model.channels.get_mut(&conn).unwrap().remove(channel);
                model.due(conn, if was { format!("ack {step}") } else { format!("error {step} 1008") });
            }
            (10 | 11, Some(conn)) => {
                w.send_all(conn, &[publish_with_id(step, channel, "x"), publish(channel, "y")]);
                model.due(conn, format!("ack {step}"));
                model.publish(channel, "x");
                model.publish(channel, "y");
            }
            (12..=14, Some(conn)) => {
                let payload = step.to_string();
                w.send(conn, &publish(channel, &payload));
                model.publish(channel, &payload);
            }
            (15, Some(conn)) => {
                w.router.set_writable(conn, false);
                blocked.insert(conn);
            }
            (16, Some(conn)) => {
                w.router.set_writable(conn, true);
                blocked.remove(&conn);
            }
            (17, _) => {
                // A few batches only: the rest stays for later, and inputs come in between.
                for _ in 0..dice.roll(4) {
                    let Some(batch) = w.router.poll_write() else { break };
                    let to: Vec<ConnId> = batch.to().to_vec();
                    let payload = batch.payload().to_vec();
                    assert!(
                        to.iter().all(|c| !blocked.contains(c)),
                        "seed {seed}: a blocked reader was written to"
                    );
                    for conn in to {
                        written.entry(conn).or_insert_with(Vec::new).extend(support::lines(&payload));
                    }
                }
            }
            _ => collect(&mut w, &mut written),
        }
    }
    for conn in &conns {
        w.router.set_writable(*conn, true);
    }
    collect(&mut w, &mut written);
    for conn in conns {
        let expected = model.due.remove(&conn).unwrap_or_default();
        let seen = written.remove(&conn).unwrap_or_default();
        assert_eq!(seen, expected, "seed {seed}, connection {}", conn.slot());
    }
}

fn collect(w: &mut World, written: &mut BTreeMap<ConnId, Vec<String>>) {
    w.drain();
    for (conn, lines) in w.take_all() {
        written.entry(conn).or_default().extend(lines);
    }
}

#[test]
fn a_run_is_a_function_of_its_seed_and_inputs() {
    let outputs = || {
        let (mut dice, mut w) = (Dice(7), World::new(Config::default()));
        let mut bytes = vec![];
        for _ in 0..50 {
            let conn = w.router.open(Link { class: 0, dialect: Dialect::Legacy });
            w.send(conn, &subscribe(1, CHANNELS[dice.roll(5)]));
            w.send(conn, &publish(CHANNELS[dice.roll(5)], "x"));
            while let Some(batch) = w.router.poll_write() {
                bytes.extend_from_slice(batch.payload());
                bytes.extend(batch.to().iter().flat_map(|c| c.to_bits().to_be_bytes()));
            }
        }
        w.router.receive(ConnId::new(3, 1), Kind::Binary, b"nonsense");
        bytes.extend(format!("{:?}", w.effects()).into_bytes());
        bytes
    };
    assert!(outputs() == outputs(), "two runs differ");
}
