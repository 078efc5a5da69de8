//! A statement's figures as CSV.

use std::fmt;

use super::Body;
use crate::wire::usage::csv_cell;

impl Body {
    /// Its figures as CSV (RFC 4180): a row for each.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut rows = Vec::new();
        let said = |text: Option<&dyn fmt::Display>| text.map(|text| text.to_string());
        let rule_set = self.rule_set().map(str::to_owned);
        for (name, text) in [
            ("site_id", said(self.site_id.as_ref().map(|site| site as _))),
            ("billing_group", said(self.billing_group.as_ref().map(|group| group as _))),
            ("month", said(Some(&self.month))),
            ("version", said(Some(&self.version))),
            ("time_zone", self.time_zone.clone()),
            ("rule_set", rule_set),
            ("issued_at", said(Some(&self.issued_at))),
            ("billable_mau", said(Some(&self.billable.mau))),
            ("billable_licenses_issued", said(Some(&self.billable.licenses_issued))),
        ] {
            rows.extend(text.map(|text| (name.to_owned(), text)));
        }
        let figures = &self.figures;
        let mut row = |name: String, count: u64| rows.push((name, count.to_string()));
        for (name, count) in [
            ("mau", Some(figures.mau)),
            ("licenses_issued", Some(figures.licenses_issued)),
            ("licenses_failed", Some(figures.licenses_failed)),
            ("failures_counted", Some(figures.failures_counted)),
            ("devices", figures.devices),
            ("unattributed_licenses", Some(figures.unattributed_licenses)),
            ("device_users", Some(figures.device_users)),
            ("watermark_sessions", Some(figures.watermark_sessions)),
            ("watermark_users", figures.watermark_users),
            ("duplicates", Some(figures.duplicates)),
            ("records", Some(figures.records)),
            ("corrected_records", Some(self.corrections.records)),
            ("corrected_users", Some(self.corrections.users)),
            ("corrected_licenses_issued", Some(self.corrections.licenses_issued)),
            ("corrected_device_users", Some(self.corrections.device_users)),
        ] {
            count.into_iter().for_each(|count| row(name.to_owned(), count));
        }
        if let Some(Some(quality)) = &self.quality {
            for (name, count) in quality.figures() {
                count.into_iter().for_each(|count| row(format!("quality_{name}"), count));
            }
        }
        for of in &self.by_drm_type {
            row(format!("mau_{}", of.drm_type), of.mau);
            row(format!("licenses_issued_{}", of.drm_type), of.licenses_issued);
        }
        for of in &self.excluded {
            row(format!("excluded_{}", of.reason), of.records);
        }
        for of in self.members.iter().flatten() {
            row(format!("mau_of_{}", of.site_id), of.figures.mau);
            row(format!("licenses_issued_of_{}", of.site_id), of.figures.licenses_issued);
        }
        let mut text = "figure,value\r\n".to_owned();
        for (name, value) in rows {
            text.push_str(&format!("{},{}\r\n", csv_cell(&name), csv_cell(&value)));
        }
        text.into_bytes()
    }

    /// The rule set: its own, or that of the members.
    fn rule_set(&self) -> Option<&str> {
        let of_members = self.members.iter().flatten().map(|member| &member.method);
        let method = self.method.iter().chain(of_members).next();
        method.map(|method| method.rule_set.as_str())
    }
}
