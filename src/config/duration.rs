//! Durations as people write them.

use std::time::Duration;

/// Reads `90`, `90s`, `15m`, `2h`, `1d`; a bare number is seconds. `off` and `0` are zero.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "off" {
        return Some(Duration::ZERO);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_an_optional_unit() {
        let seconds = |t| parse(t).map(|d| d.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("2h"), Some(7200));
        assert_eq!(seconds("1d"), Some(86_400));
        assert_eq!(seconds("off"), Some(0));
        for bad in ["", "m", "-1", "1.5h", "2 h", "1w", "99999999999999999999h"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
