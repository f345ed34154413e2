use proptest::prelude::*;

use super::*;
use crate::store::MemoryStore;

fn stack() -> StackId {
    StackId::new("c1", "default", "quick-start").unwrap()
}

fn inventory() -> Inventory {
    Inventory::new(stack(), "stackctl.quick-start")
}

fn object(name: &str) -> ObjectId {
    ObjectId {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some("default".into()),
        name: name.into(),
    }
}

fn entry(seed: &str) -> Entry {
    let hash = |part: &str| Hash128::of(format!("{seed} {part}").as_bytes());
    Entry { uid: format!("uid-{seed}"), sent: hash("sent"), managed: hash("managed"), live: hash("live") }
}

fn run(id: &str, fencing: u64, open: &[(&str, Verb)]) -> Run {
    Run {
        id: id.into(),
        started_at: "2026-11-22T20:30:00Z".into(),
        fencing,
        open: open.iter().map(|(name, verb)| (object(name), *verb)).collect(),
    }
}

#[test]
fn a_run_begins_records_and_finishes() {
    let mut inventory = inventory();
    inventory.begin(run("r1", 1, &[("a", Verb::Create), ("b", Verb::Create), ("c", Verb::Update)])).unwrap();
    inventory.record(object("a"), entry("a"));
    inventory.settle(&object("c"));
    let error = inventory.clone().finish(1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "run r1 cannot finish: 1 objects are still open, first ConfigMap default/b (v1)"
    );
    inventory.record(object("b"), entry("b"));
    inventory.finish(1).unwrap();
    assert_eq!((inventory.revision(), inventory.unfinished()), (1, None));

    inventory.begin(run("r2", 2, &[("b", Verb::Delete)])).unwrap();
    assert_eq!(inventory.forget(&object("b")), Some(entry("b")));
    assert!(matches!(inventory.clone().finish(1), Err(InventoryError::Revision { .. })));
    inventory.finish(2).unwrap();
    assert_eq!(inventory.entries().keys().collect::<Vec<_>>(), [&object("a")]);
    assert!(matches!(inventory.finish(3), Err(InventoryError::NoRun)));
}

#[test]
fn what_a_killed_run_may_have_created_stays_known() {
    let mut inventory = inventory();
    inventory
        .begin(run("killed", 1, &[("a", Verb::Create), ("b", Verb::Create), ("c", Verb::Delete)]))
        .unwrap();
    inventory.record(object("a"), entry("a"));
    // Killed here. The next run has another program: it knows nothing of b, and updates c.
    inventory.begin(run("next", 2, &[("c", Verb::Update), ("d", Verb::Create)])).unwrap();
    let open = &inventory.unfinished().unwrap().open;
    assert_eq!(
        open.iter().map(|(object, verb)| (object.name.as_str(), *verb)).collect::<Vec<_>>(),
        [("b", Verb::Create), ("c", Verb::Update), ("d", Verb::Create)]
    );
}

#[test]
fn a_run_whose_lock_was_taken_over_cannot_begin() {
    let mut inventory = inventory();
    inventory.begin(run("new", 5, &[])).unwrap();
    inventory.finish(1).unwrap();
    let before = inventory.clone();
    let error = inventory.begin(run("old", 4, &[])).unwrap_err();
    assert!(matches!(error, InventoryError::Fenced { fencing: 4, seen: 5, .. }), "{error}");
    assert_eq!(inventory, before);
}

#[tokio::test]
async fn saving_over_another_writer_is_refused() {
    let store = MemoryStore::new();
    assert!(Inventory::load(&store, &stack()).await.unwrap().is_none());
    let mut ours = inventory();
    ours.save(&store, Expect::Absent).await.unwrap();
    let (mut theirs, version) = Inventory::load(&store, &stack()).await.unwrap().unwrap();
    theirs.record(object("a"), entry("a"));
    theirs.save(&store, Expect::Version(version.clone())).await.unwrap();
    ours.record(object("b"), entry("b"));
    let refused = ours.save(&store, Expect::Version(version)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }));
    assert_eq!(Inventory::load(&store, &stack()).await.unwrap().unwrap().0, theirs);
}

#[tokio::test]
async fn the_inventory_of_another_stack_is_refused() {
    let store = MemoryStore::new();
    let other = StackId::new("c2", "default", "quick-start").unwrap();
    store.put(&other.key(WHAT), inventory().encode().into(), Expect::Absent).await.unwrap();
    let error = Inventory::load(&store, &other).await.unwrap_err();
    assert!(matches!(error, InventoryError::OtherStack { .. }), "{error}");
}

/// The fixture is the stored form of exactly this inventory. It was written once and must never be written again.
#[test]
fn reads_version_1() {
    let mut expected = inventory();
    expected.record(object("srs-config"), entry("srs-config"));
    expected.record(object("http-config"), entry("http-config"));
    let namespace =
        ObjectId { kind: "Namespace".into(), namespace: None, name: "default".into(), ..object("") };
    expected.record(namespace, entry("default"));
    expected.begin(run("r1", 6, &[])).unwrap();
    expected.finish(41).unwrap();
    expected.begin(run("r2", 7, &[("srs-config", Verb::Update), ("new", Verb::Create)])).unwrap();
    let fixture = include_bytes!("../../tests/fixtures/inventory-v1.json.gz");
    assert_eq!(Inventory::decode(fixture).unwrap(), expected);
}

#[test]
fn a_newer_version_and_damage_are_told_apart() {
    let gz = |json: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, json.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let newer = Inventory::decode(&gz(r#"{"version":2,"shape":"unknown"}"#)).unwrap_err();
    assert_eq!(
        newer.to_string(),
        "the stored inventory has format version 2, this stackctl reads up to 1; \
         use the newer stackctl that wrote it"
    );
    let whole = inventory().encode();
    let twice = r#"{"version":1,"stack":{"cluster":"c","namespace":"n","name":"s"},"manager":"m","revision":1,
        "fencing":1,"objects":[],"unfinished":{"id":"r","startedAt":"","fencing":1,
        "open":[{"of":{"apiVersion":"v1","kind":"Pod"},"verb":"create","names":["a","a"]}]}}"#;
    for damaged in
        [&b""[..], b"text", &whole[..whole.len() - 9], &gz("{}"), &gz(r#"{"version":1}"#), &gz(twice)]
    {
        let error = Inventory::decode(damaged).unwrap_err();
        assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
    }
}

#[test]
fn ten_thousand_objects_stay_below_a_megabyte() {
    let mut inventory = inventory();
    let mut open = BTreeMap::new();
    for number in 0..10_000_u32 {
        let random = Hash128::of(&number.to_le_bytes()).to_string();
        let id = ObjectId {
            api_version: ["v1", "apps/v1"][number as usize % 2].into(),
            kind: ["ConfigMap", "Deployment", "Service", "StatefulSet"][number as usize % 4].into(),
            namespace: Some(format!("team-{}", number % 7)),
            name: format!("srs-edge-{}-config-{}", number, ["a", "blue", "green"][number as usize % 3]),
        };
        let uid = [&random[..8], &random[8..12], &random[12..16], &random[16..20], &random[20..32]].join("-");
        inventory.record(id.clone(), Entry { uid, ..entry(&number.to_string()) });
        open.insert(id, Verb::Update);
    }
    let size = inventory.encode().len();
    assert!(size < 850_000, "{size} bytes");
    // The worst case: a run over all of them was just begun.
    inventory.begin(Run { open, ..run("r", 1, &[]) }).unwrap();
    let size = inventory.encode().len();
    assert!(size < 1_000_000, "{size} bytes with a run");
}

/// A step of a run, as a property test makes them.
#[derive(Debug, Clone)]
enum Step {
    Begin(Vec<(u8, Verb)>),
    Record(u8, u8),
    Forget(u8),
    Settle(u8),
    Finish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verb = prop_oneof![Just(Verb::Create), Just(Verb::Update), Just(Verb::Replace), Just(Verb::Delete)];
    let step = prop_oneof![
        2 => prop::collection::vec((0..12_u8, verb), 0..6).prop_map(Step::Begin),
        6 => (0..12_u8, any::<u8>()).prop_map(|(object, seed)| Step::Record(object, seed)),
        2 => (0..12_u8).prop_map(Step::Forget),
        2 => (0..12_u8).prop_map(Step::Settle),
        1 => Just(Step::Finish),
    ];
    prop::collection::vec(step, 0..40)
}

/// Names that exercise groups, JSON escapes and cluster-wide objects.
fn numbered(number: u8) -> ObjectId {
    ObjectId {
        api_version: ["v1", "apps/v1"][usize::from(number % 2)].into(),
        kind: ["Pod", "Node \"quoted\"", "Größe"][usize::from(number % 3)].into(),
        namespace: (!number.is_multiple_of(4)).then(|| format!("ns-{}", number % 4)),
        name: format!("object-{number}"),
    }
}

proptest! {
    /// After every step, what is stored reads back as what was; and a kill there forgets no object that a
    /// run may have touched: it is an entry, or open, or was forgotten or settled on purpose.
    #[test]
    fn round_trips_and_forgets_nothing_at_any_step(steps in steps()) {
        let mut inventory = inventory();
        let mut known: BTreeMap<ObjectId, bool> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Begin(open) => {
                    let open: BTreeMap<_, _> =
                        open.into_iter().map(|(object, verb)| (numbered(object), verb)).collect();
                    known.extend(open.keys().cloned().map(|object| (object, true)));
                    inventory.begin(Run { open, ..run("r", number as u64, &[]) }).unwrap();
                }
                Step::Record(object, seed) => {
                    inventory.record(numbered(object), entry(&seed.to_string()));
                    known.insert(numbered(object), true);
                }
                Step::Forget(object) => {
                    inventory.forget(&numbered(object));
                    known.insert(numbered(object), false);
                }
                Step::Settle(object) => {
                    inventory.settle(&numbered(object));
                    known.insert(numbered(object), inventory.get(&numbered(object)).is_some());
                }
                Step::Finish => {
                    let _ = inventory.finish(inventory.revision() + 1);
                }
            }
            let read = Inventory::decode(&inventory.encode()).unwrap();
            prop_assert_eq!(&read, &inventory);
            for (object, is_known) in &known {
                let found = read.get(object).is_some()
                    || read.unfinished().is_some_and(|run| run.open.contains_key(object));
                prop_assert_eq!(found, *is_known, "{}", object);
            }
        }
    }

    /// No bytes make it panic or unpack without bound.
    #[test]
    fn hostile_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        prop_assert!(Inventory::decode(&bytes).is_err());
        let mut whole = inventory().encode();
        let at = cut.index(whole.len());
        whole.truncate(at);
        whole.append(&mut bytes);
        if let Ok(read) = Inventory::decode(&whole) {
            prop_assert_eq!(read, inventory());
        }
    }
}
