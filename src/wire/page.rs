//! A statement as one page for people: HTML without script and without anything from elsewhere,
//! made for the screen and for A4 paper. Every value is escaped, whoever wrote it.

use super::statement::{Body, Statement};
use crate::ledger::Digest;
use crate::model::pseudonym::Algorithm;
use crate::model::usage::Evidence;

/// What a browser may do with the page: show it with its own style, and nothing else.
pub const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-8OzmOaBDyaLvKREGPNH6AkL7Y+W5jfAMXxUYszClZy4='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";
/// The style; its digest stands in [`POLICY`].
const STYLE: &str = include_str!("page.css");

/// What the reasons of an exclusion mean; one that is not here is shown as it is.
const REASONS: [(&str, &str); 12] = [
    ("failed", "Failed licence requests"),
    ("no_user_id", "Licences without a user id"),
    ("sentinel_user_id", "Licences under a placeholder id"),
    (
        "anonymous",
        "Licences of anonymous users, which the site counts by device, without a good device",
    ),
    ("renewal", "Renewals, which the site does not count"),
    ("no_license", "Requests that issue no licence (release, certificate, preflight)"),
    ("trial", "Licences of the trial environment"),
    ("test", "Licences of the test environment"),
    ("failed_elsewhere", "Failed requests of the trial and test environments"),
    ("session_failed", "Failed watermark sessions"),
    ("session_trial", "Watermark sessions of the trial environment"),
    ("session_test", "Watermark sessions of the test environment"),
];

/// What late figures beyond those of the table are called.
const LATE: [(&str, &str); 9] = [
    ("licenses_failed", "Failed licence requests"),
    ("failures_counted", "Of these, counted by the site's rule"),
    ("devices", "Devices beyond the count"),
    ("unattributed_licenses", "Licences of nobody"),
    ("licenses_by_device", "Of these, of a device that stands for a user"),
    ("watermark_sessions", "Watermark sessions beyond the count"),
    ("watermark_users", "Users of watermark sessions beyond the count"),
    ("session_records", "Records of watermark sessions"),
    ("other_records", "Records that are about neither"),
];

/// A page on its way.
struct Page(String);

impl Statement {
    /// The statement as a page; with the SHA-256 of its body.
    pub fn to_page(&self, digest: Digest) -> Vec<u8> {
        let body = &self.body;
        let title = format!("Usage statement {} {}", body.subject(), body.month);
        let mut page = Page(String::with_capacity(16 << 10));
        page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        page.element("title", &title);
        page.raw("<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n<main>\n");
        page.head(body);
        page.figures(body);
        page.members(body);
        page.excluded(body);
        page.corrections(body);
        page.quality(body);
        page.method(body);
        page.proof(self, digest);
        page.raw("</main>\n</body>\n</html>\n");
        page.0.into_bytes()
    }
}

impl Page {
    /// Text of the program.
    fn raw(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// Any text.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // What turns the direction of a line would show another text than there is.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c if c.is_control() => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    fn element(&mut self, name: &str, text: &str) {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">\n");
    }

    fn section(&mut self, title: &str) {
        self.raw("<section>\n");
        self.element("h2", title);
    }

    fn end(&mut self) {
        self.raw("</section>\n");
    }

    /// A table of names and values.
    fn table(&mut self, heads: &[&str], rows: &[(String, Vec<String>)]) {
        self.raw("<table>\n<thead><tr>");
        for (at, head) in heads.iter().enumerate() {
            self.raw(if at == 0 { "<th scope=\"col\">" } else { "<th scope=\"col\" class=\"n\">" });
            self.text(head).raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for (name, values) in rows {
            self.raw("<tr><th scope=\"row\">").text(name).raw("</th>");
            for value in values {
                self.raw("<td class=\"n\">").text(value).raw("</td>");
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table>\n");
    }

    /// Names with texts.
    fn list(&mut self, rows: &[(&str, String)]) {
        self.raw("<dl>\n");
        for (name, value) in rows {
            self.raw("<dt>").text(name).raw("</dt><dd>").text(value).raw("</dd>\n");
        }
        self.raw("</dl>\n");
    }

    fn head(&mut self, body: &Body) {
        self.raw("<header>\n");
        self.element("h1", "Usage statement");
        let rows = [
            ("Site", body.site_id.as_ref().map(ToString::to_string)),
            ("Billing group", body.billing_group.as_ref().map(ToString::to_string)),
            ("Month", Some(format!("{} ({} to {})", body.month, body.from, body.to))),
            ("Time zone", body.time_zone.clone()),
            ("Closed", Some(body.closed_at.to_string())),
            ("Issued", Some(format!("{} by {}", body.issued_at, body.issued_by))),
            ("Version", Some(version(body))),
        ];
        let said = rows.into_iter().filter_map(|(name, text)| Some((name, text?)));
        self.list(&said.collect::<Vec<_>>());
        if let Some(reason) = &body.reason {
            self.raw("<p class=\"note\">Restated: ").text(reason).raw("</p>\n");
        }
        self.raw("</header>\n");
        self.section("To be billed");
        self.raw("<p class=\"sum\"><strong>").text(&number(body.billable.mau));
        self.raw("</strong> monthly active users</p>\n");
        // Where no device stands for a user there is nothing of the kind to be billed.
        if let Some(count) = body.billable.device_users.filter(|count| *count > 0) {
            self.raw("<p class=\"sum\"><strong>").text(&number(count));
            self.raw("</strong> devices that stand for users</p>\n");
        }
        self.raw("<p class=\"sum\"><strong>").text(&number(body.billable.licenses_issued));
        self.raw("</strong> issued licences</p>\n");
        let how = match body.version {
            1 => "The figures as of the close. What came later is listed below and not in here.",
            _ => "The figures as of the close, and what came later until this version was issued.",
        };
        self.element("p", how);
        self.end();
    }

    fn figures(&mut self, body: &Body) {
        let of = &body.figures;
        self.section("Figures as of the close");
        let rows = [
            ("Monthly active users (MAU)", Some(of.mau)),
            ("Issued licences (MAL)", Some(of.licenses_issued)),
            ("Active devices (ids of good quality)", of.devices),
            ("Devices that stand for a user, beside the MAU", Some(of.device_users)),
            ("Failed licence requests", Some(of.licenses_failed)),
            ("Of these, counted by the site's rule", Some(of.failures_counted)),
            ("Licences of nobody (unattributed)", Some(of.unattributed_licenses)),
            ("Of these, of a device that stands for a user", of.licenses_by_device),
            ("Watermark sessions", Some(of.watermark_sessions)),
            ("Users of watermark sessions", of.watermark_users),
            ("Records of watermark sessions", of.session_records),
            ("Records that are about neither (packaging, detection)", of.other_records),
            ("Records that were sent again, counted once", Some(of.duplicates)),
            ("Accepted records", Some(of.records)),
        ];
        let row =
            |(name, count): (&str, Option<u64>)| Some((name.to_owned(), vec![number(count?)]));
        let rows: Vec<_> = rows.into_iter().filter_map(row).collect();
        self.table(&["Figure", "Count"], &rows);
        self.end();
        if !body.by_drm_type.is_empty() {
            self.section("By DRM system");
            let told = |count: Option<u64>| count.map_or_else(|| "not shown".to_owned(), number);
            let row = |of: &super::statement::ByDrm| {
                (of.drm_type.clone(), vec![told(of.mau), told(of.licenses_issued)])
            };
            let rows: Vec<_> = body.by_drm_type.iter().map(row).collect();
            self.table(&["System", "Users", "Licences"], &rows);
            self.element("p", "One user of two systems is in both rows, so users do not add up.");
            let of = &body.by_drm_type;
            if let Some(least) = body.subjects_least
                && of.iter().any(|of| of.mau.is_none() || of.licenses_issued.is_none())
            {
                let what = format!(
                    "Not shown is what is about fewer than {least} users, or would tell of them. \
                     The figures above have all of it."
                );
                self.element("p", &what);
            }
            self.end();
        }
    }

    /// The members of a group, each with its own figures and the method that they were counted by.
    fn members(&mut self, body: &Body) {
        let Some(members) = &body.members else { return };
        self.section("Members of the group");
        let row = |of: &super::statement::Member| {
            let figures = &of.figures;
            let counts = [figures.mau, figures.licenses_issued, of.corrections.records];
            let mut cells = vec![of.time_zone.clone()];
            cells.extend(counts.map(number));
            (of.site_id.to_string(), cells)
        };
        let rows: Vec<_> = members.iter().map(row).collect();
        self.table(&["Site", "Time zone", "Users", "Licences", "Late records"], &rows);
        let what = "A person is one user of the group, whatever members saw them, so users do not \
                    add up. All other figures are the members' sums.";
        self.element("p", what);
        self.end();
    }

    fn excluded(&mut self, body: &Body) {
        self.section("What is not counted, and why");
        let rows: Vec<_> = body.excluded.iter().map(reason).collect();
        self.table(&["Reason", "Records"], &rows);
        self.end();
    }

    fn corrections(&mut self, body: &Body) {
        self.section("Corrections");
        let cells = |of: &super::statement::Corrected| {
            [of.records, of.users, of.licenses_issued, of.device_users].map(number).to_vec()
        };
        let mut rows = vec![("This month, after its close".to_owned(), cells(&body.corrections))];
        for of in &body.earlier_corrections {
            rows.push((format!("{}, after its close", of.month), cells(&of.corrections)));
        }
        let heads =
            ["Of", "Records", "Users beyond the count", "Licences", "Devices that stand for users"];
        self.table(&heads, &rows);
        self.late("This month", &body.corrections);
        for of in &body.earlier_corrections {
            self.late(&of.month.to_string(), &of.corrections);
        }
        let what = "Records that came after a close never change that month's figures. They are \
                    billed where the month is restated.";
        self.element("p", what);
        self.end();
    }

    /// What else came late for a month, where anything did.
    fn late(&mut self, month: &str, of: &super::statement::Corrected) {
        let figures = of.figures();
        let kind = |(name, meaning): &(&str, &str)| {
            let found = figures.iter().find(|(figure, _)| figure == name);
            let count = found.map(|(_, count)| *count).filter(|count| *count > 0);
            Some(((*meaning).to_owned(), vec![number(count?)]))
        };
        let mut rows: Vec<_> = LATE.iter().filter_map(kind).collect();
        rows.extend(of.excluded.iter().map(|of| {
            let (name, count) = reason(of);
            (format!("Not counted: {name}"), count)
        }));
        if !rows.is_empty() {
            let head = format!("{month}, after its close, also");
            self.table(&[&head, "Count"], &rows);
        }
    }

    fn quality(&mut self, body: &Body) {
        let Some(quality) = &body.quality else { return };
        self.section("How far the ids can be trusted");
        let Some(of) = quality else {
            self.element("p", "It could not be told when this was issued.");
            // What is known of a member is said all the same.
            self.quality_of_members(body);
            return self.end();
        };
        let row = |name: &str, licenses: u64, ppm: u64| {
            (name.to_owned(), vec![number(licenses), percent(ppm)])
        };
        let mut rows = vec![
            row("Under a placeholder id", of.sentinel_licenses, of.sentinel_share_ppm),
            row("Of nobody", of.unattributed_licenses, of.unattributed_share_ppm),
        ];
        if let (Some(licenses), Some(ppm)) = (of.suspect_user_licenses, of.suspect_user_share_ppm) {
            rows.push(row("Of users that look like many", licenses, ppm));
        }
        self.table(&["Licences", "Count", "Share"], &rows);
        let read = (number(of.records_seen), number(of.records_counted));
        let read = format!("Read: {} of {} records, as of {}.", read.0, read.1, of.as_of);
        let found = [
            of.suspect_shared_users,
            of.suspect_users_by_devices,
            of.suspect_users_by_share,
            of.suspect_shared_devices,
        ];
        let suspects = match found.map(|count| count.map(number)) {
            [Some(users), Some(by_devices), Some(by_share), Some(devices)] => format!(
                "{users} users look like many ({by_devices} by their devices, {by_share} by their \
                 share of the licences), and {devices} devices. They are counted as they are. \
                 {read}"
            ),
            _ => format!(
                "Who looks like many is not known: too few of the records were left to be read. \
                 {read}"
            ),
        };
        self.element("p", &suspects);
        self.quality_of_members(body);
        self.end();
    }

    /// The same of each member of a group.
    fn quality_of_members(&mut self, body: &Body) {
        let Some(members) = &body.members else { return };
        let told = |count: Option<u64>| count.map_or_else(|| "not known".to_owned(), number);
        let row = |of: &super::statement::Member| {
            let known = of.quality.as_ref().and_then(Option::as_ref);
            let sentinel = known.map(|of| of.sentinel_licenses);
            let users = known.and_then(|of| of.suspect_shared_users);
            let devices = known.and_then(|of| of.suspect_shared_devices);
            (of.site_id.to_string(), [sentinel, users, devices].map(told).to_vec())
        };
        let rows: Vec<_> = members.iter().map(row).collect();
        let heads = ["Site", "Licences under a placeholder id", "Suspect users", "Suspect devices"];
        self.table(&heads, &rows);
        if body.quality.as_ref().is_some_and(Option::is_some) {
            let what = "Above are the sums of the members: who looks like many at two sites is \
                        counted at both.";
            self.element("p", what);
        }
    }

    fn method(&mut self, body: &Body) {
        self.section("How it was counted");
        let yes = |yes: bool| if yes { "yes".to_owned() } else { "no".to_owned() };
        let mut rows = Vec::new();
        let members = body.members.iter().flatten().map(|of| (Some(&of.site_id), &of.method));
        for (site, of) in body.method.iter().map(|of| (None, of)).chain(members) {
            rows.extend(site.map(|site| ("Of the member", site.to_string())));
            rows.extend([
                ("Rule set", of.rule_set.clone()),
                ("Canonical form of ids", format!("version {}", of.canonicalizer)),
                ("User ids are compared", of.user_ids().to_owned()),
                ("Pseudonyms", algorithm(of.pseudonym_algorithm.as_ref())),
                ("Late records", format!("counted until {} hours after the end", of.closing_hours)),
                ("Failed requests count", yes(of.include_failures)),
                ("Renewals count", yes(of.count_renewals)),
                ("A device stands for a missing user", yes(of.device_as_user)),
                ("Anonymous users by their device", yes(of.anonymous_by_device)),
            ]);
        }
        if body.members.is_some() {
            let name = algorithm(body.pseudonym_algorithm.as_ref());
            rows.push(("Pseudonyms of the group", name));
        }
        match &body.recount {
            Some(found) => {
                let devices = found.devices.map(|count| format!(", {} devices", number(count)));
                let devices = devices.unwrap_or_default();
                let same = format!("{} users{devices}", number(found.mau));
                rows.push(("Second count, from the stored sets", same));
                if let Some(count) = found.late_users {
                    let devices = found.late_device_users.map_or_else(String::new, |count| {
                        format!(", {} devices that stand for users", number(count))
                    });
                    let late = format!("{} users{devices}", number(count));
                    rows.push(("Second count of what came late, by the issue", late));
                }
                rows.push(("SHA-256 of the users' pseudonyms", found.user_set.to_string()));
            }
            None => rows.push(("Second count", not_recounted(body).to_owned())),
        }
        self.list(&rows);
        self.end();
    }

    fn proof(&mut self, statement: &Statement, digest: Digest) {
        let Statement { body, issued } = statement;
        self.section("What is signed, and how to check it");
        let what = "The ledger has the SHA-256 of this statement's body under a checkpoint with an \
                    Ed25519 signature. This page is made from the statement and proves nothing by \
                    itself: keep the statement's file (JSON) byte for byte, and check it offline \
                    with the ledger's public key, which you have from elsewhere.";
        self.element("p", what);
        let mut rows = vec![
            ("SHA-256 of the body", digest.to_string()),
            ("Ledger", body.ledger.clone()),
            ("Entry", format!("{} of {}", issued.index, issued.size)),
        ];
        if let Some(of) = &body.replaces {
            rows.push(("Replaces", format!("version {}, SHA-256 {}", of.version, of.digest)));
        }
        self.list(&rows);
        self.raw("<pre>blindtally statement verify FILE.json --key verifier.key</pre>\n");
        self.raw("<details open>\n<summary>Checkpoint</summary>\n<pre>");
        // A note has lines; each is escaped by itself.
        for line in issued.checkpoint.lines() {
            self.text(line).raw("\n");
        }
        self.raw("</pre>\n</details>\n");
        self.end();
    }
}

/// A reason as it is said, with its count.
fn reason(of: &super::statement::Excluded) -> (String, Vec<String>) {
    let known = REASONS.iter().find(|(reason, _)| *reason == of.reason);
    let name = known.map_or(of.reason.clone(), |(_, meaning)| (*meaning).to_owned());
    (name, vec![number(of.records)])
}

/// Why nothing was counted again.
fn not_recounted(body: &Body) -> &'static str {
    match body.evidence {
        Some(Evidence::Held) => "not made: the sets are on hold, and read by nobody",
        Some(Evidence::Live) => "not made: the month has no sets",
        Some(Evidence::Destroyed) => "not made: the sets were destroyed",
        // A statement from before this was said.
        None => "not made: the sets were destroyed, or on hold",
    }
}

fn version(body: &Body) -> String {
    match &body.replaces {
        Some(of) => format!("{}, in the place of version {}", body.version, of.version),
        None => body.version.to_string(),
    }
}

/// What made pseudonyms, where a statement says so; before there was a choice it was the default.
fn algorithm(said: Option<&String>) -> String {
    said.map_or_else(|| Algorithm::default().name().to_owned(), Clone::clone)
}

/// Parts of a million as percent with two digits.
fn percent(ppm: u64) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

/// A count with its digits in groups of three.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests;
