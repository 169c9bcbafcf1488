//! Power is lost at any moment, and what was not synced with it; then other routers take over the disk. Whatever happened,
//! nothing that anybody was told of is lost, no number stands for two messages, and nobody misses one.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::collections::BTreeMap;

use pulse_core::{Config, ConnId, Namespace, Rules};
use support::{Cluster, Dice, Disk, history, publish, publish_with_id, recover, subscribe};

const CHANNELS: [&str; 4] = ["safe:a", "safe:b", "safe:c", "safe:d"];

/// Somebody who reads one channel and comes back after each loss of power.
struct Reader {
    channel: &'static str,
    client: (u16, ConnId),
    /// The position that it knows.
    at: Option<(String, u64)>,
}

struct Run {
    dice: Dice,
    cluster: Cluster,
    disk: Disk,
    readers: Vec<Reader>,
    publisher: (u16, ConnId),
    /// By channel, epoch and number: what was told of it to anybody.
    told: BTreeMap<(&'static str, String, u64), String>,
    /// By id: what was published under it and is not answered.
    asked: BTreeMap<u64, (&'static str, String)>,
    last_id: u64,
    outages: u64,
}

fn config() -> Config {
    let rules = Rules { history_size: 100_000, history_bytes: 1 << 30, durable: true, ..Rules::default() };
    Config { namespaces: vec![Namespace { name: "safe".into(), rules }], ..Config::default() }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(1 + dice.roll(3) as u16, &config());
        let publisher = cluster.client(0);
        let mut run = Self {
            dice,
            cluster,
            disk: Disk::default(),
            readers: vec![],
            publisher,
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_id: 100,
            outages: 0,
        };
        for channel in CHANNELS.into_iter().chain(CHANNELS) {
            let client = run.client();
            run.cluster.send(client, &[subscribe(1, channel)]);
            run.readers.push(Reader { channel, client, at: None });
        }
        // A position of a channel in which nothing was ever published may be lost: there is nothing to lose with it.
        run.cluster.store(&mut run.disk);
        run.look();
        run
    }

    fn client(&mut self) -> (u16, ConnId) {
        let at = self.dice.roll(self.cluster.worlds.len()) as u16;
        self.cluster.client(at)
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=8 => self.publish(),
            9..=15 => {
                let at = self.dice.roll(self.cluster.worlds.len());
                self.answer_store(at);
            }
            16..=18 => self.look(),
            _ => self.lose_power(),
        }
    }

    fn publish(&mut self) {
        let channel = CHANNELS[self.dice.roll(CHANNELS.len())];
        self.last_id += 1;
        let payload = format!("p{}", self.last_id);
        if self.dice.roll(4) == 0 {
            self.cluster.send(self.publisher, &[publish(channel, &payload)]);
        } else {
            self.cluster.send(self.publisher, &[publish_with_id(self.last_id, channel, &payload)]);
            self.asked.insert(self.last_id, (channel, payload));
        }
        if self.dice.roll(2) == 0 {
            self.cluster.settle();
        }
    }

    /// The disk takes a batch, or does not.
    fn answer_store(&mut self, at: usize) {
        self.cluster.settle();
        let fails = self.dice.roll(6) == 0;
        let world = &mut self.cluster.worlds[at];
        let Some((sequence, records)) = world.stores.pop() else { return };
        if fails {
            world.router.not_stored(sequence, "the disk is full");
        } else {
            self.disk.write(&records);
            world.router.stored(sequence);
        }
    }

    /// Takes note of what everybody was told.
    fn look(&mut self) {
        self.cluster.settle();
        for at in 0..self.readers.len() {
            let seen = self.cluster.sees(self.readers[at].client);
            for line in seen {
                self.heard(at, &line);
            }
        }
        for line in self.cluster.sees(self.publisher) {
            let mut words = line.split(' ');
            let (kind, id) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
            match kind {
                "error" if id == 0 => {}
                "error" => assert!(self.asked.remove(&id).is_some(), "{line}"),
                _ => {
                    let (channel, payload) = self.asked.remove(&id).expect("each is answered once");
                    let (epoch, number) = words.nth(1).unwrap().split_once(':').unwrap();
                    self.note(channel, epoch, number.parse().unwrap(), &payload);
                }
            }
        }
    }

    fn heard(&mut self, at: usize, line: &str) {
        let channel = self.readers[at].channel;
        if let Some(published) = line.strip_prefix(&format!("{channel} ")) {
            let (payload, number) = published.split_once(" #").unwrap();
            let number: u64 = number.parse().unwrap();
            let (epoch, before) = self.readers[at].at.clone().expect("the ack comes first");
            assert_eq!(number, before + 1, "{channel} {line}: rising, once, without a hole");
            self.note(channel, &epoch, number, payload);
            self.readers[at].at = Some((epoch, number));
            return;
        }
        let (_, position) = line.split_once(" at ").unwrap_or_else(|| panic!("{line}"));
        let (epoch, number) = position.split_once(':').unwrap();
        match &self.readers[at].at {
            Some((known, _)) => {
                assert_eq!(known, epoch);
                assert!(line.contains("recovered true"), "{line}");
            }
            None => self.readers[at].at = Some((epoch.into(), number.parse().unwrap())),
        }
    }

    fn note(&mut self, channel: &'static str, epoch: &str, number: u64, payload: &str) {
        let told = self.told.entry((channel, epoch.into(), number)).or_insert_with(|| payload.into());
        assert_eq!(told, payload, "{channel} {epoch}:{number} is one message for ever");
    }

    /// What was said is heard or not; batches that were handed to the disk are on it or not.
    fn lose_power(&mut self) {
        if self.dice.roll(2) == 0 {
            self.look();
        }
        for world in &mut self.cluster.worlds {
            for (_, records) in world.stores.drain(..) {
                if self.dice.roll(2) == 0 {
                    self.disk.write(&records);
                }
            }
        }
        self.outages += 1;
        self.asked.clear();
        self.cluster = Cluster::new(1 + self.dice.roll(4) as u16, &config());
        self.cluster.worlds.iter_mut().for_each(|world| self.disk.restore(&mut world.router));
        self.publisher = self.client();
        for at in 0..self.readers.len() {
            self.readers[at].client = self.client();
            let Reader { channel, client, ref at } = self.readers[at];
            let (epoch, number) = at.as_ref().expect("it was found above");
            self.cluster.send(client, &[recover(1, channel, epoch, *number)]);
        }
        self.check_history();
    }

    /// All that anybody was told of is there.
    fn check_history(&mut self) {
        let reader = self.client();
        for channel in CHANNELS {
            let epoch = format!("{:08x}", self.disk.0[channel].epoch);
            let (mut number, mut after) = (0, 0);
            loop {
                self.cluster.send(reader, &[history(7, channel, Some((&epoch, after)), Some(1_000), None)]);
                let page = self.cluster.sees(reader).remove(0);
                let items = page.strip_prefix("history 7: ").and_then(|page| page.split_once(" of "));
                let (items, _) = items.unwrap_or_else(|| panic!("{page}"));
                for item in items.split_whitespace() {
                    let (payload, at) = item.split_once('#').unwrap();
                    number += 1;
                    assert!(at.starts_with(&format!("{number}@")), "{channel}: {item} is not {number}");
                    self.note(channel, &epoch, number, payload);
                }
                if number == after {
                    break;
                }
                after = number;
            }
            let told = self.told.keys().filter(|(of, ..)| *of == channel);
            for (_, of, told) in told {
                assert!(
                    *of == epoch && *told <= number,
                    "{channel} {of}:{told} was told, {epoch}:{number} is there"
                );
            }
        }
    }
}

#[test]
fn nothing_that_anybody_was_told_of_is_lost() {
    let (mut outages, mut told) = (0, 0);
    for seed in 1..=40 {
        let mut run = Run::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..300 {
            run.step();
        }
        outages += run.outages;
        told += run.told.len();
    }
    assert!(outages > 300 && told > 1_000, "{outages} outages, {told} messages: this shows nothing");
}
