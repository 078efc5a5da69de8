//! The retention policy as data: classes with period, legal ground and epoch length, in two
//! profiles; and the dates and notice of a change. What belongs to which class is the inventory.

use super::inventory;
use crate::crypto::sha256;
use crate::ledger::Digest;
use crate::model::limits::MATERIAL_NOTICE_DAYS;
use crate::model::time::Day;
use crate::model::vocab::{Class, RecordType, vocabulary};
use crate::wire::retention::{PeriodsDoc, PolicyDoc};

/// Notice of any change, days.
pub const NOTICE_DAYS: u32 = 7;
/// Longest period that a policy may set, months.
const MONTHS_MAX: u32 = 120;
/// Longest objection window that a policy may set, days.
const OBJECTION_DAYS_MAX: u32 = 180;
/// How long pseudonym sets live at most after the end of their month, months.
pub const SETS_MONTHS_MAX: u32 = 6;
/// How long data lives at most after the end of a site's contract, months.
pub const TERMINATION_MONTHS: u32 = 6;

/// When the built-in policies were published, and from when on they hold.
pub(super) const BUILT_IN: (Day, Day) = (Day(20_454), Day(20_485));

vocabulary! {
    /// The law that grounds and periods follow.
    pub enum Profile {
        /// Korea: Personal Information Protection Act.
        KrPipa = 1, "kr-pipa";
        /// European Union: General Data Protection Regulation.
        EuGdpr = 2, "eu-gdpr";
    }
}

vocabulary! {
    /// The classes of what there is to keep.
    pub enum RetentionClass {
        /// Raw bodies and raw ids.
        RawInput = 1, "c1";
        /// Sealed licence, packaging and session records.
        Records = 2, "c2";
        /// Pseudonym sets of the tallies.
        Sets = 3, "c3";
        /// Signed statements and the figures behind them.
        Statements = 4, "c4";
        /// Disputes and complaints.
        Disputes = 5, "c5";
        /// Who did what here.
        AccessLog = 6, "c6";
        /// Watermark detections.
        Detections = 7, "c7";
        /// Processing records, the ledger, certificates.
        Proofs = 8, "c8";
        /// Rejected input.
        Rejects = 9, "c9";
    }
}

impl From<Class> for RetentionClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Records => Self::Records,
            Class::Sets => Self::Sets,
            Class::Detections => Self::Detections,
        }
    }
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// In memory only, for as long as a request runs.
    Request,
    /// Days after the end of the epoch.
    Days(u32),
    /// Months after the end of the epoch.
    Months(u32),
    /// Years after the end of the epoch.
    Years(u32),
    /// Years that it is kept at least; nothing in it identifies anybody, so nothing ends it.
    YearsAtLeast(u32),
    /// Until the month's figures are final and this many days for objections have passed, but not
    /// longer than [`SETS_MONTHS_MAX`].
    Objection(u32),
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request => f.write_str("the request"),
            Self::Days(days) => write!(f, "{days} days"),
            Self::Months(months) => write!(f, "{months} months"),
            Self::Years(years) => write!(f, "{years} years"),
            Self::YearsAtLeast(years) => write!(f, "at least {years} years"),
            Self::Objection(days) => {
                write!(f, "final + {days} days, at most {SETS_MONTHS_MAX} months")
            }
        }
    }
}

/// What is kept and destroyed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochLength {
    /// Nothing is kept.
    None,
    /// A month of the site; a UTC day where the site keeps its records for a shorter period.
    MonthOrDay,
    /// A UTC day.
    Day,
    /// A month.
    Month,
    /// A single case or statement.
    Each,
}

impl EpochLength {
    /// As a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MonthOrDay => "month or day",
            Self::Day => "day",
            Self::Month => "month",
            Self::Each => "each",
        }
    }
}

/// The rule of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The class.
    pub class: RetentionClass,
    /// What is in it.
    pub content: &'static str,
    /// How long it is kept.
    pub period: Period,
    /// The legal ground of the period.
    pub ground: &'static str,
    /// What is kept and destroyed together.
    pub epoch: EpochLength,
}

/// Why a policy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file.
    #[error("the retention policy file cannot be read; check [retention] policy")]
    File,
    /// The form of the file.
    #[error(
        "the retention policy is not a JSON object with profile, published, effective, material \
         and periods; compare it with docs/OPERATING.md"
    )]
    Form,
    /// Another profile than the configuration's.
    #[error("the retention policy is of another profile than [retention] profile")]
    Profile,
    /// Another profile than the one in force, without notice.
    #[error(
        "[retention] profile is not {0}, which is in force; a change of it needs a policy file \
         with the new profile, \"material\": true and {MATERIAL_NOTICE_DAYS} days of notice, or \
         set it back"
    )]
    ProfileChange(Profile),
    /// The policy in force by the ledger is nowhere to be found.
    #[error(
        "the ledger says that the retention policy {0} is in force, and it is neither in the data \
         nor in the file of [retention] policy; name its file there: the start takes it up at once"
    )]
    Lost(Digest),
    /// A period out of its range.
    #[error(
        "a period of the retention policy is out of range: c2_months and c7_months go from 1 to \
         {MONTHS_MAX}, c3_objection_days from 0 to {OBJECTION_DAYS_MAX}"
    )]
    Range,
    /// Too little notice.
    #[error(
        "the retention policy takes effect {given} days after its publication, and needs {needed} \
         days of notice; set a later effective date"
    )]
    Notice {
        /// Days between the two dates.
        given: i64,
        /// Days that are needed.
        needed: u32,
    },
    /// A longer period is a change of rights.
    #[error(
        "the retention policy keeps something longer than before, which is a material change; say \
         \"material\": true and give {MATERIAL_NOTICE_DAYS} days of notice"
    )]
    Material,
    /// A record type without a class.
    #[error("records of type {0} have no retention rule, so the server does not start")]
    Type(RecordType),
    /// A table without a class.
    #[error("table {0} has no retention rule, so the server does not start")]
    Table(&'static str),
    /// Rows of the default table without a class.
    #[error("rows {0} of the default table have no retention rule, so the server does not start")]
    Row(&'static str),
    /// A row of the desk that this program does not know.
    #[error(
        "the retention desk has a row of a kind without a retention rule; start the program that \
         wrote it"
    )]
    DeskRow,
    /// Rows whose rule nobody carries out, or that somebody ends against their rule.
    #[error("nobody ends rows {0} as their rule says, so the server does not start")]
    Endless(&'static str),
    /// A class without a rule.
    #[error("retention class {0} has no rule, so the server does not start")]
    Class(RetentionClass),
    /// The accepted age is longer than what is counted is kept.
    #[error(
        "[limits] age_days is longer than pseudonym sets may be kept; set it to 180 days or less"
    )]
    Age,
}

/// A policy in force, or to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its profile.
    pub profile: Profile,
    /// When it was published.
    pub published: Day,
    /// From when on it holds at the earliest.
    pub effective: Day,
    /// How long before it takes effect it must be known, days.
    pub notice_days: u32,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// The SHA-256 of its text.
    pub digest: [u8; 32],
    /// Its text: what is kept of it, so that a later build keeps to it.
    pub doc: PolicyDoc,
}

impl Policy {
    /// The policy of a profile. Its digest is of its dates and periods and of no other text, so
    /// that a better word for what a class holds is no other policy.
    pub fn of(profile: Profile) -> Self {
        let rules = rules_of(profile);
        let mut periods = PeriodsDoc::default();
        for rule in &rules {
            match (rule.class, rule.period) {
                (RetentionClass::Records, Period::Months(months)) => {
                    periods.c2_months = Some(months);
                }
                (RetentionClass::Detections, Period::Months(months)) => {
                    periods.c7_months = Some(months);
                }
                (RetentionClass::Sets, Period::Objection(days)) => {
                    periods.c3_objection_days = Some(days);
                }
                _ => {}
            }
        }
        // 1 January and 1 February 2026: the dates of the two built-in texts.
        let (published, effective) = BUILT_IN;
        let profile_name = profile.name().to_owned();
        let doc =
            PolicyDoc { profile: profile_name, published, effective, material: false, periods };
        Self::over(profile, rules, doc)
    }

    /// Reads a policy of this profile that changes `before`. Another profile than before is
    /// another law, which is a material change.
    ///
    /// # Errors
    /// When it has another form or profile, too little notice, or hides that it is a material
    /// change.
    pub fn read(text: &[u8], before: &Self, profile: Profile) -> Result<Self, PolicyError> {
        let doc = PolicyDoc::parse(text).map_err(|_| PolicyError::Form)?;
        let needed = notice_of(&doc);
        let given = i64::from(doc.effective.0) - i64::from(doc.published.0);
        if given < i64::from(needed) {
            return Err(PolicyError::Notice { given, needed });
        }
        let policy = Self::said_by(doc)?;
        if policy.profile != profile {
            return Err(PolicyError::Profile);
        }
        let longer = |rule: &Rule| {
            before.rule(rule.class).is_some_and(|old| days_of(rule.period) > days_of(old.period))
        };
        let material = policy.doc.material;
        if !material && profile != before.profile {
            return Err(PolicyError::ProfileChange(before.profile));
        }
        if !material && policy.rules.iter().any(longer) {
            return Err(PolicyError::Material);
        }
        Ok(policy)
    }

    /// Reads a policy that is in force already.
    ///
    /// # Errors
    /// When it has another form.
    pub fn kept(text: &[u8]) -> Result<Self, PolicyError> {
        Self::said_by(PolicyDoc::parse(text).map_err(|_| PolicyError::Form)?)
    }

    fn said_by(doc: PolicyDoc) -> Result<Self, PolicyError> {
        let profile = Profile::from_name(doc.profile.as_bytes()).ok_or(PolicyError::Profile)?;
        let mut rules = rules_of(profile);
        change(&mut rules, &doc.periods)?;
        Ok(Self::over(profile, rules, doc))
    }

    fn over(profile: Profile, rules: Vec<Rule>, doc: PolicyDoc) -> Self {
        Self {
            profile,
            published: doc.published,
            effective: doc.effective,
            notice_days: notice_of(&doc),
            rules,
            digest: sha256(&[&doc.to_bytes()]),
            doc,
        }
    }

    /// The rule of a class.
    pub fn rule(&self, class: RetentionClass) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.class == class)
    }

    /// The months of a class's period, where it is one of months.
    pub(super) fn months(&self, class: RetentionClass) -> u32 {
        match self.rule(class).map(|rule| rule.period) {
            Some(Period::Months(months)) => months,
            // A class of records always has months: `check` has seen to it.
            _ => 0,
        }
    }

    /// The years of a class's period, in months, where it ends after years.
    pub(super) fn years_as_months(&self, class: RetentionClass) -> Option<u32> {
        match self.rule(class).map(|rule| rule.period) {
            Some(Period::Years(years)) => Some(years.saturating_mul(12)),
            _ => None,
        }
    }

    /// The days of a class's period, where it is one of days.
    pub(super) fn days(&self, class: RetentionClass) -> Option<u32> {
        match self.rule(class).map(|rule| rule.period) {
            Some(Period::Days(days)) => Some(days),
            _ => None,
        }
    }

    /// The days of the objection window.
    pub(super) fn objection_days(&self) -> u32 {
        match self.rule(RetentionClass::Sets).map(|rule| rule.period) {
            Some(Period::Objection(days)) => days,
            _ => 0,
        }
    }

    /// Everything that can be kept has a rule.
    ///
    /// # Errors
    /// What has none; the server must not start then.
    pub fn check(&self, age_ms: i64) -> Result<(), PolicyError> {
        /// Six months have no fewer days.
        const AGE_MS_MAX: i64 = 180 * crate::model::time::DAY_MS;
        if age_ms > AGE_MS_MAX {
            return Err(PolicyError::Age);
        }
        inventory::covered(&self.rules, inventory::HERE)
    }
}

const fn notice_of(doc: &PolicyDoc) -> u32 {
    if doc.material { MATERIAL_NOTICE_DAYS } else { NOTICE_DAYS }
}

fn change(rules: &mut [Rule], periods: &PeriodsDoc) -> Result<(), PolicyError> {
    let months = |months: u32| {
        let fits = (1..=MONTHS_MAX).contains(&months);
        if fits { Ok(Period::Months(months)) } else { Err(PolicyError::Range) }
    };
    let objection = |days: u32| {
        let fits = days <= OBJECTION_DAYS_MAX;
        if fits { Ok(Period::Objection(days)) } else { Err(PolicyError::Range) }
    };
    let said = [
        (RetentionClass::Records, periods.c2_months.map(months)),
        (RetentionClass::Detections, periods.c7_months.map(months)),
        (RetentionClass::Sets, periods.c3_objection_days.map(objection)),
    ];
    for (class, period) in said {
        let Some(period) = period.transpose()? else { continue };
        if let Some(rule) = rules.iter_mut().find(|rule| rule.class == class) {
            rule.period = period;
        }
    }
    Ok(())
}

/// For comparison only.
fn days_of(period: Period) -> u32 {
    match period {
        Period::Request => 0,
        Period::Days(days) | Period::Objection(days) => days,
        Period::Months(months) => months.saturating_mul(31),
        Period::Years(years) | Period::YearsAtLeast(years) => years.saturating_mul(366),
    }
}

fn rules_of(profile: Profile) -> Vec<Rule> {
    let rule = |class: RetentionClass, period, epoch, [pipa, gdpr]: [&'static str; 2]| {
        let ground = match profile {
            Profile::KrPipa => pipa,
            Profile::EuGdpr => gdpr,
        };
        Rule { class, content: content_of(class), period, ground, epoch }
    };
    let access_log = match profile {
        Profile::KrPipa => Period::Years(2),
        Profile::EuGdpr => Period::Years(1),
    };
    let contract = [
        "contract; charging disputes until six months after the month (PIPA Art. 15, 21)",
        "contract, and claims from it (GDPR Art. 6(1)(b), (f); Art. 5(1)(e))",
    ];
    use {EpochLength as E, RetentionClass as C};
    vec![
        rule(C::RawInput, Period::Request, E::None, ["PIPA Art. 16", "GDPR Art. 5(1)(c)"]),
        rule(C::Records, Period::Months(6), E::MonthOrDay, contract),
        rule(C::Sets, Period::Objection(60), E::Month, contract),
        rule(
            C::Statements,
            Period::Years(5),
            E::Each,
            [
                "Framework Act on National Taxes Art. 85-3; E-Commerce Act Art. 6",
                "tax and commercial law of the controller's member state (GDPR Art. 6(1)(c))",
            ],
        ),
        rule(
            C::Disputes,
            Period::Years(3),
            E::Each,
            [
                "E-Commerce Act Art. 6",
                "establishment and defense of legal claims (GDPR Art. 17(3)(e))",
            ],
        ),
        rule(
            C::AccessLog,
            access_log,
            E::Month,
            [
                "Standard of Measures for Securing Personal Information Art. 8",
                "security of processing (GDPR Art. 32)",
            ],
        ),
        rule(C::Detections, Period::Months(6), E::MonthOrDay, contract),
        rule(
            C::Proofs,
            Period::YearsAtLeast(3),
            E::Each,
            [
                "PIPA Art. 28-4(3), from the destruction on",
                "accountability (GDPR Art. 5(2), 30), from the destruction on",
            ],
        ),
        rule(C::Rejects, Period::Days(30), E::Day, ["PIPA Art. 29", "GDPR Art. 5(1)(c)"]),
    ]
}

const fn content_of(class: RetentionClass) -> &'static str {
    match class {
        RetentionClass::RawInput => "raw bodies and raw ids",
        RetentionClass::Records => "sealed licence, packaging and session records",
        RetentionClass::Sets => "pseudonym sets of users, devices and sessions",
        RetentionClass::Statements => "signed statements, the figures behind them, their sites",
        RetentionClass::Disputes => "disputes and complaints: holds",
        RetentionClass::AccessLog => "tokens, and how often who used which route, by day",
        RetentionClass::Detections => "sealed watermark detections",
        RetentionClass::Proofs => "ledger, certificates, what was destroyed",
        // Of the input nothing is kept; reasons are counted with what arrived (decision 0023).
        RetentionClass::Rejects => {
            "rejected input: none is kept; why, counted by hour and producer"
        }
    }
}
