//! What commands print for people.

use x509_parser::time::ASN1Time;

/// What a peer has chosen, made safe for a terminal: control characters, marks that change the
/// direction of text, and backslashes are escaped.
pub(super) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' => safe.push(c),
            _ => safe.extend(c.escape_debug()),
        }
    }
    safe
}

/// As in `2026-03-01 12:00 UTC`.
pub(super) fn date_utc(s: u64) -> String {
    let Some(time) = i64::try_from(s)
        .ok()
        .and_then(|s| ASN1Time::from_timestamp(s).ok())
    else {
        return "a date beyond the calendar".into();
    };
    let time = time.to_datetime();
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, _) = time.to_hms();
    let month = u8::from(month);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Seconds of a day.
pub(super) const DAY_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_text_around_is_escaped() {
        assert_eq!(safe("CN=\u{1b}[2J\u{7}\r\n"), "CN=\\u{1b}[2J\\u{7}\\r\\n");
        assert_eq!(
            safe("a\u{9b}31m\u{202e}\u{200b}"),
            "a\\u{9b}31m\\u{202e}\\u{200b}"
        );
        assert_eq!(safe("\\u{1b}"), "\\\\u{1b}");
        assert_eq!(safe("CN=\"测试\", O='é'"), "CN=\"测试\", O='é'");
    }

    #[test]
    fn dates_are_told_in_utc() {
        assert_eq!(date_utc(1_772_366_400), "2026-03-01 12:00 UTC");
        assert_eq!(date_utc(u64::MAX), "a date beyond the calendar");
    }
}
