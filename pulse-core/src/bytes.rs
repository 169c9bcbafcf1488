//! Fields as routers write them for each other and for themselves: numbers little-endian, strings and bytes behind their length.

use alloc::vec::Vec;

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("what routers write down is bounded by limits");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes such fields off the front of some bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Short> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, Short> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Short)
    }
}

/// The bytes end before the field does, or are no string where one should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in_and_never_in_part() {
        let mut out = Vec::new();
        put_u64(&mut out, u64::MAX - 1);
        put_str(&mut out, "\u{e4}");
        put_bytes(&mut out, &[]);
        let mut r = Reader(&out);
        assert_eq!(
            (r.u64(), r.str(), r.bytes(), r.0),
            (Ok(u64::MAX - 1), Ok("\u{e4}"), Ok(&[][..]), &[][..])
        );
        for len in 0..8 {
            assert_eq!(Reader(&out[..len]).u64(), Err(Short));
        }
        assert_eq!(Reader(&[1, 0, 0, 0, 0xff]).str(), Err(Short), "no UTF-8");
        assert_eq!(Reader(&[0xff; 8]).bytes(), Err(Short), "longer than there is");
    }
}
