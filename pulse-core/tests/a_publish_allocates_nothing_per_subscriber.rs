//! Allocations of the publish path, counted: none for each subscriber, and none at all once the buffers have grown.
#![cfg(not(target_family = "wasm"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pulse_core::wire::{Frame, Payload, Publish, Subscribe};
use pulse_core::{Config, ConnId, Dialect, Kind, Limits, Link, Now, Router, Seed};

struct Counting;

thread_local! {
    /// Of this thread: the one that runs the test asks for memory too, whenever it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches nothing but a `Cell` of this thread that
// needs neither memory nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, hence from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the pointer came from `alloc` above, hence from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_publish_to_a_thousand_allocates_as_often_as_one_to_a_single_subscriber() {
    assert_eq!((publishes(1), publishes(1_000)), (0, 0), "allocations of 100 publishes in 100 turns");
}

/// Allocations of a hundred turns with one publication each, after the buffers have grown to their size.
fn publishes(subscribers: u32) -> u64 {
    let limits = Limits { max_subscriptions_per_connection: 10, ..Limits::default() };
    let mut router = Router::new(Config { limits, ..Config::default() }, Seed(1));
    router.advance(Now::default());
    let mut message = vec![];
    Frame::Subscribe(Subscribe { id: 1, channel: "news", ..Subscribe::default() }).encode(&mut message);
    let conns: Vec<ConnId> = (0..subscribers)
        .map(|_| {
            let conn = router.open(Link { class: 0, dialect: Dialect::Legacy });
            router.receive(conn, Kind::Binary, &message);
            conn
        })
        .collect();
    message.clear();
    let payload = Payload::from(&[7; 64][..]);
    Frame::Publish(Publish { channel: "news", payload, id: Some(1), ..Publish::default() })
        .encode(&mut message);
    let turn = |router: &mut Router| {
        router.receive(conns[0], Kind::Binary, &message);
        let mut receivers = 0;
        while let Some(batch) = router.poll_write() {
            receivers += batch.to().len();
        }
        assert!(receivers >= conns.len());
    };
    turn(&mut router);
    turn(&mut router);
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| turn(&mut router));
    ALLOCATIONS.get() - before
}
