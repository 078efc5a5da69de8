//! A statement as CSV.

use std::fmt;

use super::{Body, Corrected, Member, Method};
use crate::ledger::Digest;
use crate::model::rules::RuleSet;
use crate::wire::explained::IdQuality;
use crate::wire::usage::csv_cell;

/// A row's name and its value.
type Row = (String, String);

impl Body {
    /// All that it says as CSV (RFC 4180): a row for each. `body_sha256` is what the ledger has of
    /// it, so that two versions that count alike can be told apart.
    pub fn to_csv(&self, digest: Digest) -> Vec<u8> {
        let mut rows = self.heads(digest);
        rows.extend(self.counts());
        rows.extend(late("corrected", &self.corrections));
        rows.extend(self.of_quality(self.quality.as_ref()));
        rows.extend(self.subjects_least.map(|least| row("subjects_least", least)));
        for of in &self.by_drm_type {
            for (name, count) in [("mau", of.mau), ("licenses_issued", of.licenses_issued)] {
                // What is left out has a row all the same, with nothing in it.
                let told = count.map_or_else(String::new, |count| count.to_string());
                rows.push((format!("{name}_{}", of.drm_type), told));
            }
        }
        for of in &self.excluded {
            rows.push(row(format!("excluded_{}", of.reason), of.records));
        }
        for of in &self.earlier_corrections {
            rows.extend(late(&format!("corrected_{}", of.month), &of.corrections));
        }
        rows.extend(self.recounted());
        for of in self.members.iter().flatten() {
            rows.extend(self.of_member(of));
        }
        let mut text = "figure,value\r\n".to_owned();
        for (name, value) in rows {
            text.push_str(&format!("{},{}\r\n", csv_cell(&name), csv_cell(&value)));
        }
        text.into_bytes()
    }

    /// What it is of, and how it came to be.
    fn heads(&self, digest: Digest) -> Vec<Row> {
        let said = |text: Option<&dyn fmt::Display>| text.map(|text| text.to_string());
        let replaces = self.replaces.as_ref();
        let mut rows = Vec::new();
        for (name, text) in [
            ("site_id", said(self.site_id.as_ref().map(|site| site as _))),
            ("billing_group", said(self.billing_group.as_ref().map(|group| group as _))),
            ("month", said(Some(&self.month))),
            ("version", said(Some(&self.version))),
            ("body_sha256", said(Some(&digest))),
            ("ledger", Some(self.ledger.clone())),
            ("format", Some(self.format.clone())),
            ("replaces_version", said(replaces.map(|of| &of.version as _))),
            ("replaces_sha256", said(replaces.map(|of| &of.digest as _))),
            ("reason", self.reason.clone()),
            ("time_zone", self.time_zone.clone()),
            ("from", said(Some(&self.from))),
            ("to", said(Some(&self.to))),
            ("closed_at", said(Some(&self.closed_at))),
            ("rule_set", self.rule_set().map(str::to_owned)),
            ("issued_at", said(Some(&self.issued_at))),
            ("issued_by", Some(self.issued_by.clone())),
            ("billable_mau", said(Some(&self.billable.mau))),
            ("billable_licenses_issued", said(Some(&self.billable.licenses_issued))),
            ("billable_device_users", said(self.billable.device_users.as_ref().map(|of| of as _))),
            ("evidence", said(self.evidence.as_ref().map(|of| of as _))),
        ] {
            rows.extend(text.map(|text| (name.to_owned(), text)));
        }
        // That of a group; a site's is one of its method.
        let algorithm = self.pseudonym_algorithm.clone();
        rows.extend(algorithm.map(|name| ("pseudonym_algorithm".to_owned(), name)));
        rows.extend(self.method.iter().flat_map(|method| of_method("", method)));
        rows
    }

    fn counts(&self) -> Vec<Row> {
        let figures = &self.figures;
        let counts = [
            ("mau", Some(figures.mau)),
            ("licenses_issued", Some(figures.licenses_issued)),
            ("licenses_failed", Some(figures.licenses_failed)),
            ("failures_counted", Some(figures.failures_counted)),
            ("devices", figures.devices),
            ("unattributed_licenses", Some(figures.unattributed_licenses)),
            ("licenses_by_device", figures.licenses_by_device),
            ("device_users", Some(figures.device_users)),
            ("watermark_sessions", Some(figures.watermark_sessions)),
            ("watermark_users", figures.watermark_users),
            ("session_records", figures.session_records),
            ("other_records", figures.other_records),
            ("duplicates", Some(figures.duplicates)),
            ("records", Some(figures.records)),
        ];
        counts.into_iter().filter_map(|(name, count)| Some(row(name, count?))).collect()
    }

    fn recounted(&self) -> Vec<Row> {
        let Some(of) = &self.recount else { return Vec::new() };
        let counts = [
            ("mau", Some(of.mau)),
            ("devices", of.devices),
            ("watermark_users", of.watermark_users),
            ("device_users", of.device_users),
            ("late_users", of.late_users),
            ("late_device_users", of.late_device_users),
        ];
        let counts = counts.into_iter().filter_map(|(name, count)| Some((name, count?)));
        let mut rows: Vec<Row> =
            counts.map(|(name, count)| row(format!("recount_{name}"), count)).collect();
        rows.push(("recount_user_set".to_owned(), of.user_set.to_string()));
        rows
    }

    /// The rule set: its own, or the newest of the members', as the usage has it.
    fn rule_set(&self) -> Option<&str> {
        let of_members = self.members.iter().flatten().map(|member| &member.method);
        let methods = self.method.iter().chain(of_members);
        let names = methods.map(|method| method.rule_set.as_str());
        // Of what is none that has a number, the first.
        names
            .reduce(|first, of| if RuleSet::named(of) > RuleSet::named(first) { of } else { first })
    }

    /// How far ids can be trusted; nothing of what is unknown. When that was so and from where on a
    /// member is suspect is not in tables of older forms, which stay as they were.
    fn of_quality(&self, said: Option<&Option<IdQuality>>) -> Vec<Row> {
        let Some(known) = said.and_then(Option::as_ref) else { return Vec::new() };
        if self.is_of_newest_form() {
            let rows = IdQuality::columns(Some(known)).into_iter();
            return rows.filter(|(_, value)| !value.is_empty()).collect();
        }
        let figures = known.figures().into_iter();
        let figures = figures.filter_map(|(name, count)| Some((name, count?)));
        figures.map(|(name, count)| row(format!("quality_{name}"), count)).collect()
    }

    /// A member of a group, with its own figures.
    fn of_member(&self, member: &Member) -> Vec<Row> {
        let of = format!("_of_{}", member.site_id);
        let figures = &member.figures;
        let mut rows = vec![
            row(format!("mau{of}"), figures.mau),
            row(format!("licenses_issued{of}"), figures.licenses_issued),
            row(format!("device_users{of}"), figures.device_users),
            row(format!("records{of}"), figures.records),
            (format!("time_zone{of}"), member.time_zone.clone()),
            (format!("from{of}"), member.from.to_string()),
            (format!("to{of}"), member.to.to_string()),
        ];
        rows.extend(member.closed_at.map(|at| (format!("closed_at{of}"), at.to_string())));
        rows.extend(of_method(&of, &member.method));
        if self.is_of_newest_form() {
            // That of a site stands among the heads.
            rows.push((format!("rule_set{of}"), member.method.rule_set.clone()));
        }
        let late = late("corrected", &member.corrections);
        let others = late.chain(self.of_quality(member.quality.as_ref()));
        rows.extend(others.map(|(name, count)| (name + &of, count)));
        rows
    }
}

fn row(name: impl Into<String>, count: u64) -> Row {
    (name.into(), count.to_string())
}

/// What came late, each figure behind a name.
fn late<'c>(name: &str, of: &'c Corrected) -> impl Iterator<Item = Row> + use<'c> {
    let (figures, reasons) = (name.to_owned(), name.to_owned());
    let figures = of
        .figures()
        .into_iter()
        .map(move |(figure, count)| row(format!("{figures}_{figure}"), count));
    let excluded = of.excluded.iter();
    figures
        .chain(excluded.map(move |of| row(format!("{reasons}_excluded_{}", of.reason), of.records)))
}

/// How a month was counted; `of` stands behind each name. What older statements do not say is not
/// there.
fn of_method(of: &str, method: &Method) -> Vec<Row> {
    let row = |name: &str, value: &dyn fmt::Display| (format!("{name}{of}"), value.to_string());
    let mut rows = vec![
        row("canonicalizer", &method.canonicalizer),
        row("closing_hours", &method.closing_hours),
        row("include_failures", &method.include_failures),
        row("count_renewals", &method.count_renewals),
        row("device_as_user", &method.device_as_user),
        row("anonymous_by_device", &method.anonymous_by_device),
    ];
    let algorithm = method.pseudonym_algorithm.as_ref();
    rows.extend(algorithm.map(|name| row("pseudonym_algorithm", name)));
    for (name, option) in [
        ("user_id_trim", method.user_id_trim),
        ("user_id_nfc", method.user_id_nfc),
        ("user_id_lower", method.user_id_lower),
    ] {
        rows.extend(option.map(|option| row(name, &option)));
    }
    rows
}
