//! HLS: segments of a transport stream and their playlist, as SRS makes them.
//!
//! [`segmenter`] and [`playlist`] are pure; [`files`] writes what they give, as the one owner of a stream's files
//! ([`epoch`]).

pub mod audio_clock;
pub mod epoch;
pub mod files;
pub mod floor;
pub mod keys;
pub mod names;
pub mod playlist;
pub mod segmenter;

use std::path::PathBuf;

use self::keys::Keys;
use crate::conf::{Directive, Fault, settings};

/// What a failed write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The segment is left out.
    Continue,
    /// The stream has no HLS until it is published again.
    Ignore,
    /// The publisher is disconnected.
    Disconnect,
}

/// `hls { … }` of a vhost.
#[expect(clippy::struct_excessive_bools, reason = "they are the file's switches")]
#[derive(Debug, Clone, PartialEq)]
pub struct Hls {
    /// Seconds.
    pub fragment: f64,
    /// Seconds.
    pub window: f64,
    /// `hls_td_ratio`.
    pub target_ratio: f64,
    /// `hls_aof_ratio`.
    pub audio_ratio: f64,
    /// The folder.
    pub path: PathBuf,
    /// The playlist's name in it.
    pub m3u8_file: String,
    /// A segment's name in it.
    pub ts_file: String,
    /// Before each segment in the playlist.
    pub entry_prefix: String,
    /// Segments that left the playlist are removed.
    pub cleanup: bool,
    /// Seconds after the last message until everything is removed; 0 for never.
    pub dispose: f64,
    /// Segments start with a keyframe.
    pub wait_keyframe: bool,
    /// What a failed write does.
    pub on_error: OnError,
    /// `hls_keys`: how segments are encrypted.
    pub keys: Option<Keys>,
    /// `hls_ts_floor`: `[timestamp]` of a segment's name counts fragments.
    pub floor: bool,
    /// `hls_dts_directly`: audio's times are RTMP's.
    pub dts_directly: bool,
    /// `utc_time on`: times in names are UTC's.
    pub utc: bool,
    /// How many bytes of a segment on_hls_notify fetches.
    pub notify_bytes: usize,
    /// `hls_vcodec vn` leaves video out.
    pub video: bool,
    /// The playlist is given through a master with a context of its own for each player.
    pub ctx: bool,
    /// Segments of streams that not everybody may play carry that context. (In SRS 5 all do, and it is for counting;
    /// off is for a cache before this server, which takes every context for another file.)
    pub ts_ctx: bool,
}

impl Hls {
    /// Reads the block; none when it is not enabled.
    pub fn read(block: &Directive, utc: bool) -> Result<Option<Self>, Fault> {
        if !block.on("enabled") {
            return Ok(None);
        }
        let text = |name: &str, default: &str| block.value(name).unwrap_or(default).to_owned();
        let on_error = match block.value("hls_on_error") {
            None | Some("continue") => OnError::Continue,
            Some("ignore") => OnError::Ignore,
            Some("disconnect") => OnError::Disconnect,
            Some(other) => {
                let line = block.get("hls_on_error").map_or(block.line, |directive| directive.line);
                let message =
                    format!("hls_on_error is {other:?}: continue, ignore or disconnect is expected");
                return Err(Fault::new(line, message));
            }
        };
        let hls = Hls {
            fragment: settings::number(block, "hls_fragment", 10.0)?,
            window: settings::number(block, "hls_window", 60.0)?,
            target_ratio: settings::number(block, "hls_td_ratio", 1.5)?,
            audio_ratio: settings::number(block, "hls_aof_ratio", 2.0)?,
            path: text("hls_path", "./objs/nginx/html").into(),
            m3u8_file: text("hls_m3u8_file", "[app]/[stream].m3u8"),
            ts_file: text("hls_ts_file", "[app]/[stream]-[seq].ts"),
            entry_prefix: text("hls_entry_prefix", ""),
            cleanup: block.not_off("hls_cleanup"),
            dispose: settings::number(block, "hls_dispose", 0.0)?,
            wait_keyframe: block.not_off("hls_wait_keyframe"),
            on_error,
            keys: Keys::read(block, &text("hls_path", "./objs/nginx/html"))?,
            floor: block.on("hls_ts_floor"),
            dts_directly: block.not_off("hls_dts_directly"),
            utc,
            notify_bytes: settings::number(block, "hls_nb_notify", 64usize)?,
            video: block.value("hls_vcodec") != Some("vn"),
            ctx: block.not_off("hls_ctx"),
            ts_ctx: block.not_off("hls_ts_ctx"),
        };
        if hls.fragment <= 0.0 || hls.window < hls.fragment {
            let message = "hls_fragment must be more than 0, and hls_window no less than it";
            return Err(Fault::new(block.line, message));
        }
        Ok(Some(hls))
    }

    /// The target duration that the playlist announces at least.
    pub fn target(&self) -> f64 {
        self.fragment * self.target_ratio
    }
}
