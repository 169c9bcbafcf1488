//! Presence: who is there, who hears of it, and what happens when somebody goes without a word.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::Dialect;
use crate::sim::ClientNo;
use crate::wire::PresenceAction::{Count, Join, Leave, Sync, Update};
use crate::wire::{Frame, Presence};

use super::script::{
    DIALECTS, ask, channels, client, frame, named, presence, sees, sees_all, sees_nothing, send, subscribe,
    subscriber, unsubscribe,
};
use super::{GRACE_MS, Stage, list};

list! {
    joining_is_told_to_all_subscribers
    a_change_of_data_is_told_and_listed
    leaving_is_told_to_all_subscribers
    leaving_the_channel_leaves_its_presence
    a_connection_that_ends_is_present_for_a_grace
    joining_again_changes_the_data
    joining_needs_a_subscription
    changing_and_leaving_need_presence
    looking_needs_no_subscription
    the_list_comes_in_pages
    many_changes_make_a_list_that_is_true
    too_much_data_is_refused
    a_namespace_can_hide_who_is_there
    a_bad_name_has_no_presence
    nobody_is_present_without_saying_so
}

/// A client in this channel, and its name.
fn inside(stage: &mut dyn Stage, dialect: Dialect, channel: &str) -> (ClientNo, String) {
    let (client, name) = named(stage, dialect);
    ask(stage, client, &[subscribe(900, channel)], &["ack 900"]);
    (client, name)
}

/// A client that is present in this channel, alone there with `watcher`.
fn member(stage: &mut dyn Stage, dialect: Dialect, channel: &str, watcher: ClientNo) -> (ClientNo, String) {
    let (client, name) = inside(stage, dialect, channel);
    send(stage, client, &[presence(901, channel, Join, b"\x01")]);
    let line = format!("#0 join {channel} [{name} \\x01] of 1");
    sees_all(stage, client, &["ack 901", &line]);
    sees(stage, watcher, &[&line]);
    (client, name)
}

fn joining_is_told_to_all_subscribers(stage: &mut dyn Stage) {
    for channel in channels("join") {
        for dialect in DIALECTS {
            let watcher = subscriber(stage, dialect, &channel);
            let (client, name) = member(stage, dialect, &channel, watcher);
            for asker in [client, watcher] {
                let list = format!("#1 sync {channel} [{name} \\x01] of 1");
                ask(stage, asker, &[presence(1, &channel, Sync, b"")], &[&list]);
            }
            send(stage, client, &[unsubscribe(2, &channel)]);
            sees_all(stage, client, &["ack 2"]);
            sees(stage, watcher, &[&format!("#0 leave {channel} [{name}] of 0")]);
            stage.hang_up(watcher);
        }
    }
}

fn a_change_of_data_is_told_and_listed(stage: &mut dyn Stage) {
    for channel in channels("update") {
        let watcher = subscriber(stage, Dialect::V1, &channel);
        let (client, name) = member(stage, Dialect::Json, &channel, watcher);
        send(stage, client, &[presence(1, &channel, Update, b"\xa3new")]);
        let line = format!("#0 update {channel} [{name} \\xa3new] of 1");
        sees_all(stage, client, &["ack 1", &line]);
        sees(stage, watcher, &[&line]);
        let list = format!("#2 sync {channel} [{name} \\xa3new] of 1");
        ask(stage, watcher, &[presence(2, &channel, Sync, b"")], &[&list]);
    }
}

fn leaving_is_told_to_all_subscribers(stage: &mut dyn Stage) {
    for channel in channels("leave") {
        let watcher = subscriber(stage, Dialect::Legacy, &channel);
        let (client, name) = member(stage, Dialect::V1, &channel, watcher);
        send(stage, client, &[presence(1, &channel, Leave, b"")]);
        let line = format!("#0 leave {channel} [{name}] of 0");
        sees_all(stage, client, &["ack 1", &line]);
        sees(stage, watcher, &[&line]);
        ask(stage, watcher, &[presence(2, &channel, Count, b"")], &[&format!("#2 count {channel} [] of 0")]);
    }
}

fn leaving_the_channel_leaves_its_presence(stage: &mut dyn Stage) {
    for channel in channels("gone with it") {
        let watcher = subscriber(stage, Dialect::V1, &channel);
        let (client, name) = member(stage, Dialect::V1, &channel, watcher);
        ask(stage, client, &[unsubscribe(1, &channel)], &["ack 1"]);
        sees(stage, watcher, &[&format!("#0 leave {channel} [{name}] of 0")]);
        sees_nothing(stage, client);
    }
}

fn a_connection_that_ends_is_present_for_a_grace(stage: &mut dyn Stage) {
    for channel in channels("grace") {
        let watcher = subscriber(stage, Dialect::V1, &channel);
        let (client, name) = member(stage, Dialect::V1, &channel, watcher);
        stage.hang_up(client);
        let list = format!("#1 sync {channel} [{name} \\x01] of 1");
        ask(stage, watcher, &[presence(1, &channel, Sync, b"")], &[&list]);
        stage.pass(GRACE_MS);
        sees(stage, watcher, &[&format!("#0 leave {channel} [{name}] of 0")]);
    }
}

fn joining_again_changes_the_data(stage: &mut dyn Stage) {
    for channel in channels("twice there") {
        let watcher = subscriber(stage, Dialect::V1, &channel);
        let (client, name) = member(stage, Dialect::V1, &channel, watcher);
        send(stage, client, &[presence(1, &channel, Join, b"\x02")]);
        let line = format!("#0 update {channel} [{name} \\x02] of 1");
        sees_all(stage, client, &["ack 1", &line]);
        sees(stage, watcher, &[&line]);
    }
}

fn joining_needs_a_subscription(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for channel in channels("from outside") {
            for action in [Join, Update, Leave] {
                ask(stage, client, &[presence(1, &channel, action, b"")], &["error 1 1008"]);
            }
        }
    }
}

fn changing_and_leaving_need_presence(stage: &mut dyn Stage) {
    for channel in channels("absent") {
        let client = subscriber(stage, Dialect::V1, &channel);
        for action in [Update, Leave] {
            ask(stage, client, &[presence(1, &channel, action, b"")], &["error 1 1015"]);
        }
    }
}

fn looking_needs_no_subscription(stage: &mut dyn Stage) {
    let outside = client(stage, Dialect::V1);
    for channel in channels("seen from outside") {
        let watcher = subscriber(stage, Dialect::V1, &channel);
        let (_, name) = member(stage, Dialect::V1, &channel, watcher);
        let list = format!("#1 sync {channel} [{name} \\x01] of 1");
        ask(stage, outside, &[presence(1, &channel, Sync, b"")], &[&list]);
        ask(stage, outside, &[presence(2, &channel, Count, b"")], &[&format!("#2 count {channel} [] of 1")]);
    }
}

/// All members of a channel, as pages of this size say.
fn pages(stage: &mut dyn Stage, client: ClientNo, channel: &str, limit: u64) -> Vec<String> {
    let (mut names, mut after) = (vec![], None::<String>);
    loop {
        let request = Presence {
            id: 77,
            channel,
            action: Sync,
            after: after.as_deref(),
            limit: Some(limit),
            ..Presence::default()
        };
        send(stage, client, &[Frame::Presence(request)]);
        let page = loop {
            let frame = frame(stage, client);
            if matches!(frame.get(), Frame::Presence(presence) if presence.id == 77) {
                break frame;
            }
        };
        let Frame::Presence(page) = page.get() else { unreachable!("it was looked at") };
        let members = page.members.expect("a page has members");
        assert!(members.len() as u64 <= limit, "{} members on a page of {limit}", members.len());
        names.extend(members.iter().map(|member| member.client.to_string()));
        after = page.next.map(ToString::to_string);
        if after.is_none() {
            assert!(page.clients == Some(names.len() as u64), "{:?} are said to be there", page.clients);
            return names;
        }
    }
}

fn the_list_comes_in_pages(stage: &mut dyn Stage) {
    for channel in channels("pages") {
        let mut expected = vec![];
        let mut last = None;
        for n in 0..7 {
            let (client, name) = inside(stage, DIALECTS[n % 3], &channel);
            send(stage, client, &[presence(1, &channel, Join, b"")]);
            wait_for_ack(stage, client, 1);
            expected.push(name);
            last = Some(client);
        }
        expected.sort();
        let client = last.expect("there are seven");
        for limit in [1, 2, 3, 6, 7, 8, 1000] {
            let seen = pages(stage, client, &channel, limit);
            assert!(seen == expected, "pages of {limit}: {seen:?}, it has to be {expected:?}");
        }
    }
}

/// Passes over what else comes.
fn wait_for_ack(stage: &mut dyn Stage, client: ClientNo, id: u64) {
    loop {
        let frame = frame(stage, client);
        match frame.get() {
            Frame::Ack(ack) if ack.id == id => return,
            Frame::Presence(_) => {}
            other => panic!("{other:?} is no change of presence, and not the ack of {id}"),
        }
    }
}

fn many_changes_make_a_list_that_is_true(stage: &mut dyn Stage) {
    let channel = "crowd";
    let watcher = subscriber(stage, Dialect::V1, channel);
    let mut members = vec![];
    for n in 0..40 {
        let (client, name) = inside(stage, Dialect::V1, channel);
        send(stage, client, &[presence(1, channel, Join, &[n])]);
        members.push((client, name));
    }
    for (client, _) in &members {
        wait_for_ack(stage, *client, 1);
    }
    for (client, _) in &members[..20] {
        send(stage, *client, &[presence(2, channel, Leave, b"")]);
    }
    for (client, _) in &members[..20] {
        wait_for_ack(stage, *client, 2);
    }
    let mut expected: Vec<String> = members[20..].iter().map(|(_, name)| name.clone()).collect();
    expected.sort();
    let mut seen = vec![];
    // Whatever the batches were: in the end the changes amount to the list.
    while seen != expected {
        let frame = frame(stage, watcher);
        let Frame::Presence(notice) = frame.get() else { panic!("{frame:?} tells of no change") };
        let single = notice.client.map(|client| (notice.action, client));
        let several = notice.changes.iter().flat_map(|changes| changes.iter());
        let several = several.map(|change| (change.action.expect("a change says what it is"), change.client));
        for (action, client) in several.chain(single) {
            seen.retain(|other| *other != client);
            if action != Leave {
                seen.push(client.to_string());
            }
        }
        seen.sort();
        assert!(notice.clients.is_some() && notice.users.is_some(), "{notice:?} has no totals");
    }
}

fn too_much_data_is_refused(stage: &mut dyn Stage) {
    let mut data = vec![0xc5, 0x04, 0x01];
    data.resize(3 + 1025, 7);
    for channel in channels("much to show") {
        let client = subscriber(stage, Dialect::V1, &channel);
        ask(stage, client, &[presence(1, &channel, Join, &data)], &["error 1 1007"]);
        sees_nothing(stage, client);
    }
}

fn a_namespace_can_hide_who_is_there(stage: &mut dyn Stage) {
    for channel in channels("hidden:a") {
        let client = subscriber(stage, Dialect::Json, &channel);
        for action in [Join, Leave, Update, Sync, Count] {
            ask(stage, client, &[presence(1, &channel, action, b"")], &["error 1 1004"]);
        }
    }
}

fn a_bad_name_has_no_presence(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    for action in [Join, Leave, Update, Sync, Count] {
        ask(stage, client, &[presence(1, "$inside", action, b"")], &["error 1 1002"]);
    }
}

fn nobody_is_present_without_saying_so(stage: &mut dyn Stage) {
    for channel in channels("silent") {
        let client = subscriber(stage, Dialect::V1, &channel);
        ask(stage, client, &[presence(1, &channel, Sync, b"")], &[&format!("#1 sync {channel} [] of 0")]);
    }
}
