//! Base64 (RFC 4648, section 4) with the standard alphabet: written with padding, read with or without.

use alloc::vec::Vec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What no digit means.
const NONE: u8 = 0xff;

/// The value of each byte as a digit.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// Appends `bytes` in base64.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let digit = |word: u32, shift: u32| ALPHABET[(word >> shift & 63) as usize];
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        let mut digits = [digit(word, 18), digit(word, 12), digit(word, 6), digit(word, 0)];
        digits[chunk.len() + 1..].fill(b'=');
        out.extend_from_slice(&digits);
    }
}

/// Replaces the base64 that `out` holds from `start` on by the bytes it means. `None`, and anything behind `start`, if
/// it is none: other characters, padding that is too much or too little, bits that no byte needs.
pub(super) fn decode_in_place(out: &mut Vec<u8>, start: usize) -> Option<()> {
    let len = out.len() - start;
    if let Some(unpadded) = out[start..].strip_suffix(b"=") {
        let digits = unpadded.strip_suffix(b"=").unwrap_or(unpadded).len();
        // Of what is left each `=` is no digit, so that a third one is found below.
        if !len.is_multiple_of(4) {
            return None;
        }
        out.truncate(start + digits);
    }
    let mut to = start;
    let mut word = 0_u32;
    let mut bits = 0;
    for from in start..out.len() {
        let value = VALUES[usize::from(out[from])];
        if value == NONE {
            return None;
        }
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            // Never ahead of `from`: there are fewer bytes than digits.
            out[to] = (word >> bits) as u8;
            word &= (1 << bits) - 1;
            to += 1;
        }
    }
    out.truncate(to);
    // Six bits left over are a digit without a byte; others are the end of the last byte's digit and have to be zero.
    (bits < 6 && word == 0).then_some(())
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn decode(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = [b"before", text].concat();
        decode_in_place(&mut out, 6)?;
        assert_eq!(&out[..6], b"before");
        Some(out.split_off(6))
    }

    #[test]
    fn the_vectors_of_the_rfc_hold_both_ways() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"fooba", b"Zm9vYmE="),
            (b"foobar", b"Zm9vYmFy"),
            (b"\xfb\xff\xfe", b"+//+"),
        ] {
            let mut out = b"before".to_vec();
            encode(bytes, &mut out);
            assert_eq!(out, [b"before", text].concat());
            assert_eq!(decode(text).as_deref(), Some(bytes));
            let unpadded = text.iter().copied().filter(|digit| *digit != b'=').collect::<Vec<_>>();
            assert_eq!(decode(&unpadded).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn every_length_and_every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
        for len in 0..bytes.len() {
            let mut out = Vec::new();
            encode(&bytes[..len], &mut out);
            assert_eq!(decode(&out).as_deref(), Some(&bytes[..len]));
        }
    }

    #[test]
    fn junk_is_refused() {
        for text in [
            &b"Z"[..],
            b"A",
            b"AAAAA",
            b"Zm9vY",
            b"Zg=",
            b"Zg===",
            b"Zg====",
            b"=",
            b"==",
            b"===",
            b"====",
            b"Zm9v=",
            b"Zm9v====",
            b"Zh==",
            b"Zm9=",
            b"Zh",
            b"Zm9",
            b"Z===",
            b"Zg==Zg==",
            b"Z=g=",
            b"Zm 9v",
            b"Zm9v\n",
            b"Zm9-",
            b"Zm9_",
            b"Zm\xff9",
            b"\0\0\0\0",
        ] {
            assert_eq!(decode(text), None, "{}", text.escape_ascii());
        }
    }
}
