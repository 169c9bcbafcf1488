//! A store does what a model of it does, whatever it is told, across closing, kills and opening again.

mod store_support;

use std::collections::BTreeMap;

use pulse_native::store::{Change, Channel, Entry, Store};

use store_support::Folder;

/// A store as one would write it down on paper.
#[derive(Clone, Default)]
struct Model {
    channels: BTreeMap<String, Run>,
}

/// What an epoch of a channel has had, and what of it is kept.
#[derive(Clone)]
struct Run {
    epoch: String,
    first: u64,
    top: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    fn begin(&mut self, channel: &str, epoch: &str) -> &mut Run {
        let new = || Run {
            epoch: epoch.to_owned(),
            first: 1,
            top: 0,
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let run = self.channels.entry(channel.to_owned()).or_insert_with(new);
        if run.epoch != epoch {
            *run = new();
        }
        run
    }

    fn trim(&mut self, channel: &str, below: u64, names_below: u64) {
        if let Some(run) = self.channels.get_mut(channel) {
            run.first = run.first.max(below.min(run.top + 1));
            run.entries = run.entries.split_off(&below);
            run.names = run.names.split_off(&names_below);
        }
    }

    fn check(&self, store: &Store, context: &str) {
        let channels = self.channels.iter().map(|(name, run)| Channel {
            name: name.clone(),
            epoch: run.epoch.clone(),
            first: run.first,
            top: run.top,
        });
        assert_eq!(store.channels().unwrap(), channels.collect::<Vec<_>>(), "{context}");
        for (name, run) in &self.channels {
            let kept = store.load(name, 0, usize::MAX).unwrap();
            let kept: BTreeMap<u64, Vec<u8>> = kept.into_iter().map(|one| (one.offset, one.frame)).collect();
            assert_eq!(kept, run.entries, "{context}: {name}");
            let names = store.names(name, 0, usize::MAX).unwrap();
            let names: BTreeMap<u64, Vec<u8>> = names.into_iter().map(|one| (one.offset, one.name)).collect();
            assert_eq!(names, run.names, "{context}: names of {name}");
        }
    }
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn channel(&mut self) -> String {
        format!("c{}", self.below(4))
    }

    fn bytes(&mut self, bound: u64) -> Vec<u8> {
        vec![self.below(256) as u8; self.below(bound) as usize]
    }
}

/// A change with all that it speaks of.
enum Owned {
    Begin { channel: String, epoch: String },
    Append { channel: String, epoch: String, offset: u64, time: u64, name: Vec<u8>, frame: Vec<u8> },
    Trim { channel: String, below: u64, names_below: u64 },
    Supersede { channel: String, offset: u64 },
    Remove { channel: String },
}

impl Owned {
    /// One that the model makes, too.
    fn random(random: &mut Random, model: &mut Model, time: u64) -> Self {
        let (channel, epoch) = (random.channel(), format!("e{}", random.below(20) / 19));
        let top = model.channels.get(&channel).map_or(4, |run| run.top);
        match random.below(16) {
            0..=8 => {
                let run = model.begin(&channel, &epoch);
                run.top += 1 + random.below(3);
                let (offset, frame) = (run.top, random.bytes(3_000));
                let name = if random.below(2) == 0 { Vec::new() } else { random.bytes(60) };
                run.entries.insert(offset, frame.clone());
                if !name.is_empty() {
                    run.names.insert(offset, name.clone());
                }
                Self::Append { channel, epoch, offset, time, name, frame }
            }
            9 | 10 => {
                let [below, names_below] =
                    [8, 12].map(|most| top.saturating_sub(most) + random.below(most + 3));
                model.trim(&channel, below, names_below);
                Self::Trim { channel, below, names_below }
            }
            11..=13 => {
                let offset = top.saturating_sub(random.below(6));
                if let Some(run) = model.channels.get_mut(&channel) {
                    run.entries.remove(&offset);
                }
                Self::Supersede { channel, offset }
            }
            14 => {
                model.begin(&channel, &epoch);
                Self::Begin { channel, epoch }
            }
            _ => {
                if random.below(3) == 0 {
                    model.channels.remove(&channel);
                    Self::Remove { channel }
                } else {
                    Self::Supersede { channel: "nobody".to_owned(), offset: 1 }
                }
            }
        }
    }

    fn change(&self) -> Change<'_> {
        match self {
            Self::Begin { channel, epoch } => Change::Begin { channel, epoch },
            Self::Append { channel, epoch, offset, time, name, frame } => {
                Change::Append(Entry { channel, epoch, offset: *offset, time: *time, name, frame })
            }
            Self::Trim { channel, below, names_below } => {
                Change::Trim { channel, below: *below, names_below: *names_below }
            }
            Self::Supersede { channel, offset } => Change::Supersede { channel, offset: *offset },
            Self::Remove { channel } => Change::Remove { channel },
        }
    }
}

#[test]
fn any_sequence_of_changes_does_what_the_model_does() {
    for seed in 1..=8 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut folder = Folder::new(&format!("model-{seed}-0"));
        let mut store = Store::open(&folder).unwrap();
        let mut model = Model::default();
        for step in 0..250 {
            let context = format!("seed {seed}, step {step}");
            match random.below(20) {
                0..=13 => {
                    let changes: Vec<Owned> =
                        (0..random.below(8)).map(|_| Owned::random(&mut random, &mut model, step)).collect();
                    let changes: Vec<Change<'_>> = changes.iter().map(Owned::change).collect();
                    store.commit(&changes).unwrap();
                }
                14 => {
                    // One that fails in the end, of which nothing is to be left.
                    let mut other = model.clone();
                    let changes: Vec<Owned> =
                        (0..random.below(8)).map(|_| Owned::random(&mut random, &mut other, step)).collect();
                    let zero =
                        Entry { channel: "c1", epoch: "e0", offset: 0, time: 0, name: b"n", frame: b"x" };
                    let changes = changes.iter().map(Owned::change).chain([Change::Append(zero)]);
                    assert!(store.commit(&changes.collect::<Vec<_>>()).is_err(), "{context}");
                }
                15 => {
                    let (name, below, names_below) = (random.channel(), random.below(30), random.below(30));
                    model.trim(&name, below, names_below);
                    store.trim(&[(&name, below, names_below)]).unwrap();
                }
                16 => {
                    let (name, first, top) = (random.channel(), random.below(300), random.below(300));
                    let run = model.begin(&name, "e0");
                    run.top = run.top.max(top);
                    model.trim(&name, first, 0);
                    store.mark(&name, "e0", first, top).unwrap();
                }
                17 => {
                    let name = random.channel();
                    model.channels.remove(&name);
                    store.remove(&name).unwrap();
                }
                18 => {
                    drop(store);
                    store = Store::open_existing(&folder).unwrap();
                }
                _ => {
                    // What a kill here would leave.
                    let killed = Folder::copy(&format!("model-{seed}-{}", step + 1), &folder);
                    drop(store);
                    folder = killed;
                    store = Store::open_existing(&folder).unwrap();
                }
            }
            if step % 10 == 0 {
                model.check(&store, &context);
            }
        }
        model.check(&store, &format!("seed {seed}, in the end"));
        store.close().unwrap();
    }
}
