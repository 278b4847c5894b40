//! Hours of the week, as people write them beside a route: `Mon-Fri 08:00-18:00 +01:00`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ALL_DAYS: u8 = 0b111_1111;
/// 1970-01-01 was a Thursday.
const FIRST_DAY: i64 = 3;
const DAY: i64 = 24 * 60;

/// Hours on some days of the week: days, from when to when, and the offset from UTC in which that is meant.
/// Without days it is every day, without an offset UTC. An end before the beginning is on the day after:
/// `Fri 22:00-06:00` ends on Saturday.
///
/// The offset is fixed: a name such as `Europe/Berlin` would need a database that changes several times a
/// year and that not every machine has, and where it lacks, hours would be others than were meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// A bit for each day, the lowest for Monday.
    days: u8,
    /// Minutes since midnight. The end may be that of the day.
    from: u16,
    to: u16,
    /// Minutes east of UTC.
    offset: i16,
}

/// Why a text is no hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHours {
    /// It is written in another way.
    #[error(
        "hours are days, from when to when, and an offset from UTC, such as `Mon-Fri 08:00-18:00 +01:00`; \
         days and offset can be left out"
    )]
    Form,
    /// It names a zone.
    #[error(
        "zones have no names here, because their offsets are changed by law: write the offset, such as \
         `+01:00`, and where clocks are put forward in summer, hours that suit both"
    )]
    Zone,
    /// It begins when it ends.
    #[error("hours that end when they begin are none: for a whole day write `00:00-24:00`")]
    Nothing,
}

impl Hours {
    /// Whether a moment is within them. The moment at which they end is not.
    #[must_use]
    pub fn contain(&self, at: Timestamp) -> bool {
        let minutes = i64::try_from(at.secs() / 60).unwrap_or(i64::MAX / 2);
        let minutes = minutes.saturating_add(i64::from(self.offset));
        let (day, minute) = (minutes.div_euclid(DAY), minutes.rem_euclid(DAY));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            return self.has(day) && (from..to).contains(&minute);
        }
        (self.has(day) && minute >= from) || (self.has(day - 1) && minute < to)
    }

    /// Whether they are on a day, by its number since 1970.
    fn has(&self, day: i64) -> bool {
        self.days & (1 << (day + FIRST_DAY).rem_euclid(7)) != 0
    }
}

impl FromStr for Hours {
    type Err = InvalidHours;

    fn from_str(text: &str) -> Result<Self, InvalidHours> {
        let mut words = text.split(' ').peekable();
        let of_days = words.peek().and_then(|word| days(word));
        if of_days.is_some() {
            words.next();
        }
        let hours = words.next().ok_or(InvalidHours::Form)?;
        let (from, to) = hours.split_once('-').ok_or(InvalidHours::Form)?;
        let (from, to) = (minute(from)?, minute(to)?);
        let offset = words.next().map_or(Ok(0), offset)?;
        if words.next().is_some() || i64::from(from) == DAY {
            return Err(InvalidHours::Form);
        }
        if from == to {
            return Err(InvalidHours::Nothing);
        }
        Ok(Self { days: of_days.unwrap_or(ALL_DAYS), from, to, offset })
    }
}

/// `Mon`, `Mon-Fri`, `Mon,Wed`. Days go round: `Sat-Mon` are three.
fn days(text: &str) -> Option<u8> {
    let number = |name: &str| DAYS.iter().position(|day| *day == name);
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        let count = (last + 7 - first) % 7;
        Some((0..=count).fold(days, |days, step| days | 1 << ((first + step) % 7)))
    })
}

/// `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Result<u16, InvalidHours> {
    let (hour, minute) = clock(text).ok_or(InvalidHours::Form)?;
    (hour < 24 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute).ok_or(InvalidHours::Form)
}

/// `+HH:MM`, `-HH:MM`, `Z` or `UTC`. No place on earth is further from it than 14 hours.
fn offset(text: &str) -> Result<i16, InvalidHours> {
    if matches!(text, "Z" | "UTC") {
        return Ok(0);
    }
    let signed = |sign: i16, rest| {
        let (hour, minute) = clock(rest).ok_or(InvalidHours::Form)?;
        let minutes = hour * 60 + minute;
        let minutes = i16::try_from(minutes).ok().filter(|minutes| *minutes <= 14 * 60);
        minutes.map(|minutes| sign * minutes).ok_or(InvalidHours::Form)
    };
    match text.split_at_checked(1) {
        Some(("+", rest)) => signed(1, rest),
        Some(("-", rest)) => signed(-1, rest),
        _ => Err(InvalidHours::Zone),
    }
}

/// Two digits, a colon and two digits up to 59.
fn clock(text: &str) -> Option<(u16, u16)> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let fits = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| digits.parse().ok()).flatten()
    };
    Some((number(hour)?, number(minute).filter(|minute| *minute < 60)?))
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != ALL_DAYS {
            let on = DAYS.iter().enumerate().filter(|(day, _)| self.days & (1 << day) != 0);
            let names: Vec<_> = on.map(|(_, name)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        let [from, to] = [self.from, self.to].map(|it| (it / 60, it % 60));
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, to.0, to.1)?;
        let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.unsigned_abs());
        match minutes {
            0 => f.write_str(" UTC"),
            _ => write!(f, " {sign}{:02}:{:02}", minutes / 60, minutes % 60),
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = InvalidHours;
    fn try_from(text: String) -> Result<Self, InvalidHours> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment of the week that begins on Monday, 23 November 2026, at midnight in UTC.
    fn at(day: u64, hour: u64, minute: u64) -> Timestamp {
        const MONDAY: u64 = 1_795_392_000;
        Timestamp::from_secs(MONDAY + day * 86_400 + hour * 3600 + minute * 60)
    }

    fn hours(text: &str) -> Hours {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn hold_from_their_first_minute_until_their_last() {
        assert_eq!(at(0, 0, 0).to_string(), "2026-11-23T00:00:00.000Z");
        let office = hours("Mon-Fri 08:00-18:00");
        for (moment, within) in [
            (at(0, 7, 59), false),
            (at(0, 8, 0), true),
            (at(0, 17, 59), true),
            (at(0, 18, 0), false),
            (at(4, 12, 0), true),
            (at(5, 12, 0), false),
            (at(6, 12, 0), false),
            (at(7, 12, 0), true),
        ] {
            assert_eq!(office.contain(moment), within, "{moment}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours("Fri 22:00-06:00");
        for (moment, within) in [
            (at(4, 5, 0), false),
            (at(4, 21, 59), false),
            (at(4, 22, 0), true),
            (at(4, 23, 59), true),
            (at(5, 0, 0), true),
            (at(5, 5, 59), true),
            (at(5, 6, 0), false),
            (at(5, 22, 0), false),
        ] {
            assert_eq!(night.contain(moment), within, "{moment}");
        }
        // Over the end of the week, too.
        let sunday = hours("Sun 23:00-01:00");
        assert!(sunday.contain(at(7, 0, 30)) && !sunday.contain(at(0, 23, 30)));
    }

    #[test]
    fn are_meant_where_the_offset_says() {
        // Half past five in the morning of Monday in India is midnight in UTC.
        let india = hours("Mon 05:00-06:00 +05:30");
        assert!(india.contain(at(0, 0, 0)) && !india.contain(at(0, 5, 30)));
        // Sunday evening in Honolulu is Monday morning in UTC, and the other way round.
        let honolulu = hours("Sun 20:00-24:00 -10:00");
        assert!(honolulu.contain(at(0, 6, 0)) && honolulu.contain(at(0, 9, 59)));
        assert!(!honolulu.contain(at(0, 10, 0)));
        let kiritimati = hours("Tue 00:00-24:00 +14:00");
        assert!(kiritimati.contain(at(0, 10, 0)) && !kiritimati.contain(at(1, 10, 0)));
        // Clocks that are put forward change nothing: an offset is what it is.
        let summer = Timestamp::from_secs(1_782_000_000);
        assert_eq!(summer.to_string(), "2026-06-21T00:00:00.000Z");
        assert!(hours("Sun 01:00-01:01 +01:00").contain(summer));
        // Before there was a clock, west of it, nothing breaks.
        assert!(hours("Wed 14:00-15:00 -10:00").contain(Timestamp::from_secs(0)));
        let _ = hours("08:00-18:00 +14:00").contain(Timestamp::from_millis(u64::MAX));
    }

    #[test]
    fn days_are_one_a_range_or_a_list_and_go_round() {
        let on = |text: &str| -> String {
            let hours = hours(&format!("{text} 00:00-24:00"));
            (0..7).map(|day| if hours.contain(at(day, 12, 0)) { '1' } else { '0' }).collect()
        };
        assert_eq!(on("Mon"), "1000000");
        assert_eq!(on("Sat-Mon"), "1000011");
        assert_eq!(on("Mon,Wed,Fri-Sat"), "1010110");
        assert_eq!(on("Mon-Sun"), "1111111");
        assert!(hours("00:00-24:00").contain(at(6, 23, 59)));
    }

    #[test]
    fn what_is_written_otherwise_is_refused_with_a_reason() {
        for text in [
            "",
            " ",
            "Mon",
            "mon 08:00-18:00",
            "Mon-Fri  08:00-18:00",
            "Mon- 08:00-18:00",
            "8:00-18:00",
            "08:00",
            "08:00-18:60",
            "08:00-25:00",
            "08:00-24:01",
            "24:00-08:00",
            "08:00-18:00 +1",
            "08:00-18:00 +14:01",
            "08:00-18:00 +01:00 x",
            "+8:00-18:00",
        ] {
            assert_eq!(text.parse::<Hours>(), Err(InvalidHours::Form), "{text}");
        }
        assert_eq!("08:00-18:00 Europe/Berlin".parse::<Hours>(), Err(InvalidHours::Zone));
        assert_eq!("08:00-18:00 CET".parse::<Hours>(), Err(InvalidHours::Zone));
        assert_eq!("08:00-08:00".parse::<Hours>(), Err(InvalidHours::Nothing));
    }

    #[test]
    fn are_read_as_they_were_written() {
        for text in [
            "Mon,Tue,Wed,Thu,Fri 08:00-18:00 +01:00",
            "22:00-06:00 -09:30",
            "Sat 00:00-24:00 UTC",
            "08:30-12:00 +00:30",
        ] {
            assert_eq!(hours(text).to_string(), text);
            assert_eq!(hours(&hours(text).to_string()), hours(text));
        }
        assert_eq!(hours("Mon-Fri 08:00-18:00").to_string(), "Mon,Tue,Wed,Thu,Fri 08:00-18:00 UTC");
        let json = serde_json::to_string(&hours("08:00-18:00 Z")).unwrap();
        assert_eq!(serde_json::from_str::<Hours>(&json).unwrap(), hours("08:00-18:00"));
    }
}
