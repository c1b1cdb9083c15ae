//! Values as a person reads them.

use std::fmt::{self, Write};
use std::time::Duration;

use x509_parser::time::ASN1Time;

use crate::gateway::log::is_active;

/// Text for HTML, between tags, whoever wrote it: what would be markup is none, and what would not
/// be seen is written out and stands apart.
pub(super) struct Text<'t>(pub(super) &'t str);

/// The same for bytes that need not be text.
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() => write!(f, "<i>{}</i>", c.escape_default()),
            c if is_active(c) || is_unseen(c) => write!(f, "<i>{}</i>", c.escape_unicode()),
            c => f.write_char(c),
        })
    }
}

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            Text(chunk.valid()).fmt(f)?;
            (chunk.invalid().iter()).try_for_each(|byte| write!(f, "<i>\\x{byte:02x}</i>"))
        })
    }
}

/// Characters that take no room, or look like a space that could be none.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A length of time in its two largest units, as in `2 h 5 min`.
pub(super) fn span(span: Duration) -> String {
    let s = span.as_secs();
    let (days, hours, minutes) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{minutes} min {} s", s % 60),
        3_600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A number of bytes in its largest unit.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(place) = (bytes.checked_ilog2().unwrap_or(0) / 10).checked_sub(1) else {
        return format!("{bytes} B");
    };
    let unit = 1_u64 << (10 * (place + 1));
    format!(
        "{:.1} {}",
        bytes as f64 / unit as f64,
        units[place as usize]
    )
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut words = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// A moment, as in `2026-01-02 03:04 UTC`.
pub(super) fn moment(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).map(ASN1Time::from_timestamp);
    let Ok(Ok(time)) = time else {
        return format!("second {unix_s}");
    };
    let time = time.to_datetime();
    let (date, hour, minute) = (time.date(), time.hour(), time.minute());
    format!("{date} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_peers_is_text() {
        let hostile = "<script>alert(\"1\")</script></td>'&amp;";
        let text = Text(hostile).to_string();
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
        assert_eq!(
            text,
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;/td&gt;&#39;&amp;amp;"
        );
    }

    #[test]
    fn what_would_not_be_seen_is_written_out() {
        for (c, seen) in [
            ('\n', r"\n"),
            ('\t', r"\t"),
            ('\0', r"\u{0}"),
            ('\u{7f}', r"\u{7f}"),
            ('\u{9b}', r"\u{9b}"),
            ('\u{202e}', r"\u{202e}"),
            ('\u{200b}', r"\u{200b}"),
            ('\u{2028}', r"\u{2028}"),
            ('\u{feff}', r"\u{feff}"),
        ] {
            let text = format!("a{c}b");
            assert_eq!(Text(&text).to_string(), format!("a<i>{seen}</i>b"));
        }
        assert_eq!(Text("é \\n").to_string(), "é \\n");
        let text = Bytes(b"a\xff<\xc3\xa9\xc3").to_string();
        assert_eq!(text, r"a<i>\xff</i>&lt;é<i>\xc3</i>");
    }

    #[test]
    fn figures_have_the_unit_that_fits() {
        let spans = [0, 59, 60, 3_599, 3_600, 86_400, 90_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(
            spans,
            [
                "0 s",
                "59 s",
                "1 min 0 s",
                "59 min 59 s",
                "1 h 0 min",
                "1 d 0 h",
                "1 d 1 h"
            ]
        );
        let sizes = [0, 1_023, 1_024, 1_536, 1 << 20, u64::MAX].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "16.0 EiB"]
        );
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(moment(1_767_323_040), "2026-01-02 03:04 UTC");
    }
}
