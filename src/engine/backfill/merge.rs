//! Small requests of a backfill become larger batches before its close, since the writer does for
//! each batch what it does for a month or a day, however few rows it has.

use crate::model::batch::Batch;
use crate::store::backfill::Staged;
use crate::store::shapes::DetailsWriter;

/// Most rows of a batch that is put together.
const ROWS_MAX: usize = 8_192;
/// Most bytes of the values of such a batch.
const BYTES_MAX: usize = 8 << 20;

/// Requests that are put together, in their order.
#[derive(Default)]
pub struct Merge {
    done: Vec<Staged>,
    open: Option<(Staged, DetailsWriter)>,
}

impl Merge {
    /// Adds the next request.
    pub fn push(&mut self, load: Staged) {
        if self.open.as_ref().is_some_and(|(open, _)| !fits(open, &load)) {
            self.cut();
        }
        let Some((open, writer)) = &mut self.open else {
            return self.begin(load);
        };
        let Staged { batch, marks } = load;
        writer.copy(&batch.details);
        add(&mut open.batch, batch);
        open.marks.extend(marks);
    }

    /// All of them.
    pub fn end(mut self) -> Vec<Staged> {
        self.cut();
        self.done
    }

    /// Those that are large stay as they are.
    fn begin(&mut self, load: Staged) {
        if load.marks.len() > ROWS_MAX / 2 {
            self.done.push(load);
            return;
        }
        let mut writer = DetailsWriter::with_capacity(load.marks.len());
        writer.copy(&load.batch.details);
        self.open = Some((load, writer));
    }

    fn cut(&mut self) {
        if let Some((mut open, writer)) = self.open.take() {
            open.batch.details = writer.finish();
            self.done.push(open);
        }
    }
}

/// Whether a request can become a part of these: it is of the same credential, small enough, and
/// says the same of the months.
fn fits(Staged { batch: open, marks }: &Staged, load: &Staged) -> bool {
    let next = &load.batch;
    let (left, right) = (&open.arrival, &next.arrival);
    let credential = |batch: &Batch| {
        let first = batch.arrival.senders.first();
        first.map(|(sender, _)| sender.credential.clone())
    };
    let agrees = |(place, at): (usize, _)| {
        let known = open.months.iter().position(|known| known == at);
        known.is_none_or(|known| open.group_of(known) == next.group_of(place))
    };
    left.lists_names == right.lists_names
        && credential(open) == credential(next)
        && marks.len() + load.marks.len() <= ROWS_MAX
        && open.details.values.len() + next.details.values.len() <= BYTES_MAX
        && next.months.iter().enumerate().all(agrees)
}

/// Adds everything but the details.
fn add(open: &mut Batch, next: Batch) {
    let before = open.claims.len();
    let mut months = Vec::with_capacity(next.months.len());
    for (place, at) in next.months.iter().enumerate() {
        let month = open.month_index(*at).unwrap_or_default();
        if let Some(group) = next.group_of(place) {
            open.set_group(month, group);
        }
        months.push(month);
    }
    let day = |day: &_| open.day_index(*day).unwrap_or_default();
    let days: Vec<u16> = next.days.iter().map(day).collect();
    let place = |list: &[u16], at: u16| list.get(usize::from(at)).copied().unwrap_or_default();
    let mut senders = Vec::with_capacity(next.arrival.senders.len());
    for (sender, received) in next.arrival.senders {
        let list = &mut open.arrival.senders;
        let known = list.iter().position(|(known, _)| *known == sender);
        let at = known.unwrap_or(list.len());
        match list.get_mut(at) {
            Some((_, sum)) => sum.add(&received),
            None => list.push((sender, received)),
        }
        senders.push(u16::try_from(at).unwrap_or(u16::MAX));
    }
    for (row, mut claim) in next.claims.into_iter().enumerate() {
        (claim.month, claim.day) = (place(&months, claim.month), place(&days, claim.day));
        let sender = next.arrival.sender_of.get(row).copied().unwrap_or_default();
        open.arrival.row(place(&senders, sender), before + row);
        open.claims.push(claim);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::arrival::{Credential, Received, Sender};
    use crate::model::reason::Reason;
    use crate::store::batch::tests::batch;

    type Row = (String, Vec<u8>, Vec<(u8, Vec<u8>)>, Vec<u8>, [u8; 16]);

    /// Each row with everything that it has, whatever its batch has together; and what was refused.
    fn content(loads: &[Staged]) -> (Vec<Row>, BTreeMap<Sender, u64>) {
        let (mut rows, mut refused) = (Vec::new(), BTreeMap::new());
        for Staged { batch, marks } in loads {
            let words: Vec<_> =
                batch.details.words().map(|(field, text)| (field, text.to_vec())).collect();
            for (sender, received) in &batch.arrival.senders {
                let sum: u64 = received.rejected.iter().sum();
                *refused.entry(sender.clone()).or_default() += sum;
            }
            let details = batch.details.rows();
            for (row, (claim, (shape, numbers, values))) in
                batch.claims.iter().zip(details).enumerate()
            {
                let month = usize::from(claim.month);
                let sender = batch.arrival.sender_of.get(row).map_or(0, |at| usize::from(*at));
                let bare = crate::model::batch::Claim { month: 0, day: 0, ..*claim };
                let names = (
                    batch.months[month],
                    batch.group_of(month).filter(|_| claim.group.is_some()),
                    batch.days[usize::from(claim.day)],
                    batch.arrival.senders[sender].0.clone(),
                    batch.arrival.lists_names,
                );
                rows.push((
                    format!("{bare:?} {names:?}"),
                    batch.details.shapes[shape as usize].to_vec(),
                    numbers.iter().map(|number| words[*number as usize].clone()).collect(),
                    values.to_vec(),
                    marks[row],
                ));
            }
        }
        (rows, refused)
    }

    prop_compose! {
        fn load()(
            (mut batch, _) in batch(), lists_names in any::<bool>(), credential in 0..2u8,
            names in proptest::collection::vec(0..3u8, 2),
            marks in proptest::collection::vec(any::<[u8; 16]>(), 30),
            flags in proptest::collection::vec((any::<bool>(), 0..2u16), 30),
        ) -> Staged {
            let producer = format!("c{credential}").into_boxed_str();
            let credential = Arc::new(Credential { producer, sites: "*".into() });
            let sender = |name: &u8| {
                let credential = Arc::clone(&credential);
                let mut received = Received::default();
                received.reject(Reason::BadTime, u64::from(*name));
                (Sender { credential, producer: format!("p{name}").into() }, received)
            };
            batch.arrival.senders = names.iter().map(sender).collect();
            batch.arrival.lists_names = lists_names;
            for (row, (suppressed, sender)) in flags.iter().enumerate().take(batch.claims.len()) {
                batch.claims[row].suppressed = *suppressed;
                batch.arrival.row(*sender, row);
            }
            let marks = marks[..batch.claims.len()].to_vec();
            Staged { batch, marks }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn nothing_of_a_row_changes(loads in proptest::collection::vec(load(), 0..7)) {
            let wanted = content(&loads);
            let mut merge = Merge::default();
            loads.into_iter().for_each(|load| merge.push(load));
            prop_assert_eq!(content(&merge.end()), wanted);
        }

        #[test]
        fn alike_requests_become_one(one in load(), times in 2..4usize) {
            let mut merge = Merge::default();
            (0..times).for_each(|_| merge.push(one.clone()));
            let merged = merge.end();
            prop_assert_eq!(merged.len(), 1);
            prop_assert_eq!(merged[0].batch.details.words.len(), one.batch.details.words.len());
        }
    }
}
