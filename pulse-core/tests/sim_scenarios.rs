//! Behaviours that every server has to show, shown by routers in virtual time: one alone, and several together.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::collections::BTreeSet;

use pulse_core::Seed;
use pulse_core::sim::scenario::{SimStage, scenarios};

/// Plays each scenario on a stage of its own.
fn play(routers: u16) {
    for seed in 1..=3 {
        for (name, scenario) in scenarios() {
            println!("{name}, {routers} routers, seed {seed}");
            scenario(&mut SimStage::new(routers, Seed(seed)));
        }
    }
}

#[test]
fn one_router_shows_every_behaviour() {
    play(1);
}

#[test]
fn two_routers_show_every_behaviour() {
    play(2);
}

#[test]
fn four_routers_show_every_behaviour() {
    play(4);
}

#[test]
fn scenarios_do_not_disturb_each_other_on_one_server() {
    let mut stage = SimStage::new(3, Seed(9));
    for (name, scenario) in scenarios() {
        println!("{name}");
        scenario(&mut stage);
    }
}

#[test]
fn every_scenario_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = scenarios().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), scenarios().len());
    assert!(names.len() >= 50, "{}", names.len());
}
