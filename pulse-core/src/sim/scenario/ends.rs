//! How connections begin and end: what has to come first, and the codes by which a server closes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::{Connect, Frame};
use crate::{Dialect, Kind};

use super::script::{
    DIALECTS, ask, channels, client, connect, ends, publish, sees, sees_nothing, send, subscribe, subscriber,
};
use super::{CONNECT_MS, Got, Stage, TIMEOUT_MS, list};

list! {
    an_old_client_is_in_at_once
    requests_may_follow_connect_in_the_same_message
    what_comes_first_has_to_be_connect
    who_says_nothing_is_closed
    another_version_is_told_to_stay_away
    bytes_that_are_no_frame_end_the_connection
    a_message_of_the_wrong_kind_ends_the_connection
    what_came_before_the_mistake_is_answered
    who_takes_nothing_and_says_nothing_is_given_up
    who_reads_is_not_given_up
    a_reader_that_is_too_slow_is_closed_where_nothing_may_be_lost
    a_channel_goes_on_without_those_who_left
}

fn an_old_client_is_in_at_once(stage: &mut dyn Stage) {
    let client = stage.open(Dialect::Legacy);
    ask(stage, client, &[subscribe(1, "early")], &["connected", "ack 1"]);
}

fn requests_may_follow_connect_in_the_same_message(stage: &mut dyn Stage) {
    for dialect in [Dialect::V1, Dialect::Json] {
        let client = stage.open(dialect);
        ask(stage, client, &[connect(), subscribe(1, "early")], &["connected", "ack 1"]);
    }
}

fn what_comes_first_has_to_be_connect(stage: &mut dyn Stage) {
    for dialect in [Dialect::V1, Dialect::Json] {
        let client = stage.open(dialect);
        send(stage, client, &[subscribe(1, "too early"), connect()]);
        ends(stage, client, 4502);
    }
}

fn who_says_nothing_is_closed(stage: &mut dyn Stage) {
    let client = stage.open(Dialect::V1);
    stage.pass(CONNECT_MS);
    ends(stage, client, 4502);
}

fn another_version_is_told_to_stay_away(stage: &mut dyn Stage) {
    for dialect in [Dialect::V1, Dialect::Json] {
        let client = stage.open(dialect);
        send(stage, client, &[Frame::Connect(Connect { version: 2, ..Connect::default() })]);
        sees(stage, client, &["error 0 1012"]);
        ends(stage, client, 4501);
    }
}

fn bytes_that_are_no_frame_end_the_connection(stage: &mut dyn Stage) {
    let bad: [(Dialect, &[u8]); 8] = [
        (Dialect::V1, b""),
        (Dialect::V1, b"\0\0\0"),
        (Dialect::V1, b"\0\0\0\x09\x80"),
        (Dialect::V1, b"\0\0\0\x01\xc1"),
        (Dialect::Legacy, b"\0\0\0\x01\x01"),
        (Dialect::Json, b""),
        (Dialect::Json, b"{\"type\":\"ping\""),
        (Dialect::Json, b"[]"),
    ];
    for (dialect, bytes) in bad {
        let client = client(stage, dialect);
        stage.send(client, dialect.kind(), bytes);
        ends(stage, client, 4500);
    }
}

fn a_message_of_the_wrong_kind_ends_the_connection(stage: &mut dyn Stage) {
    for dialect in DIALECTS {
        let client = client(stage, dialect);
        let wrong = if dialect.kind() == Kind::Text { Kind::Binary } else { Kind::Text };
        stage.send(client, wrong, b"hello");
        ends(stage, client, 4503);
    }
}

fn what_came_before_the_mistake_is_answered(stage: &mut dyn Stage) {
    let client = client(stage, Dialect::V1);
    let mut bytes = Vec::new();
    Frame::Ping { timestamp: Some(5) }.encode(&mut bytes);
    bytes.extend_from_slice(b"\0\0\0\x01\xc1");
    stage.send(client, Kind::Binary, &bytes);
    sees(stage, client, &["pong 5"]);
    ends(stage, client, 4500);
}

fn who_takes_nothing_and_says_nothing_is_given_up(stage: &mut dyn Stage) {
    let clients = DIALECTS.map(|dialect| client(stage, dialect));
    clients.into_iter().for_each(|client| stage.stop_reading(client));
    stage.pass(TIMEOUT_MS + TIMEOUT_MS / 4);
    for client in clients {
        stage.resume_reading(client);
        if stage.dialect(client) == Dialect::Legacy {
            // Its transport answers pings of long ago first, and may learn by that that nobody listens any more.
            let end = stage.next(client);
            assert!(matches!(end, Got::End(Some(4002) | None)), "{end:?} is not for silent clients");
        } else {
            ends(stage, client, 4002);
        }
    }
}

fn who_reads_is_not_given_up(stage: &mut dyn Stage) {
    let clients = DIALECTS.map(|dialect| client(stage, dialect));
    stage.pass(TIMEOUT_MS + TIMEOUT_MS / 4);
    for client in clients {
        sees_nothing(stage, client);
    }
}

fn a_reader_that_is_too_slow_is_closed_where_nothing_may_be_lost(stage: &mut dyn Stage) {
    let channel = "too slow";
    let (reader, writer) = (subscriber(stage, Dialect::V1, channel), client(stage, Dialect::V1));
    stage.stop_reading(reader);
    let text: String = core::iter::repeat_n('.', 60_000).collect();
    for _ in 0..400 {
        send(stage, writer, &[Frame::Publish(publish(channel, &text))]);
        sees_nothing(stage, writer);
    }
    stage.resume_reading(reader);
    loop {
        match stage.next(reader) {
            Got::Frame(frame) => {
                if let Frame::Disconnect(end) = frame.get() {
                    assert!(end.code == 4001, "{end:?} is not for slow readers");
                }
            }
            Got::End(code) => {
                // A server need not wait for long until the close frame is read.
                assert!(matches!(code, Some(4001) | None), "{code:?} is not for slow readers");
                return;
            }
        }
    }
}

fn a_channel_goes_on_without_those_who_left(stage: &mut dyn Stage) {
    for channel in channels("without") {
        let [stays, goes, ends] = [0, 1, 2].map(|n| subscriber(stage, DIALECTS[n], &channel));
        stage.hang_up(goes);
        stage.send(ends, Kind::Binary, b"");
        send(stage, stays, &[Frame::Publish(publish(&channel, "x"))]);
        sees(stage, stays, &[&[&channel, " x"].concat()]);
    }
}
