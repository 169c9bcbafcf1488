//! Requests and their answers, one by one.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::sim::message;
use crate::wire::{Frame, History, Point, Refresh, Subscribe};
use crate::{Dialect, Kind};

use super::script::{
    DIALECTS, ask, channels, client, connect, publish, publish_with_id, sees, sees_all, sees_nothing, send,
    subscribe, unsubscribe,
};
use super::{Stage, list};

list! {
    subscribing_is_acknowledged_once_and_a_second_time_is_an_error
    leaving_is_acknowledged_and_leaving_twice_is_an_error
    a_channel_can_be_entered_again_after_it_was_left
    bad_names_are_refused_in_every_request
    the_longest_name_is_one
    publishing_is_acknowledged_where_it_is_asked_for
    a_payload_over_the_limit_is_refused_and_the_connection_lives
    namespaces_decide_who_may_do_what
    a_refused_publication_without_id_is_an_error_under_zero
    many_requests_in_one_message_are_each_answered
    a_second_connect_is_an_error_except_for_old_clients
    frames_of_servers_are_refused
    history_and_refresh_are_not_available
    what_cannot_be_recovered_is_said
    pings_are_answered_with_their_timestamp
    one_subscription_too_many_is_refused_until_one_ends
    an_empty_line_means_nothing
}

fn subscribing_is_acknowledged_once_and_a_second_time_is_an_error(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for channel in channels("twice") {
            ask(stage, client, &[subscribe(1, &channel)], &["ack 1"]);
            ask(stage, client, &[subscribe(2, &channel)], &["error 2 1009"]);
        }
        sees_nothing(stage, client);
    }
}

fn leaving_is_acknowledged_and_leaving_twice_is_an_error(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for channel in channels("leaving") {
            ask(stage, client, &[unsubscribe(1, &channel)], &["error 1 1008"]);
            ask(stage, client, &[subscribe(2, &channel)], &["ack 2"]);
            ask(stage, client, &[unsubscribe(3, &channel)], &["ack 3"]);
            ask(stage, client, &[unsubscribe(4, &channel)], &["error 4 1008"]);
        }
    }
}

fn a_channel_can_be_entered_again_after_it_was_left(stage: &mut dyn Stage) {
    let (reader, writer) = (client(stage, Dialect::V1), client(stage, Dialect::V1));
    for channel in channels("again") {
        for round in ["first", "second", "third"] {
            ask(stage, reader, &[subscribe(1, &channel)], &["ack 1"]);
            ask(stage, writer, &[publish_with_id(1, &channel, round)], &["ack 1"]);
            sees(stage, reader, &[&[&channel, " ", round].concat()]);
            ask(stage, reader, &[unsubscribe(2, &channel)], &["ack 2"]);
        }
    }
}

fn bad_names_are_refused_in_every_request(stage: &mut dyn Stage) {
    let long: String = core::iter::repeat_n('x', 257).collect();
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for name in ["", "$inside", "tab\there", "caf\u{e9}", &long] {
            ask(stage, client, &[subscribe(1, name)], &["error 1 1002"]);
            ask(stage, client, &[unsubscribe(2, name)], &["error 2 1002"]);
            ask(stage, client, &[publish_with_id(3, name, "x")], &["error 3 1002"]);
            ask(stage, client, &[Frame::Publish(publish(name, "x"))], &["error 0 1002"]);
        }
    }
}

fn the_longest_name_is_one(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    let long: String = core::iter::repeat_n('y', 256).collect();
    ask(stage, client, &[subscribe(1, &long)], &["ack 1"]);
    send(stage, client, &[Frame::Publish(publish(&long, "x"))]);
    sees(stage, client, &[&[&long, " x"].concat()]);
}

fn publishing_is_acknowledged_where_it_is_asked_for(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for channel in channels("nobody reads") {
            send(stage, client, &[Frame::Publish(publish(&channel, "x"))]);
            ask(stage, client, &[publish_with_id(7, &channel, "x")], &["ack 7"]);
        }
        sees_nothing(stage, client);
    }
}

fn a_payload_over_the_limit_is_refused_and_the_connection_lives(stage: &mut dyn Stage) {
    let most: String = core::iter::repeat_n('x', 65_536).collect();
    let more = [&most, "x"].concat();
    let client = client(stage, Dialect::V1);
    for channel in channels("large") {
        ask(stage, client, &[publish_with_id(1, &channel, &most)], &["ack 1"]);
        ask(stage, client, &[publish_with_id(2, &channel, &more)], &["error 2 1007"]);
        ask(stage, client, &[Frame::Publish(publish(&channel, &more))], &["error 0 1007"]);
    }
    sees_nothing(stage, client);
}

fn namespaces_decide_who_may_do_what(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for (mute, closed) in channels("mute:a").iter().zip(channels("closed:a")) {
            ask(stage, client, &[subscribe(1, mute)], &["ack 1"]);
            ask(stage, client, &[publish_with_id(2, mute, "x")], &["error 2 1004"]);
            ask(stage, client, &[subscribe(3, &closed)], &["error 3 1004"]);
            ask(stage, client, &[publish_with_id(4, &closed, "x")], &["ack 4"]);
        }
        sees_nothing(stage, client);
    }
}

fn a_refused_publication_without_id_is_an_error_under_zero(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::Json);
    ask(stage, client, &[Frame::Publish(publish("mute:zero", "x"))], &["error 0 1004"]);
}

fn many_requests_in_one_message_are_each_answered(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        let channels = channels("pipelined");
        let frames: Vec<Frame<'_>> = channels
            .iter()
            .enumerate()
            .flat_map(|(n, channel)| {
                let id = 10 * n as u64;
                [
                    subscribe(id + 1, channel),
                    publish_with_id(id + 2, channel, "x"),
                    subscribe(id + 3, "$bad"),
                    subscribe(id + 4, channel),
                ]
            })
            .collect();
        send(stage, client, &frames);
        let mut lines = vec![];
        for (n, channel) in channels.iter().enumerate() {
            let id = 10 * n;
            lines.push(alloc::format!("ack {}", id + 1));
            lines.push(alloc::format!("ack {}", id + 2));
            lines.push(alloc::format!("error {} 1002", id + 3));
            lines.push(alloc::format!("error {} 1009", id + 4));
            lines.push(alloc::format!("{channel} x"));
        }
        let lines: Vec<&str> = lines.iter().map(|line| &**line).collect();
        sees_all(stage, client, &lines);
    }
}

fn a_second_connect_is_an_error_except_for_old_clients(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        let expected = if dialect == Dialect::Legacy { "connected" } else { "error 0 1001" };
        ask(stage, client, &[connect()], &[expected]);
        sees_nothing(stage, client);
    }
}

fn frames_of_servers_are_refused(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    let ack = Frame::Ack(crate::wire::Ack { id: 7, ..Default::default() });
    ask(stage, client, &[ack], &["error 0 1001"]);
    // A map that names no frame, with an id to answer under.
    let nonsense = b"\0\0\0\x0e\x82\xa4type\xa3odd\xa2id\x09";
    stage.send(client, Kind::Binary, nonsense);
    sees(stage, client, &["error 9 1001"]);
    sees_nothing(stage, client);
}

fn history_and_refresh_are_not_available(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    let history = Frame::History(History { id: 1, channel: Some("news"), ..History::default() });
    ask(stage, client, &[history], &["error 1 1014"]);
    ask(stage, client, &[Frame::Refresh(Refresh { id: 2, token: "t" })], &["error 2 1014"]);
}

fn what_cannot_be_recovered_is_said(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    for channel in channels("recover") {
        let recover = Some(Point { epoch: "long ago", offset: 7 });
        let request = Subscribe { id: 1, channel: &channel, recover, ..Subscribe::default() };
        ask(stage, client, &[Frame::Subscribe(request)], &["ack 1 recovered false"]);
    }
}

fn pings_are_answered_with_their_timestamp(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        for timestamp in [None, Some(1), Some((1 << 53) - 1)] {
            let expected = alloc::format!("pong {}", timestamp.unwrap_or(0));
            ask(stage, client, &[Frame::Ping { timestamp }], &[&expected]);
        }
    }
}

fn one_subscription_too_many_is_refused_until_one_ends(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    let names: Vec<String> = (0..101).map(|n| alloc::format!("many/{n}")).collect();
    for name in &names[..100] {
        ask(stage, client, &[subscribe(1, name)], &["ack 1"]);
    }
    ask(stage, client, &[subscribe(2, &names[100])], &["error 2 1013"]);
    ask(stage, client, &[unsubscribe(3, &names[50])], &["ack 3"]);
    ask(stage, client, &[subscribe(4, &names[100])], &["ack 4"]);
}

fn an_empty_line_means_nothing(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::Json);
    let mut text = b"\n\r\n".to_vec();
    text.extend(message(Dialect::Json, &[subscribe(1, "lines")]));
    text.extend_from_slice(b"\n\n");
    stage.send(client, Kind::Text, &text);
    sees(stage, client, &["ack 1"]);
}
