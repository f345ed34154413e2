//! An FLV file whose length and duration are filled in at its end.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use crate::amf0::{self, Value};
use crate::flv::{self, TagKind};

/// What is written at a time.
const BUFFER: usize = 64 << 10;

/// A file that is being written.
#[derive(Debug)]
pub struct Flv {
    file: BufWriter<File>,
    length: u64,
    duration: u64,
    /// Where `duration` and `filesize` stand.
    places: [u64; 2],
    audio: bool,
    video: bool,
}

impl Flv {
    /// Begins a file with the publisher's onMetaData, if there was one, and the sequence headers.
    pub fn new(file: File, metadata: Option<&[u8]>, headers: &[(TagKind, &[u8])]) -> io::Result<Self> {
        let (script, places) = script(metadata);
        let mut flv = Flv {
            file: BufWriter::with_capacity(BUFFER, file),
            length: 0,
            duration: 0,
            places,
            audio: false,
            video: false,
        };
        let header = flv::file_header(true, true);
        flv.file.write_all(&header)?;
        flv.length = header.len() as u64;
        flv.places = places.map(|place| place + flv.length + flv::TAG_HEADER as u64);
        flv.write(TagKind::Script, 0, &script)?;
        for (kind, payload) in headers {
            flv.write(*kind, 0, payload)?;
        }
        Ok(flv)
    }

    /// Appends a tag; `timestamp` in milliseconds.
    pub fn write(&mut self, kind: TagKind, timestamp: u64, payload: &[u8]) -> io::Result<()> {
        self.file.write_all(&flv::tag_header(kind, timestamp as u32, payload.len()))?;
        self.file.write_all(payload)?;
        let size = flv::TAG_HEADER + payload.len();
        self.file.write_all(&(size as u32).to_be_bytes())?;
        self.length += size as u64 + 4;
        self.duration = self.duration.max(timestamp);
        self.audio |= kind == TagKind::Audio;
        self.video |= kind == TagKind::Video;
        Ok(())
    }

    /// Completes the file.
    pub fn finish(self) -> io::Result<()> {
        let Flv { file, length, duration, places, audio, video } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        for (place, value) in places.into_iter().zip([duration as f64 / 1000.0, length as f64]) {
            file.write_all_at(&value.to_be_bytes(), place)?;
        }
        file.write_all_at(&flv::file_header(audio, video), 0)
    }
}

/// onMetaData with room for `duration` and `filesize`, and where in it that is.
fn script(metadata: Option<&[u8]>) -> (Vec<u8>, [u64; 2]) {
    let values = metadata.map(amf0::decode_prefix).unwrap_or_default();
    let mut fields = vec![("duration".into(), Value::Number(0.0)), ("filesize".into(), Value::Number(0.0))];
    let theirs = values.get(1).map_or(&[][..], Value::fields);
    // As SRS: `framerate` is often wrong.
    let ours = ["duration", "filesize", "fileSize", "framerate"];
    fields.extend(theirs.iter().filter(|(name, _)| !ours.contains(&&**name)).cloned());
    let script = amf0::encode_all(&[Value::string("onMetaData"), Value::EcmaArray(fields)]);
    // Marker, length and text; marker and count; then names with their length and the number's marker.
    let duration = 3 + "onMetaData".len() + 5 + 2 + "duration".len() + 1;
    let filesize = duration + 8 + 2 + "filesize".len() + 1;
    (script, [duration as u64, filesize as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_duration_are_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.flv");
        let fields = vec![("duration".into(), Value::Number(9.0)), ("width".into(), Value::Number(640.0))];
        let metadata = amf0::encode_all(&[Value::string("onMetaData"), Value::Object(fields)]);
        let mut file = Flv::new(File::create(&path).unwrap(), Some(&metadata), &[]).unwrap();
        file.write(TagKind::Video, 0, &[0x17, 1, 0, 0, 0]).unwrap();
        file.write(TagKind::Video, 2500, &[0x27, 1, 0, 0, 0]).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[4], 1, "there is video only");
        let tags = flv::tags(&bytes).unwrap();
        assert_eq!(tags.len(), 3);
        let values = amf0::decode_all(tags[0].payload).unwrap();
        assert_eq!(values[1].get("duration"), Some(&Value::Number(2.5)));
        assert_eq!(values[1].get("filesize"), Some(&Value::Number(bytes.len() as f64)));
        assert_eq!(values[1].get("width"), Some(&Value::Number(640.0)));
        assert_eq!(values[1].fields().len(), 3);
    }
}
