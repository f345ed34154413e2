//! One owner of a stream's files, on storage that several servers share.
//!
//! Each publish session has an epoch, which stands in the playlist as a comment that players ignore. A session claims
//! the files by writing its own, newer one, and goes on with the numbers that it finds; whoever finds a newer one than
//! its own stops. Segments are created exclusively under their final name, so that no two sessions share one; and
//! what is not whole yet has the session's name in it. So at most one playlist is stale, until its owner's next write.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::keys::{Keys, Shown};
use super::playlist::Segment;

/// What stands before an epoch in a playlist.
const TAG: &str = "#EPOCH:";
/// The most bytes of a playlist that are read.
const MAX_PLAYLIST: u64 = 4 << 20;

/// A publish session, in the order of sessions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// Milliseconds of 1970, or more where a clock was ahead.
    time: u64,
    /// Tells two of the same time apart.
    owner: String,
}

impl Epoch {
    /// A session that follows `before`, whatever the clocks say.
    pub fn after(before: Option<&Epoch>, now_ms: u64, owner: String) -> Self {
        let time = before.map_or(now_ms, |before| now_ms.max(before.time.saturating_add(1)));
        Epoch { time, owner }
    }

    /// Whose it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The epoch of a playlist.
    pub fn of(playlist: &str) -> Option<Self> {
        playlist.lines().find_map(|line| line.strip_prefix(TAG)?.parse().ok())
    }

    /// The playlist with this epoch, and no other, at its end: the lines before it are SRS's.
    pub fn sign(&self, playlist: &str) -> String {
        let lines = playlist.lines().filter(|line| !line.starts_with(TAG));
        let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
        // Writing to a String can't fail.
        let _ = writeln!(text, "{TAG}{self}");
        text
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time, self.owner)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, owner) = text.trim().split_once('-').ok_or(())?;
        let good = !owner.is_empty() && owner.len() <= 64 && owner.chars().all(|c| c.is_ascii_alphanumeric());
        match (time.parse(), good) {
            (Ok(time), true) => Ok(Epoch { time, owner: owner.to_owned() }),
            _ => Err(()),
        }
    }
}

/// A playlist's text; none when there is none.
pub fn read(m3u8: &Path) -> io::Result<Option<String>> {
    use io::Read as _;
    let file = match fs::File::open(m3u8) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_PLAYLIST).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// How the files of a stream are named.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The folder of all streams.
    pub path: &'a Path,
    /// The playlist.
    pub m3u8: &'a Path,
    /// The playlist's folder below `path`, with its slash.
    pub folder: &'a str,
    /// A segment below `path`, with the names of the stream put in.
    pub template: &'a str,
    /// What stands before segments in the playlist.
    pub prefix: &'a str,
    /// How keys are named.
    pub keys: Option<&'a Keys>,
}

/// What a session finds.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Whose the playlist is.
    pub epoch: Option<Epoch>,
    /// Its segments, in a row up to `next`.
    pub segments: VecDeque<Segment>,
    /// The number of the next segment: one past the highest of playlist and folder.
    pub next: u64,
    /// Segments that left the playlist, or never stood in it.
    pub unlisted: Vec<PathBuf>,
    /// The playlist itself.
    pub text: Option<String>,
}

/// Looks at a stream's files.
pub fn find(naming: Naming<'_>) -> io::Result<Found> {
    let text = read(naming.m3u8)?;
    let mut found = text.as_deref().map_or_else(Found::default, |text| parse(text, naming));
    let files = numbered(naming)?;
    let highest = files.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    if highest > found.next {
        // The numbers of a playlist are in a row: it goes on behind the gap.
        found.segments.clear();
        found.next = highest;
    }
    let listed = |file: &PathBuf| found.segments.iter().any(|segment| segment.file == *file);
    found.text = text;
    found.unlisted = files.into_iter().map(|(_, file)| file).filter(|file| !listed(file)).collect();
    Ok(found)
}

/// Reads a playlist as this server and SRS write it; lines that say something else are passed over.
fn parse(text: &str, naming: Naming<'_>) -> Found {
    let mut found = Found { epoch: Epoch::of(text), ..Found::default() };
    let folder = naming.m3u8.parent().unwrap_or(Path::new(""));
    let mut duration = None;
    let mut discontinuity = false;
    let mut key: Option<Arc<Shown>> = None;
    for line in text.lines().map(str::trim) {
        if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            found.next = number.parse().unwrap_or(0);
        } else if line == "#EXT-X-DISCONTINUITY" {
            discontinuity = true;
        } else if line.starts_with("#EXT-X-KEY:") {
            key = shown(line, naming).map(Arc::new);
        } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
            let seconds = rest.split(',').next().and_then(|text| text.trim().parse::<f64>().ok());
            duration = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        } else if !line.is_empty() && !line.starts_with('#') {
            let Some(duration) = duration.take() else { continue };
            found.segments.push_back(Segment {
                sequence: found.next,
                duration,
                uri: line.to_owned(),
                file: below(folder, line.strip_prefix(naming.prefix).unwrap_or(line)),
                discontinuity: std::mem::take(&mut discontinuity),
                key: key.clone(),
            });
            found.next = found.next.saturating_add(1);
        }
    }
    found
}

/// A key as [`Shown::line`] writes it.
fn shown(line: &str, naming: Naming<'_>) -> Option<Shown> {
    let uri = line.split_once("URI=\"")?.1.split('"').next()?;
    let digits = line.split_once("IV=0x")?.1;
    let mut iv = [0; 16];
    for (index, byte) in iv.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    let file = naming.keys.map(|keys| match keys.url.trim_end_matches('/') {
        "" => below(&keys.path, &format!("{}{uri}", naming.folder)),
        url => uri
            .strip_prefix(url)
            .map(|name| below(&keys.path, name.trim_start_matches('/')))
            .unwrap_or_default(),
    });
    Some(Shown { file: file.unwrap_or_default(), uri: uri.to_owned(), iv })
}

/// The file of a relative URI; an empty path for what leads out of the folder, which is never touched.
pub(super) fn below(folder: &Path, uri: &str) -> PathBuf {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let inside = !path.starts_with('/') && !path.contains("://") && path.split('/').all(|part| part != "..");
    if inside { folder.join(path) } else { PathBuf::new() }
}

/// The segments in the folder, with their numbers. Folders whose names depend on the time are not searched: in them a
/// number comes once.
fn numbered(naming: Naming<'_>) -> io::Result<Vec<(u64, PathBuf)>> {
    let (folder, name) = naming.template.rsplit_once('/').unwrap_or(("", naming.template));
    if folder.contains('[') || !name.contains("[seq]") {
        return Ok(Vec::new());
    }
    let folder = naming.path.join(folder);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|file| number(name, file)) {
            files.push((number, folder.join(entry.file_name())));
        }
    }
    files.sort();
    Ok(files)
}

/// The number in a file's name; variables of the time are digits.
fn number(template: &str, name: &str) -> Option<u64> {
    fn look(template: &str, name: &str, number: Option<u64>) -> Option<u64> {
        let Some((before, rest)) = template.split_once('[') else {
            return number.filter(|_| template == name);
        };
        let (variable, after) = rest.split_once(']')?;
        let name = name.strip_prefix(before)?;
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        (1..=digits).rev().find_map(|count| {
            let own = if variable == "seq" { name[..count].parse().ok() } else { None };
            look(after, &name[count..], own.or(number))
        })
    }
    look(template, name, None)
}

/// Gives a whole file its name, unless there is one of that name.
pub fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?;
    // What is replaced is the empty file of this very call.
    fs::rename(temporary, path).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naming(folder: &Path) -> (PathBuf, &Path) {
        (folder.join("live/s.m3u8"), folder)
    }

    const TEXT: &str = "#EXTM3U\n#EPOCH:1000-aa\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:7\n\
                        #EXT-X-TARGETDURATION:3\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000, no desc\ns-7.ts\n\
                        #EXTINF:2.500, no desc\ns-8.ts\n";

    #[test]
    fn epochs_grow_whatever_the_clocks_say() {
        let first = Epoch::after(None, 1000, "aa".into());
        assert_eq!(first.to_string(), "1000-aa");
        let behind = Epoch::after(Some(&first), 10, "bb".into());
        assert!(behind > first && behind.to_string() == "1001-bb");
        let same = Epoch::after(None, 1000, "ab".into());
        assert!(same > first, "two that know nothing of each other are told apart");
        let text = first.sign("#EXTM3U\n#EXT-X-VERSION:3\n");
        assert_eq!(text, "#EXTM3U\n#EXT-X-VERSION:3\n#EPOCH:1000-aa\n");
        assert_eq!(Epoch::of(&text), Some(first));
        assert_eq!(same.sign(&text), "#EXTM3U\n#EXT-X-VERSION:3\n#EPOCH:1000-ab\n");
        for bad in ["", "1000", "x-aa", "1000-", "1000-a b", "1000-../../x"] {
            assert_eq!(bad.parse::<Epoch>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn numbers_go_on_behind_playlist_and_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (m3u8, path) = naming(dir.path());
        let naming = Naming {
            path,
            m3u8: &m3u8,
            template: "live/s-[seq].ts",
            folder: "live/",
            prefix: "",
            keys: None,
        };
        assert_eq!(find(naming).unwrap(), Found::default());
        fs::create_dir_all(path.join("live")).unwrap();
        for name in ["s-6.ts", "s-7.ts", "s-8.ts", "s-2-99.ts", "t-50.ts", "s-60.ts.aa.tmp"] {
            fs::write(path.join("live").join(name), "").unwrap();
        }
        fs::write(&m3u8, TEXT).unwrap();
        let found = find(naming).unwrap();
        assert_eq!((found.next, found.segments.len()), (9, 2));
        assert!(found.segments[0].discontinuity && !found.segments[1].discontinuity);
        assert_eq!(found.segments[1].file, path.join("live/s-8.ts"));
        assert_eq!(found.unlisted, [path.join("live/s-6.ts")]);
        // A segment that no playlist names: its number is taken all the same.
        fs::write(path.join("live/s-9.ts"), "").unwrap();
        let found = find(naming).unwrap();
        assert_eq!((found.next, found.segments.len(), found.unlisted.len()), (10, 0, 4));
    }

    #[test]
    fn numbers_are_found_among_variables() {
        assert_eq!(number("s-[seq].ts", "s-12.ts"), Some(12));
        assert_eq!(number("s-[timestamp]-[seq].ts", "s-17000-12.ts"), Some(12));
        assert_eq!(number("s-[seq]-[duration].ts", "s-12-2000.ts"), Some(12));
        for name in ["s-.ts", "s-1.ts.tmp", "s-1", "t-1.ts", "s-99999999999999999999999.ts"] {
            assert_eq!(number("s-[seq].ts", name), None, "{name}");
        }
    }

    #[test]
    fn keys_are_found_again() {
        let keys = |url: &str| Keys {
            fragments: 5,
            file: "[app]/[stream]-[seq].key".into(),
            path: "/keys".into(),
            url: url.into(),
        };
        let path = Path::new("/hls");
        let m3u8 = path.join("live/s.m3u8");
        let (beside, elsewhere) = (keys(""), keys("https://k.example.com/"));
        for (keys, uri) in [(&beside, "s-5.key"), (&elsewhere, "https://k.example.com/live/s-5.key")] {
            let naming = Naming {
                path,
                m3u8: &m3u8,
                template: "live/s-[seq].ts",
                folder: "live/",
                prefix: "",
                keys: Some(keys),
            };
            let key = Shown { file: "/keys/live/s-5.key".into(), uri: uri.into(), iv: [0xa5; 16] };
            assert_eq!(shown(&key.line(), naming).unwrap(), key);
            let text =
                format!("#EXT-X-MEDIA-SEQUENCE:5\n{}\n#EXTINF:1,\ns-5.ts\n#EXTINF:1,\ns-6.ts\n", key.line());
            let found = parse(&text, naming);
            assert!(found.segments.iter().all(|segment| segment.key.as_deref() == Some(&key)), "{found:?}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::write(at("other"), "2").unwrap();
        publish(&at("one"), &at("s-0.ts")).unwrap();
        let error = publish(&at("other"), &at("s-0.ts")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(at("s-0.ts")).unwrap(), "1");
        assert!(publish(&at("nothing"), &at("s-1.ts")).is_err() && !at("s-1.ts").exists());
    }

    #[test]
    fn nothing_outside_of_the_folder_is_meant() {
        for uri in ["../x.ts", "/etc/passwd", "a/../../x.ts", "http://x/y.ts"] {
            assert_eq!(below(Path::new("/hls"), uri), PathBuf::new(), "{uri}");
        }
        assert_eq!(below(Path::new("/hls"), "a/x.ts?y=1"), Path::new("/hls/a/x.ts"));
    }

    proptest! {
        #[test]
        fn any_playlist_is_read(text in "(#EXTM3U|#EPOCH:|#EXTINF:|#EXT-X-KEY:|[0-9a-z.,:\"=/-]{0,9}|\n){0,40}") {
            let path = Path::new("/nowhere");
            let m3u8 = path.join("s.m3u8");
            let found = parse(&text, Naming { path, m3u8: &m3u8, template: "s-[seq].ts", folder: "", prefix: "", keys: None });
            prop_assert!(found.segments.iter().all(|segment| segment.duration >= 0.0));
        }
    }
}
