//! Backups while batches come in, and random steps with backups, restores and destructions between.

use super::*;

#[test]
fn batches_that_come_meanwhile_are_in_it_as_a_whole_or_not_at_all() {
    let mut world = World::new(settings(false));
    let row = |event: u16| Row {
        site: 0,
        event,
        user: 1 + event % 400,
        device: 0,
        drm: 0,
        effect: 0,
        hours_ago: 1,
    };
    let at = START - HOUR;
    let batches: Vec<Vec<(Row, i64)>> =
        (0..300).map(|part| (0..3).map(|n| (row(part * 3 + n), at)).collect()).collect();
    let made: Vec<Batch> = batches.iter().map(|rows| world.batch(rows)).collect();
    let (before, after, kept) = copied_under_load(&world, made);
    world.restore(&kept, &Replay::default());
    let month = Timestamp(at).day().month();
    let usage = world.engine().usage(&site_id(0), month).unwrap().unwrap();
    let there = usage.tally.counters.records as usize;
    assert!(
        there.is_multiple_of(3) && before <= there / 3 && there / 3 <= after,
        "{before} {there} {after}"
    );
    // A kept answer is there if and only if its batch is: else it would hide the loss.
    for number in 0..300usize {
        let key = crate::crypto::digest(&(number as u64).to_be_bytes());
        let answer = world.engine().kept_answer(&[1; 32], &key).unwrap();
        assert_eq!(answer.is_some(), number < there / 3, "{number}");
    }
    // What was lost comes again, and all counts once.
    for rows in &batches {
        let batch = world.batch(rows);
        world.runtime.block_on(world.engine().commit(batch, Vec::new(), None)).unwrap();
    }
    let usage = world.engine().usage(&site_id(0), month).unwrap().unwrap();
    assert_eq!((usage.tally.counters.records, usage.tally.counters.mau), (900, 400));
    assert_eq!(usage.tally.counters.duplicates as usize, there);
    world.close();
}

/// Sends batches, each with an answer that is kept, and makes a backup meanwhile; how many batches
/// were answered before it, and at most when it was made.
fn copied_under_load(world: &World, made: Vec<Batch>) -> (usize, usize, Kept) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let engine = world.engine().clone();
    let answer = |number: u64| Answer {
        scope: [1; 32],
        key: crate::crypto::digest(&number.to_be_bytes()),
        body_digest: [3; 32],
        render: Box::new(|outcome| Some(outcome.receipt.clone().into_bytes())),
    };
    runtime.block_on(async {
        let counted = Arc::clone(&answered);
        let sender = engine.clone();
        let sending = tokio::spawn(async move {
            for (number, batch) in made.into_iter().enumerate() {
                // A disk that is slow for a moment lets batches wait, and one more is refused.
                loop {
                    let answer = Some(answer(number as u64));
                    match sender.commit(batch.clone(), Vec::new(), answer).await {
                        Err(EngineError::Busy) => sender.fold().await.unwrap(),
                        done => break drop(done.unwrap()),
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        while answered.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        let before = answered.load(Ordering::SeqCst);
        let copy = engine.copy_data(1, KNOWN).await.unwrap();
        let after = answered.load(Ordering::SeqCst) + 1;
        let path = world.dir.path().join("backup");
        copy_all(&copy.path, &path);
        engine.drop_copy().await.unwrap();
        sending.await.unwrap();
        (before, after, Kept { path, copy, model: Model::default() })
    })
}

#[derive(Clone, Debug)]
enum Step {
    Plain(Op),
    BackUp,
    Restore,
    Destroy(u64),
    /// Something is written into the access log.
    Note(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => op().prop_map(Step::Plain),
        2 => Just(Step::BackUp),
        2 => Just(Step::Restore),
        2 => any::<u64>().prop_map(Step::Destroy),
        2 => (0u8..4).prop_map(Step::Note),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn engine_with_backups_equals_model(
        spill in any::<bool>(), steps in proptest::collection::vec(step(), 1..24),
    ) {
        with_backups(steps, spill);
    }
}

fn with_backups(steps: impl IntoIterator<Item = Step>, spill: bool) {
    let mut world = World::new(settings(spill));
    let mut kept = world.back_up("backup 0");
    let (mut destroyed, mut lost): (Vec<Named>, Vec<Lot>) = (Vec::new(), Vec::new());
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Plain(op) => world.run(op),
            Step::Note(at) => world.note(at),
            Step::BackUp => kept = world.back_up(&format!("backup {}", number + 1)),
            Step::Restore => {
                world.restore(&kept, &replay_of(destroyed.clone()));
                world.lose(&lost);
                world.check();
                world.take_over();
            }
            Step::Destroy(seed) => {
                world.fold_now();
                let lots = world.some_lots(seed);
                if !lots.is_empty() {
                    destroyed.extend(lots.iter().map(|lot| named(&world, lot)));
                    world.destroyed(&lots);
                    lost.extend(lots);
                }
            }
        }
        world.check();
        world.check_log();
    }
    world.check_blocks();
    world.close();
}

#[test]
fn what_failed_once_is_tried_as_it_was() {
    for case in cases::of("tests/destroy/backup.txt") {
        let step = |word: &cases::Word| match (word.name.as_str(), &word.parts[..]) {
            ("Plain", [op]) => Step::Plain(op.op()),
            ("BackUp", []) => Step::BackUp,
            ("Restore", []) => Step::Restore,
            ("Destroy", [seed]) => Step::Destroy(seed.is()),
            _ => panic!("{word:?}"),
        };
        with_backups(case.steps.iter().map(step), case.tight);
    }
}
