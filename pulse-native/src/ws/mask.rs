//! The mask that a client lays over a payload (RFC 6455 5.3).

/// Lays `mask` over `bytes`, or takes it off. The first byte of `bytes` meets the first of the mask: whoever takes
/// a payload in parts turns the mask by [`turned`] between them.
#[inline]
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The mask as it stands after `n` bytes of payload.
#[inline]
pub(super) fn turned(mut mask: [u8; 4], n: usize) -> [u8; 4] {
    mask.rotate_left(n % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, a byte at a time.
    fn naive(bytes: &mut [u8], mask: [u8; 4]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= mask[i % 4];
        }
    }

    #[test]
    fn any_length_at_any_alignment_is_unmasked_as_by_the_naive_loop() {
        let plain: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(37)).collect();
        for start in 0..9 {
            for end in start..plain.len() {
                let (mut fast, mut slow) = (plain.clone(), plain.clone());
                unmask(&mut fast[start..end], [0x12, 0x9a, 0xff, 0x07]);
                naive(&mut slow[start..end], [0x12, 0x9a, 0xff, 0x07]);
                assert_eq!(fast, slow, "bytes {start} to {end}");
            }
        }
    }

    #[test]
    fn a_payload_cut_anywhere_is_unmasked_as_the_whole() {
        let mask = [1, 2, 4, 8];
        let mut whole = vec![0; 41];
        naive(&mut whole, mask);
        for first in 0..whole.len() {
            for second in first..whole.len() {
                let mut parts = vec![0; 41];
                unmask(&mut parts[..first], mask);
                let mask = turned(mask, first);
                unmask(&mut parts[first..second], mask);
                let mask = turned(mask, second - first);
                unmask(&mut parts[second..], mask);
                assert_eq!(parts, whole, "cut at {first} and {second}");
            }
        }
    }
}
