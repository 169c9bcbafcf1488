//! A router moves, with sessions and channels, into another one while its clients go on.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::sim::{Sim, SimConfig, What};
use pulse_core::wire::{Frame, Payload, Presence, Publish, Subscribe};
use pulse_core::{Dialect, Seed};

fn publish<'a>(channel: &'a str, payload: &'a str) -> Frame<'a> {
    Frame::Publish(Publish { channel, payload: Payload::from(payload.as_bytes()), ..Publish::default() })
}

#[test]
fn clients_notice_nothing_of_a_move_however_often() {
    let mut sim = Sim::new(&SimConfig { trace: true, ..SimConfig::default() }, Seed(3));
    let clients = [Dialect::Legacy; 3].map(|dialect| sim.open(dialect, 0));
    for client in clients {
        let subscribe = Subscribe { id: 1, channel: "c", ..Subscribe::default() };
        let join = Presence { id: 2, channel: "c", ..Presence::default() };
        sim.send(client, &[Frame::Subscribe(subscribe), Frame::Presence(join)]);
    }
    sim.run_for(500);
    let before = clients.map(|client| sim.client(client).log().len());
    for round in 0..20 {
        sim.move_house();
        sim.send(clients[round % 3], &[publish("c", &round.to_string())]);
        sim.run_for(if round % 2 == 0 { 1_000 } else { 0 });
    }
    sim.run_for(10_000);
    for (client, before) in clients.into_iter().zip(before) {
        let log = &sim.client(client).log()[before..];
        let told = log.iter().filter_map(|entry| match &entry.what {
            What::Got(frame) => Some(format!("{frame:?}")),
            _ => None,
        });
        let told: Vec<String> = told.filter(|line| !line.contains("Ping")).collect();
        assert_eq!(told.len(), 20, "publications and nothing else: {told:?}");
    }
    let stats = sim.stats().next().expect("there is a router");
    assert_eq!((stats.connections, stats.subscriptions, stats.channels, stats.members), (3, 3, 1, 3));
    assert_eq!(stats.opened, 0, "the last router has opened none of them");
}
