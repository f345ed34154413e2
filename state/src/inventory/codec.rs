//! The stored form of an [`Inventory`].
//!
//! Objects are grouped so that what they share is written once, hashes are base64, and the whole is gzip: of an
//! entry 64 bytes (a uid and three hashes) are random and cannot be made smaller; the rest nearly vanishes.
//! `zcat` shows it.

use std::collections::{BTreeMap, btree_map};
use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};

use super::{Entry, Inventory, ObjectId, Run, Verb, WHAT};
use crate::format::{self, FormatError};
use crate::hash::Hash128;
use crate::stack::StackId;

/// Raised when the format changes; every version down to 1 stays readable and has a fixture in the tests.
const VERSION: u64 = 1;

/// More than any real inventory unpacks to (10,000 objects are 1.5 MB): a bound for damaged or hostile input.
const MAX_JSON: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct V1 {
    stack: StackId,
    manager: String,
    revision: u64,
    fencing: u64,
    objects: Vec<ObjectsV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unfinished: Option<RunV1>,
}

/// What the objects of one group share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KindV1 {
    api_version: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

/// The entries of one kind in one namespace, by columns: likes beside likes compress best.
#[derive(Serialize, Deserialize)]
struct ObjectsV1 {
    of: KindV1,
    names: Vec<String>,
    uids: Vec<String>,
    /// `sent`, `managed` and `live` of each, 48 bytes an entry, in base64.
    hashes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunV1 {
    id: String,
    started_at: String,
    fencing: u64,
    open: Vec<OpenV1>,
}

/// The open objects of one kind in one namespace to which the same is done.
#[derive(Serialize, Deserialize)]
struct OpenV1 {
    of: KindV1,
    verb: Verb,
    names: Vec<String>,
}

impl KindV1 {
    fn of(object: &ObjectId) -> Self {
        let ObjectId { api_version, kind, namespace, name: _ } = object.clone();
        Self { api_version, kind, namespace }
    }

    fn object(&self, name: String) -> ObjectId {
        let Self { api_version, kind, namespace } = self.clone();
        ObjectId { api_version, kind, namespace, name }
    }
}

pub(super) fn encode(inventory: &Inventory) -> Vec<u8> {
    let Inventory { stack, manager, revision, fencing, entries, unfinished } = inventory;
    let content = V1 {
        stack: stack.clone(),
        manager: manager.clone(),
        revision: *revision,
        fencing: *fencing,
        objects: encode_objects(entries),
        unfinished: unfinished.as_ref().map(|Run { id, started_at, fencing, open }| RunV1 {
            id: id.clone(),
            started_at: started_at.clone(),
            fencing: *fencing,
            open: encode_open(open),
        }),
    };
    gzip(&format::encode(VERSION, &content))
}

fn encode_objects(entries: &BTreeMap<ObjectId, Entry>) -> Vec<ObjectsV1> {
    let mut groups: BTreeMap<KindV1, Vec<(&String, &Entry)>> = BTreeMap::new();
    for (object, entry) in entries {
        groups.entry(KindV1::of(object)).or_default().push((&object.name, entry));
    }
    let objects = |(of, rows): (KindV1, Vec<(&String, &Entry)>)| {
        let hashes: Vec<u8> = rows
            .iter()
            .flat_map(|(_, entry)| [entry.sent, entry.managed, entry.live])
            .flat_map(|hash| *hash.as_bytes())
            .collect();
        ObjectsV1 {
            of,
            names: rows.iter().map(|(name, _)| (*name).clone()).collect(),
            uids: rows.iter().map(|(_, entry)| entry.uid.clone()).collect(),
            hashes: STANDARD_NO_PAD.encode(hashes),
        }
    };
    groups.into_iter().map(objects).collect()
}

fn encode_open(open: &BTreeMap<ObjectId, Verb>) -> Vec<OpenV1> {
    let mut groups: BTreeMap<(KindV1, Verb), Vec<String>> = BTreeMap::new();
    for (object, verb) in open {
        groups.entry((KindV1::of(object), *verb)).or_default().push(object.name.clone());
    }
    groups.into_iter().map(|((of, verb), names)| OpenV1 { of, verb, names }).collect()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Inventory, FormatError> {
    let json = gunzip(bytes)?;
    format::version(WHAT, VERSION, &json)?;
    let V1 { stack, manager, revision, fencing, objects, unfinished } = format::content(WHAT, &json)?;
    Ok(Inventory {
        stack,
        manager,
        revision,
        fencing,
        entries: decode_objects(objects)?,
        unfinished: unfinished
            .map(|RunV1 { id, started_at, fencing, open }| {
                decode_open(open).map(|open| Run { id, started_at, fencing, open })
            })
            .transpose()?,
    })
}

fn decode_objects(groups: Vec<ObjectsV1>) -> Result<BTreeMap<ObjectId, Entry>, FormatError> {
    let mut entries = BTreeMap::new();
    for ObjectsV1 { of, names, uids, hashes } in groups {
        let hashes = STANDARD_NO_PAD.decode(hashes).map_err(|_| damaged("hashes are not base64"))?;
        let (hashes, rest) = hashes.as_chunks::<16>();
        if uids.len() != names.len() || hashes.len() != 3 * names.len() || !rest.is_empty() {
            return Err(damaged(format!("the columns of {} have different lengths", of.kind)));
        }
        let (hashes, _) = hashes.as_chunks::<3>();
        for ((name, uid), hashes) in names.into_iter().zip(uids).zip(hashes) {
            let [sent, managed, live] = hashes.map(Hash128::from_bytes);
            insert_once(&mut entries, of.object(name), Entry { uid, sent, managed, live })?;
        }
    }
    Ok(entries)
}

fn decode_open(groups: Vec<OpenV1>) -> Result<BTreeMap<ObjectId, Verb>, FormatError> {
    let mut open = BTreeMap::new();
    for OpenV1 { of, verb, names } in groups {
        for name in names {
            insert_once(&mut open, of.object(name), verb)?;
        }
    }
    Ok(open)
}

fn insert_once<V>(map: &mut BTreeMap<ObjectId, V>, object: ObjectId, value: V) -> Result<(), FormatError> {
    match map.entry(object) {
        btree_map::Entry::Vacant(vacant) => {
            vacant.insert(value);
            Ok(())
        }
        btree_map::Entry::Occupied(occupied) => Err(damaged(format!("{} is in it twice", occupied.key()))),
    }
}

fn damaged(why: impl Into<String>) -> FormatError {
    FormatError::Damaged { what: WHAT, why: why.into() }
}

/// Without a time or a name in its header, so that equal contents are equal bytes.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut json = Vec::new();
    GzDecoder::new(bytes)
        .take(MAX_JSON + 1)
        .read_to_end(&mut json)
        .map_err(|error| damaged(format!("not gzip: {error}")))?;
    if json.len() as u64 > MAX_JSON {
        return Err(damaged(format!("it unpacks to more than {} MiB", MAX_JSON >> 20)));
    }
    Ok(json)
}
