//! What a router has its host keep on disk, and its bytes: records, one after another.
//!
//! They pass from a router to a host of the same version and are no format of files: what stands on disk is the host's
//! business. Fields are as in `crate::bytes`.

use alloc::vec::Vec;

use crate::BadParcel;
use crate::bytes::{Reader, put_bytes, put_str, put_u64};

/// One change to what is kept on disk. Those of one [`Effect::Store`](crate::Effect::Store) are done all or none, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// The channel exists from now on, in this epoch and without publications. What was kept of another epoch goes away.
    Begun {
        /// Channel name.
        channel: &'a str,
        /// Names this life of the channel.
        epoch: u32,
    },
    /// A publication. Of another epoch than what is kept it begins as `Begun` does.
    Publication {
        /// Channel name.
        channel: &'a str,
        /// The channel's epoch.
        epoch: u32,
        /// Its number, one above the last of this epoch.
        offset: u64,
        /// When it was published, in milliseconds since 1970.
        time: u64,
        /// What a repeat of it is known by; empty for nothing.
        name: &'a [u8],
        /// The frame for subscribers, with its length in front.
        frame: &'a [u8],
    },
    /// A newer publication of the same key is kept in this one's place, which may go; its name stays. It need not be on disk
    /// before it is answered.
    Superseded {
        /// Channel name.
        channel: &'a str,
        /// The number of the one that may go.
        offset: u64,
    },
    /// What is below `first` may go, and names below `named`; the channel's newest number is kept, and `first` too. It need not
    /// be on disk before it is answered.
    Trimmed {
        /// Channel name.
        channel: &'a str,
        /// The channel's epoch: there is nothing to do for another one's.
        epoch: u32,
        /// The number from which on everything is kept that is not superseded.
        first: u64,
        /// The lowest number whose name still matters.
        named: u64,
    },
    /// The channel is no more. It need not be on disk before it is answered: it is said again if it comes back.
    Forgotten {
        /// Channel name.
        channel: &'a str,
    },
}

/// A channel as it is on disk, after the records that it had: what [`Router::restore`](crate::Router::restore) takes back.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// Names this life of the channel.
    pub epoch: u32,
    /// From which number on everything is kept that is not superseded, as it was last said; 1 if it never was.
    pub first: u64,
    /// The number of the newest publication, kept or not.
    pub top: u64,
    /// What is kept from `first` on, rising by number: times in milliseconds since 1970, and frames.
    pub publications: &'a [(u64, &'a [u8])],
    /// What repeats are known by, rising by number: numbers, times in milliseconds since 1970, and names.
    pub names: &'a [(u64, u64, &'a [u8])],
}

const BEGUN: u8 = 1;
const PUBLICATION: u8 = 2;
const TRIMMED: u8 = 3;
const FORGOTTEN: u8 = 4;
const SUPERSEDED: u8 = 5;

impl<'a> Record<'a> {
    /// Appends the record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Begun { channel, epoch } => {
                out.push(BEGUN);
                put_str(out, channel);
                put_u64(out, epoch.into());
            }
            Self::Publication { channel, epoch, offset, time, name, frame } => {
                out.push(PUBLICATION);
                put_str(out, channel);
                for number in [epoch.into(), offset, time] {
                    put_u64(out, number);
                }
                put_bytes(out, name);
                put_bytes(out, frame);
            }
            Self::Superseded { channel, offset } => {
                out.push(SUPERSEDED);
                put_str(out, channel);
                put_u64(out, offset);
            }
            Self::Trimmed { channel, epoch, first, named } => {
                out.push(TRIMMED);
                put_str(out, channel);
                for number in [epoch.into(), first, named] {
                    put_u64(out, number);
                }
            }
            Self::Forgotten { channel } => {
                out.push(FORGOTTEN);
                put_str(out, channel);
            }
        }
    }

    /// The first record of some bytes, and the bytes behind it.
    ///
    /// # Errors
    /// If the bytes do not begin with a record of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BadParcel> {
        let mut r = Reader(bytes);
        let (kind, channel) = (r.u8()?, r.str()?);
        let epoch = |r: &mut Reader<'a>| u32::try_from(r.u64()?).map_err(|_| BadParcel);
        let record = match kind {
            BEGUN => Self::Begun { channel, epoch: epoch(&mut r)? },
            PUBLICATION => Self::Publication {
                channel,
                epoch: epoch(&mut r)?,
                offset: r.u64()?,
                time: r.u64()?,
                name: r.bytes()?,
                frame: r.bytes()?,
            },
            SUPERSEDED => Self::Superseded { channel, offset: r.u64()? },
            TRIMMED => Self::Trimmed { channel, epoch: epoch(&mut r)?, first: r.u64()?, named: r.u64()? },
            FORGOTTEN => Self::Forgotten { channel },
            _ => return Err(BadParcel),
        };
        Ok((record, r.0))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_and_never_in_part() {
        let records = [
            Record::Begun { channel: "a", epoch: u32::MAX },
            Record::Publication {
                channel: "a",
                epoch: 7,
                offset: 1,
                time: 2,
                name: b"name",
                frame: b"frame",
            },
            Record::Superseded { channel: "a", offset: 1 },
            Record::Trimmed { channel: "b", epoch: 8, first: 9, named: 3 },
            Record::Forgotten { channel: "c" },
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let (mut rest, mut read) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (record, behind) = Record::decode(rest).expect("it was encoded just now");
            read.push(record);
            rest = behind;
        }
        assert_eq!(read, records);
        let (_, behind) = Record::decode(&bytes).expect("it was encoded just now");
        for len in 0..bytes.len() - behind.len() {
            assert_eq!(Record::decode(&bytes[..len]), Err(BadParcel), "{len} bytes");
        }
        assert_eq!(Record::decode(&[9, 0, 0, 0, 0]), Err(BadParcel), "no record of this version");
    }
}
