//! Cron done the slow way: every day, every hour, every minute, every second.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use proptest::prelude::*;

/// An item of a field: from, to, step, and how it is written.
#[derive(Clone, Debug)]
pub struct Item {
    from: i8,
    to: i8,
    step: i8,
    star: bool,
    text: String,
}

/// The six fields.
#[derive(Clone, Debug)]
pub struct Cron {
    fields: [Vec<Item>; 6],
    five: bool,
}

/// First, last, and last that may be written.
const BOUNDS: [(i8, i8, i8); 6] = [(0, 59, 59), (0, 59, 59), (0, 23, 23), (1, 31, 31), (1, 12, 12), (0, 6, 7)];
const MONTHS: [&str; 12] = ["Jan", "FEB", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["SUN", "mon", "Tue", "wed", "thu", "fri", "sat"];

fn item(field: usize) -> impl Strategy<Value = Item> {
    let (min, max, written) = BOUNDS[field];
    let numbers = (min..=written, min..=written, 1..=max + 2, 0..8_u8, any::<bool>());
    numbers.prop_map(move |(a, b, step, kind, named)| {
        let name = |n: i8| match field {
            4 if named => MONTHS[usize::try_from(n - 1).unwrap()].to_owned(),
            // A Sunday at the end of a range is a number here.
            5 if named && (1..=6).contains(&n) => DAYS[usize::try_from(n).unwrap()].to_owned(),
            _ => n.to_string(),
        };
        let (low, high) = (a.min(b), a.max(b));
        let star = if named { "?" } else { "*" };
        let (from, to, step, text) = match kind {
            0 => (min, max, 1, star.to_owned()),
            1 => (min, max, step, format!("{star}/{step}")),
            2 => (low, high, 1, format!("{}-{}", name(low), name(high))),
            3 => (low, high, step, format!("{}-{}/{step}", name(low), name(high))),
            4 => (a, max.max(a), step, format!("{}/{step}", name(a))),
            _ => (a, a, 1, name(a)),
        };
        Item {
            from,
            to,
            step,
            star: kind == 0 || (kind == 1 && step == 1),
            text,
        }
    })
}

fn star(field: usize) -> Vec<Item> {
    let (from, to, _) = BOUNDS[field];
    vec![Item {
        from,
        to,
        step: 1,
        star: true,
        text: "*".to_owned(),
    }]
}

/// A field, a plain star so many times in ten.
fn field(field: usize, stars: u32) -> BoxedStrategy<Vec<Item>> {
    prop_oneof![
        stars => Just(star(field)),
        10 - stars => prop::collection::vec(item(field), 1..4),
    ]
    .boxed()
}

impl Cron {
    pub fn any() -> impl Strategy<Value = Self> {
        let fields = (field(0, 1), field(1, 2), field(2, 4), field(3, 5), field(4, 6), field(5, 5));
        (fields, any::<bool>()).prop_map(|((s, m, h, d, mo, w), five)| Self {
            fields: [s, m, h, d, mo, w],
            five,
        })
    }

    /// In whole minutes, and on most days.
    pub fn frequent() -> impl Strategy<Value = Self> {
        (field(1, 2), field(2, 6), field(3, 8), field(5, 8)).prop_map(|(m, h, d, w)| Self {
            fields: [star(0), m, h, d, star(4), w],
            five: true,
        })
    }

    pub fn text(&self) -> String {
        let texts = self.fields.iter().skip(usize::from(self.five)).map(|items| {
            let items: Vec<&str> = items.iter().map(|i| i.text.as_str()).collect();
            items.join(",")
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    fn has(&self, field: usize, n: i8) -> bool {
        if field == 0 && self.five {
            return n == 0;
        }
        let hit = |i: &Item, n: i8| n >= i.from && n <= i.to && (n - i.from) % i.step == 0;
        let either = |i: &Item| hit(i, n) || (field == 5 && n == 0 && hit(i, 7));
        self.fields[field].iter().any(either)
    }

    pub fn matches_day(&self, date: Date) -> bool {
        let day = self.has(3, date.day());
        let weekday = self.has(5, date.weekday().to_sunday_zero_offset());
        let free = |field: usize| self.fields[field].iter().any(|i| i.star);
        let days = if free(3) || free(5) { day && weekday } else { day || weekday };
        days && self.has(4, date.month())
    }

    pub fn matches(&self, local: DateTime) -> bool {
        self.matches_day(local.date()) && self.has(0, local.second()) && self.has(1, local.minute()) && self.has(2, local.hour())
    }

    /// The first match after a moment in UTC, within nine years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = TimeZone::UTC.to_datetime(after);
        let mut date = local.date();
        for _ in 0..9 * 366 {
            if self.matches_day(date) {
                for hour in (0..24).filter(|&h| self.has(2, h)) {
                    for minute in (0..60).filter(|&m| self.has(1, m)) {
                        for second in (0..60).filter(|&s| self.has(0, s)) {
                            let found = date.at(hour, minute, second, 0);
                            if found > local {
                                return Some(TimeZone::UTC.to_timestamp(found).unwrap());
                            }
                        }
                    }
                }
            }
            date = date.tomorrow().unwrap();
        }
        None
    }
}
