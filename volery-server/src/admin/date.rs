//! Unix times as ZooKeeper writes them, always in UTC. Never asks for the time. Called by the
//! four-letter words, and by the build script, which stamps the binary.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

struct Civil {
    year: u64,
    /// From 1.
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    /// Index into [`DAYS`].
    weekday: usize,
}

/// The Gregorian date of a Unix time (days from civil, Howard Hinnant's algorithm).
fn civil(unix_seconds: u64) -> Civil {
    let (days, second) = (unix_seconds / 86400, unix_seconds % 86400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Civil {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
        weekday: (days % 7) as usize,
    }
}

/// `MM/DD/YYYY HH:MM UTC`: ZooKeeper's style before 3.7, which go-zk's parser insists on.
#[must_use]
pub fn build_stamp(unix_seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, .. } = civil(unix_seconds);
    format!("{month:02}/{day:02}/{year:04} {hour:02}:{minute:02} UTC")
}

/// As `java.util.Date` prints: `Sun Nov 22 22:36:32 UTC 2026`.
#[must_use]
pub fn java_date(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second, weekday } = civil(unix_ms / 1000);
    let (weekday, month) = (DAYS[weekday], MONTHS[month as usize - 1]);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let table = [
            (0, "01/01/1970 00:00 UTC", "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_399, "02/28/2000 23:59 UTC", "Mon Feb 28 23:59:59 UTC 2000"),
            (951_782_400, "02/29/2000 00:00 UTC", "Tue Feb 29 00:00:00 UTC 2000"),
            (1_735_689_599, "12/31/2024 23:59 UTC", "Tue Dec 31 23:59:59 UTC 2024"),
            (1_795_386_992, "11/22/2026 22:36 UTC", "Sun Nov 22 22:36:32 UTC 2026"),
            (4_107_542_400, "03/01/2100 00:00 UTC", "Mon Mar 01 00:00:00 UTC 2100"),
        ];
        for (seconds, stamp, date) in table {
            assert_eq!(build_stamp(seconds), stamp);
            assert_eq!(java_date(seconds * 1000 + 999), date);
        }
    }
}
