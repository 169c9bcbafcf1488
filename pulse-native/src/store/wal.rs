//! Whether the write-ahead log of a store is damaged in the middle.
//!
//! SQLite takes the log up to the first frame that does not fit its checksum, and forgets the rest without a word. That is right
//! for the last transaction, which a power cut may have torn before it was acknowledged. Where whole transactions
//! follow, what does not fit was on disk before them, so it was acknowledged and then damaged: that is ours to refuse.
//!
//! The layout is in <https://www.sqlite.org/fileformat.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::StoreError;

/// Its lowest bit says whether checksums read the bytes as big-endian words.
const MAGIC: u32 = 0x377f_0682;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Reads the log, and refuses one that has lost something that was acknowledged.
pub(super) fn examine(path: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io(path, error);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    match judge(&mut BufReader::new(file)).map_err(io)? {
        None => Ok(()),
        Some(0) => Err(StoreError::corrupt(path, "the log does not begin as it has to")),
        Some(at) => Err(StoreError::corrupt(
            path,
            format!("the log is damaged {at} bytes after its start, of {length}, and goes on after that"),
        )),
    }
}

/// Where the log is damaged, if it is.
fn judge(log: &mut impl Read) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if fill(log, &mut header)? < HEADER || header == [0; HEADER] {
        // It was never begun: the file grew, and then nothing reached the disk.
        return Ok(None);
    }
    let magic = word(&header, 0);
    let order = Order { big: magic & 1 == 1 };
    let start = order.sum((0, 0), &header[..24]);
    if magic & !1 != MAGIC || start != (word(&header, 24), word(&header, 28)) {
        return Ok(Some(0));
    }
    let page = word(&header, 8) as usize;
    if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
        return Ok(Some(0));
    }

    let salts = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut sum = start;
    let mut at = HEADER as u64;
    while fill(log, &mut frame)? == frame.len() {
        let (computed, written) = (order.frame(sum, &frame), (word(&frame, 16), word(&frame, 20)));
        if &frame[8..16] != salts || computed != written {
            // What comes then goes on from either sum, as one of them is the damaged one.
            let ends = ends_transaction(&frame);
            let more = transactions(log, &mut frame, salts, order, [computed, written])?;
            // One of them may be the last one, torn and never acknowledged; the one before it cannot be.
            return Ok((more > 0 && ends + more >= 2).then_some(at));
        }
        sum = computed;
        at += frame.len() as u64;
    }
    Ok(None)
}

/// How many transactions end in the frames that follow one that does not fit.
fn transactions(
    log: &mut impl Read,
    frame: &mut [u8],
    salts: &[u8],
    order: Order,
    mut sums: [(u32, u32); 2],
) -> io::Result<u32> {
    let mut ends = 0;
    while fill(log, frame)? == frame.len() {
        let written = (word(frame, 16), word(frame, 20));
        if &frame[8..16] != salts || !sums.iter().any(|sum| order.frame(*sum, frame) == written) {
            break;
        }
        sums = [written; 2];
        ends += ends_transaction(frame);
    }
    Ok(ends)
}

/// 1 for the last frame of a transaction, which holds the size of the database after it.
fn ends_transaction(frame: &[u8]) -> u32 {
    u32::from(word(frame, 4) != 0)
}

/// Reads until the buffer is full or the file ends; returns how much was read.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match log.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

/// In which order checksums read bytes.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn frame(self, sum: (u32, u32), frame: &[u8]) -> (u32, u32) {
        self.sum(self.sum(sum, &frame[..8]), &frame[FRAME_HEADER..])
    }

    fn sum(self, (mut one, mut two): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let word = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("four bytes are four bytes");
            if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        for pair in bytes.chunks_exact(8) {
            one = one.wrapping_add(word(&pair[..4])).wrapping_add(two);
            two = two.wrapping_add(word(&pair[4..])).wrapping_add(one);
        }
        (one, two)
    }
}
