//! An embedder that decides who may open a session.

mod e2e_support;

use e2e_support::{Peer, Running, connected};
use pulse_core::wire::{CloseCode, Connect, Frame};
use pulse_core::{Answer, Config, Request, Router, Rule, Seed};

fn connect_with(token: Option<&str>) -> Frame<'_> {
    Frame::Connect(Connect { version: 1, token, ..Connect::default() })
}

#[test]
fn a_client_that_is_not_let_in_is_told_to_stay_away() {
    let server = Running::start_custom(
        |config| config.server.shards = 1,
        |options| {
            options.authorize = Some(Box::new(|request| match request {
                Request::Connect { token: Some(token) } if **token == *"ada's" => {
                    Answer::AllowAs("ada".into())
                }
                _ => Answer::Deny,
            }));
        },
        |config| {
            let core = Config { connect: Rule::Ask, ..config.to_core() };
            move |_| Router::new(core.clone(), Seed(1))
        },
    );
    for token in [None, Some("bob's")] {
        let mut refused = server.unconnected();
        refused.send(&[connect_with(token)]);
        refused.expect_end(CloseCode::UNAUTHORIZED);
    }
    assert!(!CloseCode::UNAUTHORIZED.comes_back());
    let mut ada: Peer = server.unconnected();
    ada.send(&[connect_with(Some("ada's"))]);
    assert_eq!(connected(&ada.frame()).user, Some("ada"));
    ada.settle();
}
