//! Random histories of the model: what anybody still reads is never removable, and what nobody reads is.

use std::cell::Cell;
use std::collections::BTreeSet;

use csm_core::wal::NotArchived;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::consumers::Reads;
use super::dice::{Dice, numbers as rolls};
use super::model::{Archive, File, Model};
use super::*;

/// Histories that are looked at in every run of the tests.
const CASES: u32 = 100_000;

/// How many histories came to what, by the names in [`AT_LEAST`].
struct Tally([Cell<u32>; AT_LEAST.len()]);

impl Tally {
    fn count(&self, name: &str) {
        let cells = AT_LEAST.iter().zip(&self.0).filter(|((known, _), _)| *known == name);
        cells.for_each(|(_, cell)| cell.set(cell.get() + 1));
    }
}

/// A part of the evidence gets lost.
fn lose_a_part(evidence: &mut Evidence, dice: &mut Dice<'_>) {
    match dice.below(11) {
        0 => evidence.timeline = None,
        1 => evidence.position = None,
        2 => evidence.checkpoint = None,
        3 => evidence.slots = None,
        4 => evidence.standbys = None,
        5 => evidence.wal_keep_size = None,
        6 => evidence.base_backups = None,
        7 => evidence.summaries = None,
        8 => evidence.archiving = None,
        9 => evidence.directory = None,
        _ => {
            let listed = evidence.directory.as_ref().unwrap();
            let names: Vec<_> = listed.segments().map(|s| s.to_string()).collect();
            evidence.directory = Some(Directory::new(listed.segment_size(), names));
            evidence.archiving = Some(Archiving::Own);
        }
    }
}

fn one_history(rolls: &[u32], tally: &Tally) -> Result<(), TestCaseError> {
    let mut dice = Dice::new(rolls);
    let rules = Rules {
        retain_count: u32::try_from(dice.pick(&[0, 1, 5])).unwrap(),
        require_archived: !dice.rarely(4),
    };
    let (settles, loses, meanwhile) = (!dice.rarely(4), dice.rarely(32), dice.pick(&[0, 0, 3, 12]));
    let mut model = Model::new(&mut dice);
    for _ in 0..10 + dice.below(60) {
        model.step(&mut dice);
        if dice.is_used_up() {
            break;
        }
    }
    if settles {
        model.settle(&mut dice);
    }
    model.give_up_what_is_not_promised();
    let mut evidence = model.evidence(&mut dice);
    if loses {
        lose_a_part(&mut evidence, &mut dice);
        prop_assert!(matches!(prove(&evidence, rules), Err(Refusal::Missing(_))));
        return Ok(());
    }
    let proof = match prove(&evidence, rules) {
        Ok(proof) => proof,
        Err(refusal) => {
            tally.count(refusal.as_str());
            return Ok(());
        }
    };
    tally.count("proved");
    if !proof.removable().is_empty() {
        tally.count("removable");
        tally.count(proof.decided_by().holder.as_str());
    }
    prop_assert!(model.archive != Archive::Off || !rules.require_archived);
    is_consistent(&model, &proof, rules)?;
    if let Some(unneeded) = unneeded(&model, &evidence, rules) {
        tally.count("plain");
        if !unneeded.is_empty() {
            tally.count("plain and removable");
        }
        let removable: Vec<File> = proof.removable().iter().map(|s| (s.timeline().get(), s.number())).collect();
        prop_assert_eq!(removable, unneeded, "{:?} {:?}", proof, model);
    }
    nobody_misses_what_is_removed(&model, &proof)?;
    // Time goes by between the evidence and the removal.
    let changed = model.archiving() == Archiving::Off;
    for _ in 0..meanwhile {
        model.step(&mut dice);
    }
    let elsewhere = matches!(evidence.archiving, Some(Archiving::Elsewhere { .. }));
    let promoted = elsewhere && model.archive == Archive::Own || model.timeline() != proof.cutoff().timeline().get();
    match proof.is_archived(&model.directory(), model.archiving()) {
        Err(NotArchived::ArchivingChanged) => prop_assert!(promoted),
        answer => prop_assert!(changed || answer.is_ok(), "{:?} {:?} {:?}", answer, proof, model),
    }
    nobody_misses_what_is_removed(&model, &proof)
}

/// What must hold of any proof.
fn is_consistent(model: &Model, proof: &Proof, rules: Rules) -> Result<(), TestCaseError> {
    let last = model.number(model.end);
    for segment in proof.removable() {
        let file = (segment.timeline().get(), segment.number());
        prop_assert!(model.files.contains(&file) && file.0 == model.timeline() && file.1 < last);
        prop_assert!(model.archive == Archive::Off || model.stored.contains(&file));
    }
    prop_assert!(proof.removable().is_sorted());
    prop_assert_eq!(proof.bytes().get(), proof.removable().len() as u64 * model.size.bytes().get());
    prop_assert!(proof.kept_by().iter().all(|bound| bound.segment >= proof.cutoff()));
    let completed = model.files.iter().filter(|file| file.0 == model.timeline() && file.1 < last);
    let stays = completed.filter(|file| file.1 >= proof.cutoff().number()).count();
    let all = proof.removable().len() + stays;
    prop_assert!(stays >= all.min(rules.retain_count as usize));

    // The dry run lists just what is removable.
    let lines = model.archivecleanup(&proof.cutoff().to_string());
    let agreed = proof.agrees(&lines.join("\n"), &model.directory());
    prop_assert_eq!(agreed.as_deref(), Ok(proof.removable()), "{:?} {:?}", proof, model);
    Ok(())
}

/// What nobody reads, up to the first file that anybody does; none where somebody's needs are not known to the one who asks.
fn unneeded(model: &Model, evidence: &Evidence, rules: Rules) -> Option<Vec<File>> {
    let redo = model.redo.0;
    let saved = |name: &str| {
        let before = model.before.as_ref()?;
        before.slots.iter().find(|(other, _)| other == name && before.end <= redo)?.1
    };
    let known =
        |s: &&model::ModelSlot| s.lost || s.restart.is_none() || (s.restart == s.saved && s.restart == saved(&s.name)) || s.temporary;
    let all_known = model.slots.iter().filter(known).count() == model.slots.len();
    let used_lost = model.slots.iter().any(|s| s.lost && s.active);
    if !all_known || used_lost || model.followers.iter().any(|f| !f.connected || f.silent) {
        return None;
    }
    let mut read: BTreeSet<File> = BTreeSet::new();
    for (_, reads) in model.readers() {
        match reads {
            Reads::Through(files) => read.extend(files),
            Reads::StopsAt(_) => return None,
        }
    }
    let current = model.timeline();
    let last = model.number(model.end);
    let completed = |file: &&File| file.0 == current && file.1 < last;
    read.extend(model.files.iter().rev().filter(completed).take(rules.retain_count as usize));
    // A mark can be missing or waiting where the archive has the segment already.
    if let Some(directory) = evidence.directory.as_ref().filter(|_| model.archive != Archive::Off) {
        let unmarked = |file: &&File| directory.mark(&model.segment(**file)) != csm_core::wal::Mark::Done;
        read.extend(model.files.iter().filter(unmarked));
    }
    let by_number: BTreeSet<(u64, u32)> = model.files.iter().map(|file| (file.1, file.0)).collect();
    let partial = model.partials.iter().map(|file| file.1).min().unwrap_or(u64::MAX);
    let free = |file: &File| file.0 == current && file.1 < last && file.1 < partial && !read.contains(file);
    Some(by_number.into_iter().map(|(number, id)| (id, number)).take_while(free).collect())
}

/// `pg_archivecleanup` runs, and everybody reads on, also after a crash: who could get to the end before still can.
fn nobody_misses_what_is_removed(model: &Model, proof: &Proof) -> Result<(), TestCaseError> {
    let removed: BTreeSet<String> = model.archivecleanup(&proof.cutoff().to_string()).into_iter().collect();
    let name = |file: &File| model.segment(*file).to_string();
    let gone: BTreeSet<File> = model.files.iter().filter(|file| removed.contains(&name(file))).copied().collect();
    prop_assert_eq!(gone.len(), removed.len(), "something else than segments: {:?}", removed);
    for (reader, reads) in model.readers() {
        if let Reads::Through(files) = reads {
            let missed = files.intersection(&gone).next();
            prop_assert_eq!(missed, None, "{} reads it: {:?} {:?}", reader, proof, model);
        }
    }
    Ok(())
}

/// How many of 1000 histories come to what, at least, lest they all end in a refusal: a bit more than half of what was measured.
/// Files of other timelines, and partial ones, come before all others and leave nothing.
const AT_LEAST: [(&str, u32); 20] = [
    ("proved", 400),
    ("removable", 200),
    ("plain", 300),
    ("plain and removable", 200),
    // What decided where something is removable.
    ("Archive", 80),
    ("ArchiveElsewhere", 2),
    ("Slot", 25),
    ("Standby", 10),
    ("WalKeepSize", 2),
    ("RetainCount", 40),
    ("Checkpoint", 12),
    // Refusals.
    ("BaseBackupRunning", 20),
    ("NotFollowing", 3),
    ("StandbyUnprotected", 50),
    ("StandbyPositionUnknown", 3),
    ("SlotWithoutPosition", 15),
    ("SlotNotSaved", 50),
    ("SummariesBehind", 4),
    ("ArchivingNotConfigured", 40),
    ("CheckpointOfAnotherTimeline", 25),
];

#[test]
fn nobody_needs_what_may_go_and_what_nobody_needs_may_go() {
    let config = ProptestConfig {
        cases: CASES,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let tally = Tally([const { Cell::new(0) }; AT_LEAST.len()]);
    let ran = TestRunner::new(config).run(&rolls(300), |rolls| one_history(&rolls, &tally));
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    for ((name, least), cell) in AT_LEAST.iter().zip(&tally.0) {
        let per_mille = cell.get() / (CASES / 1000);
        println!("{name}: {per_mille}");
        assert!(per_mille >= *least, "{name}: {per_mille} per mille");
    }
}
