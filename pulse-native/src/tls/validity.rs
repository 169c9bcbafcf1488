//! When a certificate begins and ends to hold. A warning depends on it and nothing else, so this reads the few fields that
//! lead there (RFC 5280 4.1) and gives up on anything unusual.

use std::time::{SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// First and last moment, as text of the form `2026-11-25 18:30:00` (UTC), which orders as time does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: String,
    pub(super) until: String,
}

impl Validity {
    /// Reads a DER certificate; `None` if it looks different from what is expected.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let (mut signed, _) = field(field(certificate, SEQUENCE)?.0, SEQUENCE)?;
        if signed.first() == Some(&VERSION) {
            signed = field(signed, VERSION)?.1;
        }
        // Serial number, algorithm and issuer.
        for _ in 0..3 {
            signed = field(signed, *signed.first()?)?.1;
        }
        let (validity, _) = field(signed, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        Some(Self { from, until: time(rest)?.0 })
    }
}

/// The current time in the same form.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(since)
}

/// Seconds since 1970 as a date and a time of day.
fn date(seconds: u64) -> String {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", month + 1, days + 1)
}

/// The content of the field in front, which has this tag, and what follows it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, and what follows.
fn time(bytes: &[u8]) -> Option<(String, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = field(bytes, tag)?;
    let digits = str::from_utf8(text.strip_suffix(b"Z")?).ok()?;
    let century = match (tag, digits.len()) {
        (UTC_TIME, 12) if digits < "50" => "20",
        (UTC_TIME, 12) => "19",
        (GENERALIZED_TIME, 14) => "",
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = format!("{century}{digits}");
    let part = |from, to| &full[from..to];
    let text = format!(
        "{}-{}-{} {}:{}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    );
    Some((text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let der = certificate(|params| {
            params.not_before = rcgen::date_time_ymd(2024, 2, 29);
            params.not_after = rcgen::date_time_ymd(2071, 12, 31);
        });
        let validity = Validity::read(&der).unwrap();
        assert_eq!(validity.from, "2024-02-29 00:00:00");
        assert_eq!(validity.until, "2071-12-31 00:00:00");
    }

    #[test]
    fn half_a_certificate_has_no_dates_and_does_no_harm() {
        let der = certificate(|_| {});
        for len in 0..der.len() / 4 {
            assert_eq!(Validity::read(&der[..len]), None);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400 + 86_399), "2000-02-29 23:59:59");
        assert_eq!(date(1_798_761_600), "2027-01-01 00:00:00");
    }
}
