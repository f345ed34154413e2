//! mpeg2ts-reader and m3u8-rs, written by others, find in our segments and playlists what was published.
#![allow(missing_docs, unreachable_pub, reason = "a macro of mpeg2ts-reader makes public items")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]
#![allow(clippy::cast_precision_loss, reason = "seconds of a short file")]

mod common;

use std::path::Path;

use common::{Reaped, TestServer, media, wait_until};
use m3u8_rs::MediaPlaylist;
use media_server::flv::{self, Role, TagKind};
use mpeg2ts_reader::demultiplex::{
    Demultiplex, FilterChangeset, FilterRequest, NullPacketFilter, PatPacketFilter, PmtPacketFilter,
};
use mpeg2ts_reader::packet::Packet;
use mpeg2ts_reader::pes::{ElementaryStreamConsumer, PesContents, PesHeader, PesPacketFilter, PtsDts};
use mpeg2ts_reader::{StreamType, packet_filter_switch, psi};

/// A PES packet.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Unit {
    pts: u64,
    dts: u64,
    bytes: Vec<u8>,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub struct Found {
    types: Vec<(StreamType, u16)>,
    video: Vec<Unit>,
    audio: Vec<Unit>,
    continuity_errors: usize,
}

packet_filter_switch! {
    Filter<Context> {
        Pes: PesPacketFilter<Context, Consumer>,
        Pat: PatPacketFilter<Context>,
        Pmt: PmtPacketFilter<Context>,
        Null: NullPacketFilter<Context>,
    }
}

/// What the reader asks and tells.
pub struct Context {
    changeset: FilterChangeset<Filter>,
    found: Found,
}

impl mpeg2ts_reader::demultiplex::DemuxContext for Context {
    type F = Filter;

    fn filter_changeset(&mut self) -> &mut FilterChangeset<Filter> {
        &mut self.changeset
    }

    fn construct(&mut self, request: FilterRequest<'_, '_>) -> Filter {
        match request {
            FilterRequest::ByPid(psi::pat::PAT_PID) => Filter::Pat(PatPacketFilter::default()),
            FilterRequest::Pmt { pid, program_number } => {
                Filter::Pmt(PmtPacketFilter::new(pid, program_number))
            }
            FilterRequest::ByStream { stream_type, stream_info, .. } => {
                self.found.types.push((stream_type, stream_info.elementary_pid().into()));
                Filter::Pes(PesPacketFilter::new(Consumer { video: stream_type == StreamType::H264 }))
            }
            _ => Filter::Null(NullPacketFilter::default()),
        }
    }
}

pub struct Consumer {
    video: bool,
}

impl Consumer {
    fn units<'a>(&self, context: &'a mut Context) -> &'a mut Vec<Unit> {
        if self.video { &mut context.found.video } else { &mut context.found.audio }
    }
}

impl ElementaryStreamConsumer<Context> for Consumer {
    fn start_stream(&mut self, _: &mut Context) {}

    fn begin_packet(&mut self, context: &mut Context, header: PesHeader<'_>) {
        let PesContents::Parsed(Some(parsed)) = header.contents() else {
            panic!("a PES packet without times")
        };
        let (pts, dts) = match parsed.pts_dts().unwrap() {
            PtsDts::PtsOnly(pts) => {
                let pts = pts.unwrap().value();
                (pts, pts)
            }
            PtsDts::Both { pts, dts } => (pts.unwrap().value(), dts.unwrap().value()),
            other => panic!("{other:?}"),
        };
        self.units(context).push(Unit { pts, dts, bytes: parsed.payload().to_vec() });
    }

    fn continue_packet(&mut self, context: &mut Context, data: &[u8]) {
        self.units(context).last_mut().unwrap().bytes.extend_from_slice(data);
    }

    fn end_packet(&mut self, _: &mut Context) {}

    fn continuity_error(&mut self, context: &mut Context) {
        context.found.continuity_errors += 1;
    }
}

/// Reads a segment; every packet must be whole and well made.
fn read(bytes: &[u8]) -> Found {
    assert_eq!(bytes.len() % Packet::SIZE, 0);
    let mut context = Context { changeset: FilterChangeset::default(), found: Found::default() };
    let mut demultiplex = Demultiplex::new(&mut context);
    demultiplex.push(&mut context, bytes);
    context.found
}

/// Publishes a file to its end with our own client, into segments of a second.
fn record(file: &Path, dir: &Path) -> MediaPlaylist {
    let conf = format!(
        "hls {{ enabled on; hls_fragment 1; hls_window 60; hls_cleanup off; hls_path {}; }}",
        dir.display()
    );
    let server = TestServer::start(&conf, "");
    let mut publisher = std::process::Command::new(env!("CARGO_BIN_EXE_media-server"));
    publisher.arg("publish").arg(file).arg(server.rtmp("live/oracle"));
    let mut publisher = Reaped(publisher.stderr(std::process::Stdio::null()).spawn().unwrap());
    assert!(publisher.0.wait().unwrap().success());
    wait_until("the stream has ended", || server.running().server.sources.is_empty());
    let text = std::fs::read(dir.join("live/oracle.m3u8")).unwrap();
    m3u8_rs::parse_media_playlist_res(&text)
        .unwrap_or_else(|error| panic!("{error:?} in {}", String::from_utf8_lossy(&text)))
}

#[test]
fn segments_and_playlist_hold_what_was_published() {
    let dir = tempfile::tempdir().unwrap();
    let playlist = record(&media(), dir.path());
    assert_eq!((playlist.version, playlist.media_sequence, playlist.end_list), (Some(3), 0, false));
    assert!(playlist.segments.len() >= 2, "{playlist:?}");
    let longest = playlist.segments.iter().map(|segment| segment.duration).fold(0.0, f32::max);
    assert!(longest <= playlist.target_duration as f32, "{playlist:?}");

    let mut all = Found::default();
    for (index, segment) in playlist.segments.iter().enumerate() {
        let bytes = std::fs::read(dir.path().join("live").join(&segment.uri)).unwrap();
        let found = read(&bytes);
        assert_eq!(found.continuity_errors, 0, "{}", segment.uri);
        assert_eq!(found.types, [(StreamType::H264, 0x100), (StreamType::ADTS, 0x101)], "{}", segment.uri);
        assert!(!found.video.is_empty() && !found.audio.is_empty(), "{}", segment.uri);
        let first = found.video[0].dts;
        all.video.extend(found.video);
        all.audio.extend(found.audio);
        // The playlist's duration is the distance of the segments' first frames.
        if let Some(next) = playlist.segments.get(index + 1) {
            let bytes = std::fs::read(dir.path().join("live").join(&next.uri)).unwrap();
            let distance = (read(&bytes).video[0].dts - first) as f32 / 90_000.0;
            assert!((distance - segment.duration).abs() < 0.1, "{}: {distance} s", segment.uri);
        }
    }

    let file = std::fs::read(media()).unwrap();
    let tags = flv::tags(&file).unwrap();
    let frames: Vec<_> = tags
        .iter()
        .filter(|tag| tag.kind == TagKind::Video && flv::video_role(tag.payload) != Role::SequenceHeader)
        .filter(|tag| tag.payload.get(1) == Some(&1))
        .collect();
    assert_eq!(all.video.len(), frames.len());
    let (first, began) = (frames[0].timestamp, all.video[0].dts);
    for (unit, tag) in all.video.iter().zip(&frames) {
        let offset = i32::from_be_bytes([0, tag.payload[2], tag.payload[3], tag.payload[4]]);
        assert_eq!(unit.dts - began, u64::from(tag.timestamp - first) * 90);
        assert_eq!(unit.pts - unit.dts, u64::from(offset.cast_unsigned()) * 90);
        // Each NAL unit of the frame is there, behind its start code.
        let mut nals = &tag.payload[5..];
        while let Some((length, rest)) = nals.split_first_chunk::<4>() {
            let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            assert!(unit.bytes.windows(nal.len()).any(|window| window == nal), "at {}", tag.timestamp);
            nals = rest;
        }
    }
    let published: usize = tags
        .iter()
        .filter(|tag| tag.kind == TagKind::Audio && flv::audio_role(tag.payload) == Role::Frame)
        .filter(|tag| tag.timestamp >= first)
        .map(|tag| tag.payload.len() - 2 + 7)
        .sum();
    let recorded: usize = all.audio.iter().map(|unit| unit.bytes.len()).sum();
    let frame = 1500;
    assert!(recorded.abs_diff(published) < 10 * frame, "{recorded} bytes of {published}");
    assert!(all.audio.iter().all(|unit| unit.bytes[0] == 0xff && unit.bytes[1] & 0xf0 == 0xf0));
}

#[test]
fn a_stream_that_comes_back_is_a_discontinuity_to_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    record(&media(), dir.path());
    let playlist = record(&media(), dir.path());
    let breaks = playlist.segments.iter().filter(|segment| segment.discontinuity).count();
    assert!(breaks >= 1, "{playlist:?}");
    let mut names: Vec<&str> = playlist.segments.iter().map(|segment| segment.uri.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), playlist.segments.len(), "{playlist:?}");
}
