//! What a random run is made of: the weather, the rules and limits of its routers, and what the host answers.

use crate::random::Random;
use crate::sim::model::{HISTORY_SIZE, HISTORY_TTL_MS, MAX_DATA, MAX_PAYLOAD, WINDOW_MS, Weather};
use crate::{Answer, Config, Heartbeat, Limits, Namespace, Request, Rule, Rules, SlowConsumer};

/// What happens in a run.
pub(super) fn weather(random: &mut Random) -> Weather {
    // A quarter of all runs has fine weather, so that nothing may be lost at all.
    let fine = random.below(4) == 0;
    let mut one_in = |n| random.below(n) == 0;
    let mut sometimes = |n| !fine & one_in(n);
    Weather {
        slow: sometimes(2),
        cuts: sometimes(2),
        partitions: sometimes(3),
        overload: sometimes(8),
        leaps: sometimes(5),
        restarts: sometimes(3),
        full: sometimes(4),
        asks: one_in(3),
        small: one_in(6),
    }
}

/// What the routers of a run are made with.
pub(super) fn router(weather: &Weather, grace_ms: u32, random: &mut Random) -> Config {
    let plain = Rules { presence_grace_ms: grace_ms, ..Rules::default() };
    let policies = [SlowConsumer::Disconnect, SlowConsumer::DropOldest, SlowConsumer::LatestPerKey];
    let kept = Rules {
        history_size: HISTORY_SIZE as u32,
        history_bytes: 1 << 24,
        history_ttl_ms: HISTORY_TTL_MS,
        idempotency_window_ms: WINDOW_MS,
        // In weather that loses nothing, newer ones by key would still lose something now and then.
        slow_consumer: policies[random.below(if weather.slow { 3 } else { 2 }) as usize],
        ..plain
    };
    let rules = [
        ("kept", kept),
        ("safe", Rules { durable: true, ..kept }),
        ("drop", Rules { slow_consumer: SlowConsumer::DropOldest, ..plain }),
        ("key", Rules { slow_consumer: SlowConsumer::LatestPerKey, ..plain }),
        ("ask", Rules { subscribe: Rule::Ask, publish: Rule::Ask, presence: Rule::Ask, ..plain }),
        ("no", Rules { subscribe: Rule::Nobody, publish: Rule::Nobody, presence: Rule::Nobody, ..plain }),
    ];
    let mut limits = Limits {
        max_message_size: MAX_PAYLOAD as u32,
        max_presence_size: MAX_DATA as u32,
        ..Limits::default()
    };
    if weather.slow {
        limits.queue_bytes = 4_000 + random.below(60_000);
    }
    if weather.overload {
        limits.queue_bytes = 8 << 20;
        limits.peer_bytes = 2_000 + random.below(64 * 1024);
    }
    if weather.small {
        limits.max_subscriptions_per_connection = 1 + random.below(3);
        limits.max_channels = 2 + random.below(8);
    }
    Config {
        limits,
        heartbeat: Heartbeat { interval_ms: 1_500, timeout_ms: 4_000, connect_ms: 1_000 },
        rules: plain,
        namespaces: rules.map(|(name, rules)| Namespace { name: name.into(), rules }).into(),
        connect: if weather.asks { Rule::Ask } else { Rule::Anyone },
        ..Config::default()
    }
}

/// The host's answers: no to the token `deny` and to channels whose name ends in an exclamation mark.
pub(super) fn decide(request: &Request) -> Answer {
    match request {
        Request::Connect { token: Some(token) } if &**token == "deny" => Answer::Deny,
        Request::Connect { token: Some(token) } => Answer::AllowAs(token.clone()),
        Request::Connect { token: None } => Answer::Allow,
        Request::Subscribe { channel, .. }
        | Request::Publish { channel }
        | Request::History { channel }
        | Request::Presence { channel, .. }
            if channel.ends_with('!') =>
        {
            Answer::Deny
        }
        Request::Subscribe { .. }
        | Request::Publish { .. }
        | Request::History { .. }
        | Request::Presence { .. } => Answer::Allow,
    }
}
