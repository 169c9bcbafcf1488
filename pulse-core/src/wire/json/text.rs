//! The inside of JSON strings: where the plain characters end, what an escape means, and how a string is written.

use alloc::vec::Vec;

use super::error::What;

/// How many bytes `bytes` begins with that stand for themselves in a string: no quote, backslash or control character.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        // Eight at a time: a byte below the one that is subtracted borrows into its high bit. A borrow may spoil the
        // bytes above it, never those below, so that the lowest mark is true.
        let word = u64::from_le_bytes(*chunk);
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marks = quote | backslash | below(word, 0x20);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// The character that an escape means and the bytes it takes, its backslash not counted.
pub(super) fn escape(bytes: &[u8]) -> Result<(char, usize), What> {
    let char = match bytes.first().ok_or(What::Ended)? {
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(&bytes[1..]),
        _ => return Err(What::Escape),
    };
    Ok((char, 1))
}

/// What follows `\u`: four digits, or eight of a pair with another `\u` between them.
fn unicode(bytes: &[u8]) -> Result<(char, usize), What> {
    let first = hex(bytes)?;
    if let Some(char) = char::from_u32(first) {
        return Ok((char, 5));
    }
    let rest = match &bytes[4..] {
        [b'\\', b'u', rest @ ..] => rest,
        [] | [b'\\'] => return Err(What::Ended),
        _ => return Err(What::Surrogate),
    };
    let second @ 0xdc00..0xe000 = hex(rest)? else { return Err(What::Surrogate) };
    // A low half in front makes a number beyond all characters.
    let pair = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(pair).ok_or(What::Surrogate)?, 11))
}

/// Four hexadecimal digits.
fn hex(bytes: &[u8]) -> Result<u32, What> {
    let mut number = 0;
    for at in 0..4 {
        let byte = *bytes.get(at).ok_or(What::Ended)?;
        number = number << 4 | char::from(byte).to_digit(16).ok_or(What::Escape)?;
    }
    Ok(number)
}

/// Appends what the inside of a checked string means.
pub(super) fn unescape(raw: &str, out: &mut Vec<u8>) {
    let mut rest = raw.as_bytes();
    loop {
        let (before, after) = rest.split_at(plain(rest));
        out.extend_from_slice(before);
        let Some((_, escaped)) = after.split_first() else { return };
        // Invariant: the scanner has looked at each escape, so that none is unknown.
        let (char, len) = escape(escaped).unwrap_or((char::REPLACEMENT_CHARACTER, 0));
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &escaped[len..];
    }
}

/// Appends a string with its quotes; escapes only what has to be.
pub(super) fn put(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (before, after) = rest.split_at(plain(rest));
        out.extend_from_slice(before);
        let Some((&byte, after)) = after.split_first() else { break };
        rest = after;
        let short = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x8 => b'b',
            0xc => b'f',
            0..0x20 => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                continue;
            }
            _ => byte,
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn plain_bytes_end_at_the_first_special_one_wherever_it_stands() {
        for special in (0..=255_u8).filter(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            for len in 0..40 {
                for at in 0..len {
                    // 0x21, 0x23 and 0xff are neighbours of special bytes, and those that borrows could spoil.
                    for other in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                        let mut bytes = alloc::vec![other; len];
                        assert_eq!(plain(&bytes), len);
                        bytes[at] = special;
                        assert_eq!(plain(&bytes), at, "{special:#x} at {at} of {len}");
                        bytes[len - 1] = special;
                        assert_eq!(plain(&bytes), at, "{special:#x} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_character_is_written_as_a_string_and_read_back() {
        for char in (0..0x800).chain(0xffff..0x1_0010).filter_map(char::from_u32) {
            let mut utf8 = [0; 4];
            let text: &str = char.encode_utf8(&mut utf8);
            let mut line = Vec::new();
            put(text, &mut line);
            let inside = core::str::from_utf8(&line[1..line.len() - 1]).expect("what is written is UTF-8");
            let mut out = Vec::new();
            unescape(inside, &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn only_quotes_backslashes_and_control_characters_are_escaped() {
        let mut out = Vec::new();
        put("a\"b\\c/\u{8}\u{c}\n\r\t\0\u{1f} \u{7f}é\u{2028}😀", &mut out);
        assert_eq!(
            core::str::from_utf8(&out),
            Ok("\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0000\\u001f \u{7f}é\u{2028}😀\"")
        );
    }
}
