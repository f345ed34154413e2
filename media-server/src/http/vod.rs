//! Seeking in files as SRS offers it: `x.flv?start=BYTE` and `x.mp4?range=FROM-TO`.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body as HttpBody, Frame};
use tower_http::services::ServeDir;

use super::answer;
use crate::flv::{self, Role};

/// Where a file's sequence headers are looked for.
const HEAD: usize = 64 << 10;

/// Where `?start=` of an FLV file says that playing begins; none from the file's own start.
pub(super) fn start(path: &str, query: Option<&str>) -> Option<u64> {
    let start = answer::query(query, "start").filter(|_| ends(path, "flv"))?;
    start.parse().ok().filter(|start| *start > 0)
}

/// Makes a Range field of `?range=`, which SRS takes for MP4 files.
pub(super) fn take_range(request: &mut Request<Body>) {
    let uri = request.uri();
    let Some(range) = answer::query(uri.query(), "range").filter(|_| ends(uri.path(), "mp4")) else { return };
    if let Ok(value) = HeaderValue::try_from(format!("bytes={}", range.trim_start_matches("bytes="))) {
        request.headers_mut().insert(header::RANGE, value);
    }
}

fn ends(path: &str, ending: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, last)| last == ending)
}

/// An FLV file from a byte on: its header and sequence headers, then the rest. None when it is no FLV file: then it
/// is sent as any other.
pub(super) async fn seek(files: &ServeDir, method: &Method, uri: &Uri, start: u64) -> Option<Response<Body>> {
    let head = part(files, uri, format!("bytes=0-{}", HEAD - 1)).await?;
    if head.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let head = preface(&to_bytes(head.into_body(), HEAD).await.ok()?)?;
    let rest = part(files, uri, format!("bytes={start}-")).await?;
    let (mut parts, rest) = rest.into_parts();
    if parts.status != StatusCode::PARTIAL_CONTENT {
        return Some(Response::from_parts(parts, rest));
    }
    parts.status = StatusCode::OK;
    parts.headers.remove(header::CONTENT_RANGE);
    // Those are the whole file's.
    parts.headers.remove(header::ETAG);
    parts.headers.remove(header::ACCEPT_RANGES);
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(length) = length.and_then(|rest: u64| rest.checked_add(head.len() as u64)) {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::new(Prefixed { head: Some(head), rest }),
    };
    Some(Response::from_parts(parts, body))
}

/// A range of the file that a request names.
async fn part(files: &ServeDir, uri: &Uri, range: String) -> Option<Response<Body>> {
    let mut asked = Request::new(Body::empty());
    *asked.uri_mut() = uri.clone();
    *asked.headers_mut() = HeaderMap::from_iter([(header::RANGE, HeaderValue::try_from(range).ok()?)]);
    Some(files.clone().try_call(asked).await.ok()?.map(Body::new))
}

/// The file header and the first sequence header of each kind.
fn preface(head: &[u8]) -> Option<Bytes> {
    let tags = match flv::tags(head) {
        Ok(tags) => tags,
        // What was read ends inside that tag.
        Err(flv::Error::Tag(end)) => flv::tags(head.get(..end)?).ok()?,
        Err(flv::Error::Signature) => return None,
    };
    let mut out = head.get(..13)?.to_vec();
    let mut kinds = Vec::new();
    for tag in tags.iter().filter(|tag| flv::role(tag.kind, tag.payload) == Role::SequenceHeader) {
        if !kinds.contains(&tag.kind) {
            kinds.push(tag.kind);
            flv::push_tag(&mut out, tag.kind, tag.timestamp, tag.payload);
        }
    }
    Some(out.into())
}

/// A body behind some bytes.
struct Prefixed {
    head: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Prefixed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::TagKind;
    use proptest::prelude::*;

    #[test]
    fn the_preface_has_each_header_once() {
        let mut file = flv::file_header(true, true).to_vec();
        flv::push_tag(&mut file, TagKind::Script, 0, b"x");
        let expected = [0x17, 0, 0, 0, 0, 1];
        for payload in [&expected[..], &[0x17, 1, 0, 0, 0, 9], &[0x17, 0, 0, 0, 0, 2]] {
            flv::push_tag(&mut file, TagKind::Video, 0, payload);
        }
        flv::push_tag(&mut file, TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        let cut = [&file[..], &[9, 0, 0]].concat();
        let mut out = flv::file_header(true, true).to_vec();
        flv::push_tag(&mut out, TagKind::Video, 0, &expected);
        flv::push_tag(&mut out, TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        assert_eq!(preface(&file).unwrap(), out);
        assert_eq!(preface(&cut).unwrap(), out);
        assert_eq!(preface(b"ID3"), None);
    }

    #[test]
    fn only_flv_files_have_a_start() {
        assert_eq!(start("/a.flv", Some("x=1&start=500")), Some(500));
        for (path, query) in
            [("/a.mp4", "start=5"), ("/a.flv", "start=0"), ("/a.flv", "start=-1"), ("/a.flv", "s=1")]
        {
            assert_eq!(start(path, Some(query)), None, "{path}?{query}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_flv: bool) {
            if is_flv && bytes.len() > 9 {
                bytes[..9].copy_from_slice(&[b'F', b'L', b'V', 1, 5, 0, 0, 0, 9]);
            }
            let _ = preface(&bytes);
        }
    }
}
