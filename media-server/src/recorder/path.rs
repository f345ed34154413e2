//! The variables of paths: `[vhost] [app] [stream]`, and those of the time.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::rtmp::url;

/// The names that a path's variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// `[vhost]`.
    pub vhost: &'a str,
    /// `[app]`.
    pub app: &'a str,
    /// `[stream]`.
    pub stream: &'a str,
}

impl Names<'_> {
    /// A path with its variables replaced.
    pub fn path(&self, template: &str) -> String {
        template.replace("[vhost]", self.vhost).replace("[app]", self.app).replace("[stream]", self.stream)
    }

    /// Whether a path with these names stays where the template says. Clients' names were checked when they came;
    /// this is the last look before files are made of them.
    pub fn stay_inside(&self) -> bool {
        [self.vhost, self.app, self.stream].into_iter().all(|name| url::check_name("name", name).is_ok())
    }
}

/// The moment that a path's variables of time stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    milliseconds: i64,
    fields: [(&'static str, String); 7],
}

impl Stamp {
    /// A moment in local time, or in UTC where `utc_time` is on.
    pub fn new(time: SystemTime, utc: bool) -> Self {
        let milliseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_zoned(zone);
        let fields = [
            ("[2006]", format!("{:04}", time.year())),
            ("[01]", format!("{:02}", time.month())),
            ("[02]", format!("{:02}", time.day())),
            ("[15]", format!("{:02}", time.hour())),
            ("[04]", format!("{:02}", time.minute())),
            ("[05]", format!("{:02}", time.second())),
            ("[999]", format!("{:03}", time.millisecond())),
        ];
        Stamp { milliseconds, fields }
    }

    /// A path with its variables of time replaced; `[timestamp]` is milliseconds since 1970.
    pub fn path(&self, template: &str) -> String {
        let mut path = template.replace("[timestamp]", &self.milliseconds.to_string());
        for (name, value) in &self.fields {
            path = path.replace(name, value);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_is_written_as_srs_does() {
        let stamp = Stamp::new(UNIX_EPOCH + Duration::from_millis(1_795_359_924_780), true);
        assert_eq!(
            stamp.path("/d/[2006]/[01]/[02]/[15].[04].[05].[999]-[timestamp].flv"),
            "/d/2026/11/22/15.05.24.780-1795359924780.flv"
        );
    }

    #[test]
    fn names_stay_in_their_folder() {
        let names = |stream| Names { vhost: "__defaultVhost__", app: "live", stream };
        assert!(names("livestream").stay_inside());
        assert!(names("a/b").stay_inside());
        for name in ["..", "../x", "a/../../x", "/etc/passwd", "a\0b", "%2e%2e", "a//b", "."] {
            assert!(!names(name).stay_inside(), "{name:?}");
        }
    }
}
