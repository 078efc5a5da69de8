//! The plainest count of a list of records: sets and sums.

use super::*;

fn histogram(counts: impl IntoIterator<Item = usize>) -> Histogram {
    let mut histogram = Histogram::default();
    for count in counts {
        let range = (0..Histogram::RANGES).find(|range| {
            let (from, last) = Histogram::range(*range);
            (from as usize) <= count && last.is_none_or(|last| count <= last as usize)
        });
        histogram.0[range.unwrap()] += 1;
    }
    histogram
}

/// Which members go with which.
type Members = BTreeMap<u16, BTreeSet<u16>>;

pub fn compare(found: &Explained, rows: &[&Full]) {
    let effect = |row: &&&Full| Effect::of(&row.said(), COUNTING);
    let issued: Vec<&&Full> = rows.iter().filter(|row| effect(row) == Effect::Issued).collect();
    let active = |row: &&&Full| (row.user > 0 && !row.anonymous).then_some(row.user);
    assert_eq!(found.records_seen, rows.len() as u64);
    assert!(found.is_whole());
    let mut cells: BTreeMap<Cell, (u64, BTreeSet<(u8, u16)>, u64)> = BTreeMap::new();
    for row in rows {
        let part = cells.entry(row.cell).or_default();
        part.0 += 1;
        let device = row.device().or(row.devices.first().map(|(device, _)| *device));
        match (row.user, device) {
            (0, None) => part.2 += 1,
            (0, Some(device)) => drop(part.1.insert((1, device))),
            (user, _) => drop(part.1.insert((0, user))),
        }
    }
    let of = |cell: &Cell| {
        let part = &found.requests[cell];
        (part.records, part.subjects.len() as u64, part.nameless)
    };
    for (cell, (records, subjects, nameless)) in &cells {
        assert_eq!(of(cell), (*records, subjects.len().min(3) as u64, *nameless), "{cell:?}");
    }
    assert_eq!(found.requests.len(), cells.len());
    let mut licenses: BTreeMap<u16, usize> = BTreeMap::new();
    let (mut of_user, mut of_device) = (Members::new(), Members::new());
    for row in rows.iter().filter(|row| effect(row).is_countable()) {
        if let Some(user) = active(&row) {
            *licenses.entry(user).or_default() += usize::from(effect(&row) == Effect::Issued);
            of_user.entry(user).or_default();
        }
    }
    let mut device_licenses: BTreeMap<u16, u64> = BTreeMap::new();
    for row in &issued {
        if let Some(device) = row.device() {
            *device_licenses.entry(device).or_default() += 1;
            let users = of_device.entry(device).or_default();
            if let Some(user) = active(row) {
                users.insert(user);
                of_user.get_mut(&user).unwrap().insert(device);
            }
        }
    }
    assert_eq!(found.users, licenses.len() as u64);
    assert_eq!(found.licenses_per_user, histogram(licenses.values().copied()));
    assert_eq!(found.devices_per_user, histogram(of_user.values().map(BTreeSet::len)));
    assert_eq!(found.users_per_device, histogram(of_device.values().map(BTreeSet::len)));
    assert_eq!(found.devices, of_device.len() as u64);
    compare_devices(found, &issued);
    let share = |count: usize| issued.len() >= 20 && count * 20 > issued.len();
    let many = |user: &u16| of_user[user].len() > 3;
    let suspects: Vec<u16> =
        licenses.iter().filter(|(u, n)| many(u) || share(**n)).map(|(u, _)| *u).collect();
    assert_eq!(found.suspects.users, suspects.len() as u64);
    assert_eq!(found.suspects.users_by_devices, licenses.keys().filter(|u| many(u)).count() as u64);
    let by_share = licenses.values().filter(|n| share(**n)).count();
    assert_eq!(found.suspects.users_by_share, by_share as u64);
    let theirs: usize = suspects.iter().map(|user| licenses[user]).sum();
    assert_eq!(found.suspects.user_licenses, theirs as u64);
    let shared: Vec<_> = of_device.iter().filter(|(_, users)| users.len() > 2).collect();
    assert_eq!(found.suspects.devices, shared.len() as u64);
    let theirs: u64 = shared.iter().map(|(device, _)| device_licenses[device]).sum();
    assert_eq!(found.suspects.device_licenses, theirs);
}

fn compare_devices(found: &Explained, issued: &[&&Full]) {
    let mut ids = BTreeSet::new();
    let mut families: BTreeMap<u16, usize> = BTreeMap::new();
    let mut sessions: BTreeMap<u16, usize> = BTreeMap::new();
    let mut requests = BTreeSet::new();
    let mut by_quality: BTreeMap<Option<Quality>, u64> = BTreeMap::new();
    for row in issued {
        ids.extend(row.devices.iter().map(|(device, quality)| (*quality, *device)));
        if let Some(device) = row.device() {
            let family = match row.os {
                Some("Android") => Family::Android,
                Some("iOS") => Family::Ios,
                Some("Windows 11") => Family::Pc,
                _ => Family::Other,
            };
            let known = families.entry(device).or_insert(family as usize);
            *known = (*known).min(family as usize);
        }
        if row.session > 0 {
            *sessions.entry(row.session).or_default() += 1;
        }
        requests.extend(Some(row.request_id).filter(|id| *id > 0));
        let order = [
            Quality::Good,
            Quality::ChecksumFailed,
            Quality::Shared,
            Quality::Randomized,
            Quality::Junk,
        ];
        let best = order.into_iter().find(|best| row.devices.iter().any(|(_, of)| of == best));
        *by_quality.entry(best).or_default() += 1;
    }
    let of = |quality: &Quality| ids.iter().filter(|(known, _)| known == quality).count() as u64;
    assert_eq!(found.device_ids.to_vec(), Quality::ALL.iter().map(of).collect::<Vec<_>>());
    let of = |family: usize| families.values().filter(|known| **known == family).count() as u64;
    assert_eq!(found.devices_by_family.to_vec(), (0..4).map(of).collect::<Vec<_>>());
    assert_eq!(found.licenses_per_session, histogram(sessions.values().copied()));
    assert_eq!(found.session_licenses, sessions.values().sum::<usize>() as u64);
    assert_eq!(found.requests_distinct, requests.len() as u64);
    let with = issued.iter().filter(|row| row.request_id > 0).count();
    assert_eq!(found.request_licenses, with as u64);
    let parts = found.licenses_by_quality.iter().map(|(of, part)| (*of, part.records));
    assert_eq!(parts.collect::<BTreeMap<_, _>>(), by_quality);
}
