//! Real media: a file to publish, ffmpeg to publish and play it, and what came out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// A running ffmpeg; ended when dropped.
#[derive(Debug)]
pub struct Publisher(Child);

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a player got.
#[derive(Debug)]
pub struct Played {
    /// Codecs of the streams, in ffprobe's words, such as `h264` and `aac`.
    pub codecs: Vec<String>,
    /// Seconds from the first to the last packet.
    pub seconds: f64,
    /// What ffmpeg complained about while decoding everything; empty if nothing.
    pub errors: String,
}

/// ffmpeg and ffprobe, installed if they are missing and may be.
///
/// # Panics
/// If they can't be had.
fn ensure() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| cluster::packages::ensure(&["ffmpeg"]).expect("ffmpeg"));
}

/// The file to publish: `bbb.flv` of the media beside the checkout where it is there, else one made by ffmpeg.
///
/// # Panics
/// If ffmpeg can't make one.
pub fn file(folder: &Path) -> PathBuf {
    ensure();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/bbb.flv");
    if beside.exists() {
        return beside;
    }
    let made = folder.join("made.flv");
    let status = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=640x360:rate=25",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440",
        ])
        .args([
            "-t", "15", "-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p", "-c:a",
            "aac", "-f", "flv",
        ])
        .arg(&made)
        .status()
        .expect("ffmpeg starts");
    assert!(status.success(), "ffmpeg could not make a file to publish");
    made
}

/// Publishes `file` to `url` at its own speed, over and over, until it is dropped.
///
/// # Panics
/// If ffmpeg can't be started.
pub fn publish(file: &Path, url: &str) -> Publisher {
    ensure();
    let child = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i"])
        .arg(file)
        .args(["-c", "copy", "-f", "flv", url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("ffmpeg starts");
    Publisher(child)
}

/// Plays `url` for `seconds` of media into a file, then decodes and inspects that.
///
/// # Panics
/// If the player gets nothing, or what it got can't be inspected.
pub fn play(url: &str, seconds: u32, folder: &Path) -> Played {
    ensure();
    let file = folder.join(format!("played-{}.flv", url.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    let played = Command::new("ffmpeg")
        // A player that gets nothing must end too.
        .args([
            "-v",
            "error",
            "-y",
            "-rw_timeout",
            "20000000",
            "-i",
            url,
            "-t",
            &seconds.to_string(),
            "-c",
            "copy",
            "-f",
            "flv",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg starts");
    assert!(played.status.success(), "{url}: {}", String::from_utf8_lossy(&played.stderr));
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&file)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name:packet=pts_time", "-of", "json"])
        .arg(&file)
        .output()
        .expect("ffprobe starts");
    let probed: Value = serde_json::from_slice(&probed.stdout).expect("ffprobe says JSON");
    let list = |name: &str| probed[name].as_array().cloned().unwrap_or_default();
    let times: Vec<f64> =
        list("packets").iter().filter_map(|packet| packet["pts_time"].as_str()?.parse().ok()).collect();
    let (begin, end) = (times.iter().copied().reduce(f64::min), times.iter().copied().reduce(f64::max));
    Played {
        codecs: list("streams")
            .iter()
            .filter_map(|stream| stream["codec_name"].as_str().map(str::to_owned))
            .collect(),
        seconds: end.unwrap_or_default() - begin.unwrap_or_default(),
        errors: format!(
            "{}{}",
            String::from_utf8_lossy(&played.stderr),
            String::from_utf8_lossy(&decoded.stderr)
        ),
    }
}

/// A player that plays until it is dropped or its stream ends.
#[derive(Debug)]
pub struct Viewer {
    child: Child,
    file: PathBuf,
}

impl Viewer {
    /// Plays `url` into a file.
    ///
    /// # Panics
    /// If ffmpeg can't be started.
    pub fn start(url: &str, file: PathBuf) -> Self {
        ensure();
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-rw_timeout", "60000000", "-i", url, "-c", "copy"])
            .args(["-flush_packets", "1", "-f", "flv"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ffmpeg starts");
        Self { child, file }
    }

    /// How many bytes it has got.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Whether it still plays.
    pub fn is_playing(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
