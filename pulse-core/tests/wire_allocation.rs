//! Decoding takes no memory, and encoding into a buffer that is large enough takes none either.
#![cfg(not(target_family = "wasm"))]

mod wire_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use pulse_core::wire::{Split, decode, split};
use wire_support::{Rng, TYPES, encoded, frame, map_of};

/// The system's allocator, counting how often this thread asks it for memory.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to `System` unchanged; counting touches nothing but a `Cell` of this thread that
// needs neither memory nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same for `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: `block` came from `System`, with this layout; the caller vouches for `size`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Vec::<u8>::with_capacity(1)))), 1);
}

#[test]
fn decoding_allocates_nothing() {
    for kind in 0..TYPES {
        for seed in 0..50 {
            let bytes = encoded(&frame(kind, &mut Rng::new(seed), true));
            let count = allocations(|| {
                let Split::Frame { map, .. } = split(&bytes, usize::MAX) else { panic!("a whole frame") };
                black_box(decode(map)).expect("what is encoded is a frame");
            });
            assert_eq!(count, 0);
        }
    }
}

#[test]
fn refusing_allocates_nothing() {
    let mut rng = Rng::new(3);
    for kind in 0..TYPES {
        let bytes = encoded(&frame(kind, &mut rng, true));
        for _ in 0..200 {
            let mut map = map_of(&bytes).to_vec();
            let at = rng.below(map.len());
            map[at] = rng.next() as u8;
            let count = allocations(|| _ = black_box(decode(black_box(&map))));
            assert_eq!(count, 0);
        }
    }
    // Whatever lengths are announced.
    for map in [
        &b"\x82\xa4type\xa4ping\xa1x\xdd\xff\xff\xff\xff"[..],
        b"\x82\xa4type\xa7publish\xa7payload\xdd\x7f\xff\xff\xff",
    ] {
        assert_eq!(allocations(|| _ = black_box(decode(black_box(map)))), 0);
    }
}

#[test]
fn encoding_into_a_large_enough_buffer_allocates_nothing() {
    let mut out = Vec::with_capacity(1 << 20);
    for kind in 0..TYPES {
        for seed in 0..50 {
            let frame = frame(kind, &mut Rng::new(seed), true);
            out.clear();
            assert_eq!(allocations(|| frame.encode(&mut out)), 0);
        }
    }
}

#[test]
fn encoding_grows_the_buffer_once_at_most() {
    for kind in 0..TYPES {
        for seed in 0..50 {
            let frame = frame(kind, &mut Rng::new(seed), true);
            let mut out = Vec::new();
            assert_eq!(allocations(|| frame.encode(&mut out)), 1);
        }
    }
}
