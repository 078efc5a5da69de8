//! The access log: how often who used which route, of which site and with what outcome, on a UTC
//! day. No time of the day, no query, no body, no address, no id of anybody but the credential's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{BadForm, read, written};
use crate::model::time::Day;

/// Lines of a day from which on none is added that is not the only one of its credential.
pub const LINES_MAX: usize = 10_000;
/// The same for lines that name a site, so that there is room for those that name none.
pub const SITED_MAX: usize = LINES_MAX / 2;
/// Most lines of one credential that name a site: a job that asks of each of ten thousand sites
/// must leave room for everybody else. What would be more is counted without the site.
pub const SITED_OF_ONE_MAX: usize = 500;
/// Most lines beyond [`LINES_MAX`], each the only one of its credential.
pub const CREDENTIALS_MAX: usize = 1_000;
/// In the place of a route: those that have no line of their own.
pub const OTHER_ROUTES: &str = "others";

/// What is counted as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLine {
    /// The public part of the credential.
    pub by: String,
    /// Its role.
    pub role: String,
    /// The route, by its name in the metrics.
    pub route: String,
    /// The site that the path names, where there is one of that name.
    pub site: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A line with its count, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    line: AccessLine,
    count: u64,
}

/// The row of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    lines: Vec<Counted>,
    others: u64,
}

/// What is known of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessDay {
    /// The lines, in their order.
    pub lines: BTreeMap<AccessLine, u64>,
    /// Uses that no line has, not even one of their credential.
    pub others: u64,
}

impl AccessDay {
    /// Counts uses. Where there is no room for a line of their own, the line without the site has
    /// them, then the one of other routes, so that whoever floods the day hides nobody else.
    pub fn add(&mut self, line: AccessLine, count: u64) {
        let AccessLine { by, role, .. } = &line;
        let rest = AccessLine {
            by: by.clone(),
            role: role.clone(),
            route: OTHER_ROUTES.to_owned(),
            site: None,
            status: 0,
        };
        let whole = AccessLine { site: None, ..line.clone() };
        let place = [line, whole, rest].into_iter().find(|line| self.has_room(line));
        match place.map(|line| self.lines.entry(line).or_insert(0)) {
            Some(known) => *known = known.saturating_add(count),
            None => self.others = self.others.saturating_add(count),
        }
    }

    fn has_room(&self, line: &AccessLine) -> bool {
        if self.lines.contains_key(line) {
            return true;
        }
        let size = self.lines.len();
        if line.site.is_some() {
            return size < SITED_MAX && self.sited_of(&line.by) < SITED_OF_ONE_MAX;
        }
        let last = line.route == OTHER_ROUTES;
        size < if last { LINES_MAX + CREDENTIALS_MAX } else { LINES_MAX }
    }

    /// How many lines with a site a credential has.
    fn sited_of(&self, by: &str) -> usize {
        let (role, route) = (String::new(), String::new());
        let first = AccessLine { by: by.to_owned(), role, route, site: None, status: 0 };
        let own = self.lines.range(first..).take_while(|(line, _)| line.by == by);
        own.filter(|(line, _)| line.site.is_some()).count()
    }

    /// Counts all that another one counts.
    pub fn merge(&mut self, other: Self) {
        self.others = self.others.saturating_add(other.others);
        for (line, count) in other.lines {
            self.add(line, count);
        }
    }

    /// What is known of the uses whose line names one of these sites. Of what no line has nobody
    /// knows whose it was.
    #[must_use]
    pub fn of_sites(mut self, is_own: impl Fn(&str) -> bool) -> Self {
        self.lines.retain(|line, _| line.site.as_deref().is_some_and(&is_own));
        self.others = 0;
        self
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        let counted =
            |(line, count): (&AccessLine, &u64)| Counted { line: line.clone(), count: *count };
        written(&Row { lines: self.lines.iter().map(counted).collect(), others: self.others })
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        let Row { lines, others } = read(bytes)?;
        let in_order = lines.windows(2).all(|pair| pair[0].line < pair[1].line);
        if !in_order || lines.len() > LINES_MAX + CREDENTIALS_MAX {
            return Err(BadForm);
        }
        let lines = lines.into_iter().map(|one| (one.line, one.count)).collect();
        Ok(Self { lines, others })
    }

    /// The answer about a day.
    pub fn to_json(&self, day: Day) -> Vec<u8> {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|(line, count)| {
                let AccessLine { by, role, route, site, status } = line;
                json!({
                    "by": by,
                    "role": role,
                    "route": route,
                    "site_id": site,
                    "status": status,
                    "count": count,
                })
            })
            .collect();
        let value = json!({"day": day.to_string(), "lines": lines, "others": self.others});
        value.to_string().into_bytes()
    }
}

/// All kept days together, as evidence has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSummary {
    /// The first and the last day that anything is kept of.
    pub days: Option<(Day, Day)>,
    /// Uses by role, route and status.
    pub uses: BTreeMap<(String, String, u16), u64>,
    /// Uses that no line has.
    pub others: u64,
}

impl AccessSummary {
    /// Counts a day.
    pub fn add(&mut self, at: Day, day: &AccessDay) {
        let (first, last) = self.days.unwrap_or((at, at));
        self.days = Some((first.min(at), last.max(at)));
        self.others = self.others.saturating_add(day.others);
        for (line, count) in &day.lines {
            let key = (line.role.clone(), line.route.clone(), line.status);
            let uses = self.uses.entry(key).or_insert(0);
            *uses = uses.saturating_add(*count);
        }
    }

    /// Counts what another one counts.
    pub fn merge(&mut self, other: &Self) {
        let both = [self.days, other.days].into_iter().flatten();
        self.days = both.reduce(|(from, to), (first, last)| (from.min(first), to.max(last)));
        self.others = self.others.saturating_add(other.others);
        for (key, count) in &other.uses {
            let uses = self.uses.entry(key.clone()).or_insert(0);
            *uses = uses.saturating_add(*count);
        }
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        let uses = self.uses.iter().map(|((role, route, status), count)| {
            json!({"role": role, "route": route, "status": status, "count": count})
        });
        json!({
            "from": self.days.map(|(first, _)| first.to_string()),
            "to": self.days.map(|(_, last)| last.to_string()),
            "uses": uses.collect::<Vec<_>>(),
            "others": self.others,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(route: &str, status: u16) -> AccessLine {
        AccessLine {
            by: "a".repeat(16),
            role: "auditor".to_owned(),
            route: route.to_owned(),
            site: (status == 200).then(|| "ACME".to_owned()),
            status,
        }
    }

    #[test]
    fn a_day_has_one_spelling_and_an_end() {
        let mut day = AccessDay::default();
        for (route, status) in [("ledger_list", 200), ("evidence", 200), ("ledger_list", 404)] {
            day.add(line(route, status), 2);
        }
        day.add(line("evidence", 200), 1);
        assert_eq!(day.lines[&line("evidence", 200)], 3);
        let bytes = day.to_bytes().unwrap();
        assert_eq!(AccessDay::parse(&bytes), Ok(day.clone()));
        assert_eq!(AccessDay::parse(&[&bytes[..], b" "].concat()), Err(BadForm));
        let text = String::from_utf8(bytes).unwrap();
        let swapped = text.replace("evidence", "zzz");
        assert_eq!(AccessDay::parse(swapped.as_bytes()), Err(BadForm), "out of order");
        let mut both = AccessDay::default();
        both.merge(day.clone());
        both.merge(AccessDay { others: 3, ..day });
        assert_eq!((both.others, both.lines[&line("evidence", 200)]), (3, 6));
    }

    fn of(person: usize, site: Option<usize>) -> AccessLine {
        let site = site.map(|no| format!("S{no:05}"));
        AccessLine { by: format!("{person:016}"), site, ..line("site_usage", 200) }
    }

    #[test]
    fn whoever_floods_a_day_hides_nobody_else() {
        let mut day = AccessDay::default();
        for no in 0..20_000 {
            day.add(of(1, Some(no)), 1);
        }
        assert_eq!((day.lines.len(), day.others), (SITED_OF_ONE_MAX + 1, 0));
        assert_eq!(day.lines[&of(1, None)], 20_000 - SITED_OF_ONE_MAX as u64, "without the site");
        let release = AccessLine { route: "hold_release".to_owned(), ..of(2, Some(7)) };
        day.add(release.clone(), 1);
        assert_eq!(day.lines[&release], 1, "another one has its line, with the site");
        // Many credentials, each with as many sites as it may have.
        for (person, no) in (3..200).flat_map(|person| (0..600).map(move |no| (person, no))) {
            day.add(of(person, Some(no)), 1);
        }
        assert!((SITED_MAX..SITED_MAX + 200).contains(&day.lines.len()), "{}", day.lines.len());
        let late = AccessLine { route: "hold_release".to_owned(), ..of(200, Some(7)) };
        day.add(late.clone(), 1);
        assert_eq!(day.lines[&AccessLine { site: None, ..late }], 1, "who, what and how it ended");
        // And as many as nobody has: the first thousand beyond have a line each.
        for person in 1_000..15_000 {
            day.add(of(person, None), 1);
        }
        assert_eq!(day.lines.len(), LINES_MAX + CREDENTIALS_MAX);
        let named: u64 = day.lines.values().sum();
        assert_eq!(named + day.others, 20_000 + 1 + 197 * 600 + 1 + 14_000, "nothing is lost");
        let known = AccessLine { route: "evidence".to_owned(), ..of(2, None) };
        day.add(known.clone(), 1);
        assert!(!day.lines.contains_key(&known), "a full day");
        assert_eq!(AccessDay::parse(&day.to_bytes().unwrap()), Ok(day));
    }

    #[test]
    fn a_summary_names_nobody() {
        let (mut summary, mut day) = (AccessSummary::default(), AccessDay::default());
        assert_eq!(
            summary.to_value().to_string(),
            r#"{"from":null,"others":0,"to":null,"uses":[]}"#
        );
        day.add(line("evidence", 200), 2);
        day.add(AccessLine { by: "b".repeat(16), site: None, ..line("evidence", 200) }, 3);
        day.others = 4;
        summary.add(Day(20_000), &day);
        summary.add(Day(19_000), &day);
        let said = summary.to_value();
        assert_eq!(
            (said["from"].as_str(), said["to"].as_str()),
            (Some("2022-01-08"), Some("2024-10-04"))
        );
        assert_eq!(
            (said["uses"][0]["count"].as_u64(), said["others"].as_u64()),
            (Some(10), Some(8))
        );
        assert!(!said.to_string().contains("ACME") && !said.to_string().contains("bbb"));
    }
}
