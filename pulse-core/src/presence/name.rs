//! Clients' names: numbers inside, 16 hexadecimal digits on the wire, in the same order.

/// A client's name as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientName([u8; 16]);

impl ClientName {
    pub(crate) fn new(client: u64) -> Self {
        Self(core::array::from_fn(|i| b"0123456789abcdef"[(client >> (60 - 4 * i)) as usize & 15]))
    }

    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("digits are ASCII")
    }

    /// The client of a name, `None` if it is none.
    pub(crate) fn parse(name: &str) -> Option<u64> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let valid = name.len() == 16 && name.bytes().all(digit);
        if valid { u64::from_str_radix(name, 16).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn names_are_digits_in_the_order_of_their_numbers() {
        let numbers = [0, 1, 9, 10, 0xff, 0x0123_4567_89ab_cdef, 1 << 60, u64::MAX - 1, u64::MAX];
        let names = numbers.map(ClientName::new);
        assert!(names.is_sorted_by(|a, b| a.as_str() < b.as_str()), "{names:?}");
        assert_eq!(names[5].as_str(), "0123456789abcdef");
        assert_eq!(names.map(|name| ClientName::parse(name.as_str())), numbers.map(Some));
    }

    #[test]
    fn what_is_no_name_names_nobody() {
        for text in ["", "ff", "+123456789abcdef", "0123456789ABCDEF", "0123456789abcdef0", "é123456789abcd"]
        {
            assert_eq!(ClientName::parse(text), None, "{text}");
        }
    }
}
