//! DVR: streams as FLV and MP4 files, as SRS makes them.
//!
//! [`flv`] and [`mp4`] write one file each, which is called `NAME.tmp` until it is complete; [`files`] decides where
//! one ends and the next begins. What is kept in memory does not grow with the file: MP4's table of samples lies in a
//! nameless file until it is written at the end.

pub mod files;
pub mod flv;
mod moov;
pub mod mp4;
mod samples;

use std::path::{Path, PathBuf};

use crate::conf::settings::TimeJitter;
use crate::conf::{Directive, Fault, settings};

/// `dvr_plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One file from publishing to unpublishing.
    Session,
    /// A new file each `dvr_duration`.
    Segment,
}

/// `dvr { … }` of a vhost.
#[derive(Debug, Clone, PartialEq)]
pub struct Dvr {
    /// `dvr_apply`: streams as `app/stream`; none for all.
    pub apply: Option<Vec<String>>,
    /// `dvr_plan`.
    pub cut: Cut,
    /// `dvr_path` with the file's name, whose ending says FLV or MP4.
    pub path: String,
    /// `dvr_duration` in seconds.
    pub duration: f64,
    /// `dvr_wait_keyframe`: files begin with a keyframe.
    pub wait_keyframe: bool,
    /// `time_jitter` of each file.
    pub jitter: TimeJitter,
    /// `utc_time on`: the path's times are UTC's.
    pub utc: bool,
}

impl Dvr {
    /// Reads the block; none when it is not enabled.
    pub fn read(block: &Directive, utc: bool) -> Result<Option<Self>, Fault> {
        if !block.on("enabled") {
            return Ok(None);
        }
        let line = |name: &str| block.get(name).map_or(block.line, |directive| directive.line);
        let cut = match block.value("dvr_plan") {
            None | Some("session") => Cut::Session,
            Some("segment") => Cut::Segment,
            Some(other) => {
                let message = format!("dvr_plan is {other:?}: \"session\" or \"segment\" is expected");
                return Err(Fault::new(line("dvr_plan"), message));
            }
        };
        let mut path =
            block.value("dvr_path").unwrap_or("./objs/nginx/html/[app]/[stream].[timestamp].flv").to_owned();
        if !is(&path, "flv") && !is(&path, "mp4") {
            // A folder (SRS).
            path = format!("{}/[stream].[timestamp].flv", path.trim_end_matches('/'));
        }
        let apply = block.get("dvr_apply").map(|directive| directive.args.clone());
        let duration = settings::number(block, "dvr_duration", 30.0)?;
        if duration <= 0.0 {
            return Err(Fault::new(line("dvr_duration"), "dvr_duration must be more than 0"));
        }
        Ok(Some(Dvr {
            apply: apply.filter(|streams| !streams.iter().any(|stream| stream == "all")),
            cut,
            path,
            duration,
            wait_keyframe: block.not_off("dvr_wait_keyframe"),
            jitter: settings::time_jitter(block)?,
            utc,
        }))
    }

    /// Whether `dvr_apply` names a stream.
    pub fn applies(&self, app: &str, stream: &str) -> bool {
        let name = format!("{app}/{stream}");
        self.apply.as_ref().is_none_or(|streams| streams.contains(&name))
    }

    /// The same but for `dvr_apply`, which a reload does not change for streams that are published.
    pub fn same_files(&self, other: &Dvr) -> bool {
        *self == Dvr { apply: self.apply.clone(), ..other.clone() }
    }

    /// The folder that all its files are in.
    pub fn root(&self) -> PathBuf {
        let fixed = self.path.split('[').next().unwrap_or_default();
        PathBuf::from(fixed.rsplit_once('/').map_or(".", |(folder, _)| folder))
    }
}

fn is(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Dvr>, Fault> {
        Dvr::read(&crate::conf::parse::parse(text).unwrap(), false)
    }

    #[test]
    fn defaults_are_srs_s() {
        let dvr = read("enabled on;").unwrap().unwrap();
        assert_eq!(dvr.path, "./objs/nginx/html/[app]/[stream].[timestamp].flv");
        assert_eq!(dvr.root(), Path::new("./objs/nginx/html"));
        assert_eq!((dvr.cut, dvr.wait_keyframe, dvr.jitter), (Cut::Session, true, TimeJitter::Full));
        assert!(dvr.applies("live", "livestream"));
        assert_eq!(read("dvr_plan nonsense;"), Ok(None));
    }

    #[test]
    fn values_are_checked_and_folders_completed() {
        assert!(read("enabled on; dvr_plan append;").unwrap_err().message.contains("session"));
        assert!(read("enabled on; dvr_duration 0;").unwrap_err().message.contains("more than 0"));
        assert!(read("enabled on; time_jitter x;").unwrap_err().message.contains("full"));
        let dvr = read("enabled on; dvr_path /data/[app]; dvr_apply live/a b/c/d;").unwrap().unwrap();
        assert_eq!(dvr.path, "/data/[app]/[stream].[timestamp].flv");
        assert_eq!(dvr.root(), Path::new("/data"));
        assert!(dvr.applies("live", "a") && dvr.applies("b/c", "d") && !dvr.applies("live", "d"));
    }
}
