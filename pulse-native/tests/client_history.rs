//! `pulse_native::client` where channels keep history: positions, pages, and coming back without a loss.

mod e2e_support;

use e2e_support::{PATIENCE, Running};
use pulse_native::client::{
    Client, Event, HistoryOptions, Message, Options, Point, Position, RequestError, SubscribeOptions,
    Subscription,
};
use pulse_native::config::Config;

fn keeping(config: &mut Config) {
    config.channels.history_size = 100;
}

async fn connect(server: &Running) -> Client {
    Client::connect(&server.url(), Options::default()).await.expect("the server opens a session")
}

async fn publish(client: &Client, numbers: std::ops::RangeInclusive<u64>) -> Position {
    let mut position = None;
    for number in numbers {
        let published = client.publish("c", Message::raw(number.to_string())).await;
        position = published.expect("anyone may publish").position;
    }
    position.expect("the channel keeps history")
}

/// The next publications, by number.
async fn take(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        match tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something happens in time") {
            Some(Event::Publication(publication)) => {
                numbers.push(publication.decode::<u64>().expect("it is a number"));
            }
            Some(Event::Resumed { recovered: Some(true) }) => {}
            other => panic!("{other:?}"),
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_application_that_starts_again_goes_on_where_it_was() {
    let server = Running::start_with(keeping);
    let publisher = connect(&server).await;
    let first = connect(&server).await;
    let mut subscription = first.subscribe("c").await.expect("anyone may subscribe");
    let before = subscription.position().expect("the channel keeps history");
    assert_eq!(before.offset, 0);
    let newest = publish(&publisher, 1..=5).await;
    assert_eq!(newest, Position { offset: 5, epoch: before.epoch.clone() });
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
    let kept = subscription.position().expect("the channel keeps history");
    assert_eq!(kept, Position { offset: 3, epoch: before.epoch }, "what waits was not taken yet");
    drop((first, subscription));

    publish(&publisher, 6..=8).await;
    let second = connect(&server).await;
    let options = SubscribeOptions { recover: Some(kept.point()), ..SubscribeOptions::default() };
    let mut subscription = second.subscribe_with("c", options).await.expect("anyone may subscribe");
    assert_eq!(take(&mut subscription, 5).await, [4, 5, 6, 7, 8]);

    let third = connect(&server).await;
    let options = SubscribeOptions { latest: Some(2), ..SubscribeOptions::default() };
    let mut subscription = third.subscribe_with("c", options).await.expect("anyone may subscribe");
    assert_eq!(take(&mut subscription, 2).await, [7, 8]);

    let lost = Point { epoch: "another", offset: 3 };
    let options = SubscribeOptions { recover: Some(lost), ..SubscribeOptions::default() };
    let fourth = connect(&server).await;
    let mut subscription = fourth.subscribe_with("c", options).await.expect("anyone may subscribe");
    let Some(Event::Gap(gap)) = subscription.next().await else { panic!("what is missing is told") };
    assert!(gap.reason.contains("epoch"), "{}", gap.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pages_of_history_come_from_either_end() {
    let server = Running::start_with(keeping);
    let client = connect(&server).await;
    let newest = publish(&client, 1..=5).await;
    let page = client.history("c", HistoryOptions::default()).await.expect("the channel keeps history");
    assert_eq!(page.position, newest);
    let number = |it: &pulse_native::client::Publication| it.decode::<u64>().expect("it is a number");
    assert_eq!(page.publications.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(page.publications.iter().all(|it| it.channel == "c" && it.time.is_some()));
    assert_eq!(page.publications[4].offset, Some(5));
    let since = Point { epoch: &newest.epoch, offset: 2 };
    let options = HistoryOptions { since: Some(since), limit: Some(2), reverse: true };
    let page = client.history("c", options).await.expect("the channel keeps history");
    assert_eq!(page.publications.iter().map(number).collect::<Vec<_>>(), [5, 4]);
    let options = HistoryOptions { since: Some(Point { offset: 9, ..since }), ..HistoryOptions::default() };
    let refused = client.history("c", options).await.expect_err("there is no such position");
    let RequestError::Refused(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code.0, 1016);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_that_breaks_costs_nothing() {
    let server = Running::start_with(keeping);
    let (publisher, subscriber) = (connect(&server).await, connect(&server).await);
    let mut subscription = subscriber.subscribe("c").await.expect("anyone may subscribe");
    publish(&publisher, 1..=3).await;
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
    let mut status = subscriber.status();
    let pulse_native::client::Status::Connected { connection_id, .. } = status.borrow_and_update().clone()
    else {
        panic!("it is connected")
    };
    let body = format!("{{\"client\":\"{connection_id}\",\"code\":4000}}");
    let request = format!(
        "POST /api/v1/disconnect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = e2e_support::ask(server.addr, &request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    publish(&publisher, 4..=9).await;
    assert_eq!(take(&mut subscription, 6).await, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_is_published_once_and_an_old_version_not_at_all() {
    let server = Running::start_with(keeping);
    let client = connect(&server).await;
    let mut subscription = client.subscribe("c").await.expect("anyone may subscribe");
    let once = Message::raw("1").idempotency_key("order-1");
    let first = client.publish("c", once.clone()).await.expect("anyone may publish");
    assert_eq!(client.publish("c", once).await, Ok(first.clone()), "it has the position of the first one");
    let newer = Message::raw("2").key("k").version(7);
    let newer = client.publish("c", newer).await.expect("anyone may publish");
    assert_eq!((newer.position.map(|position| position.offset), newer.stale), (Some(2), false));
    let older = client.publish("c", Message::raw("0").key("k").version(6)).await.expect("it is no mistake");
    assert!(older.stale);
    client.publish("c", Message::raw("3")).await.expect("anyone may publish");
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
}
