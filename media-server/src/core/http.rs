//! Requests on the HTTP ports: media stay on the core, anything else goes to the API's thread with the bytes read.

use std::sync::Arc;

use super::accept::TOO_MANY;
use super::admit::Wish;
use super::conn::{Conn, Role};
use super::player::{Container, Format, Framing, Player};
use super::{Core, Next};
use crate::conf::settings::TimeJitter;
use crate::http::mount;
use crate::real_ip;
use crate::rtmp::session::Connect;
use crate::rtmp::url::{self, Target};
use crate::server::{Handoff, Service};
use crate::websocket::{self, Refusal, Upgrade};

/// The longest request head; longer ones are answered 431.
const MAX_HEAD: usize = 16 << 10;
/// The most header fields of a request.
const MAX_FIELDS: usize = 64;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// More bytes are needed.
    Partial,
    /// It is not HTTP, or too long.
    Bad(&'static str),
    /// A GET for media, perhaps.
    Get { path: String, host: String, protocol: Protocol, cross_site: bool, more: bool, from: From },
    /// Anything else.
    Other,
}

/// Where a request comes from, as its fields say.
#[derive(Debug, Default, PartialEq, Eq)]
struct From {
    referer: String,
    /// X-Forwarded-For and X-Real-IP, in their order.
    forwarded: Vec<(String, Vec<u8>)>,
}

impl From {
    fn read(fields: &[httparse::Header<'_>]) -> Self {
        let mut from = From::default();
        for field in fields {
            if field.name.eq_ignore_ascii_case("referer") {
                from.referer =
                    String::from_utf8_lossy(field.value).chars().filter(|c| !c.is_control()).collect();
            } else if real_ip::FIELDS.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                from.forwarded.push((field.name.to_owned(), field.value.to_vec()));
            }
        }
        from
    }
}

/// What the answer may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Protocol {
    Http10,
    Http11,
    WebSocket(Result<Upgrade, Refusal>),
}

/// A viewer that asked by HTTP.
#[derive(Debug)]
pub(super) struct Viewer {
    container: Container,
    protocol: Protocol,
    cross_site: bool,
    /// The page that it stands in.
    pub(super) referer: String,
}

fn parse(head: &[u8]) -> Request {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() >= MAX_HEAD => {
            Request::Bad("431 Request Header Fields Too Large")
        }
        Ok(httparse::Status::Partial) => Request::Partial,
        Err(httparse::Error::TooManyHeaders) => Request::Bad("431 Request Header Fields Too Large"),
        Err(_) => Request::Bad("400 Bad Request"),
        Ok(httparse::Status::Complete(length)) => {
            if request.method != Some("GET") {
                return Request::Other;
            }
            let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
            let host =
                host.map(|field| String::from_utf8_lossy(field.value).into_owned()).unwrap_or_default();
            let host = url::host_of(&host).to_owned();
            Request::Get {
                path: request.path.unwrap_or_default().to_owned(),
                host,
                protocol: match request.version {
                    Some(1) => Upgrade::read(request.headers).map_or(Protocol::Http11, Protocol::WebSocket),
                    _ => Protocol::Http10,
                },
                more: length < head.len(),
                cross_site: request.headers.iter().any(|field| field.name.eq_ignore_ascii_case("origin")),
                from: From::read(request.headers),
            }
        }
    }
}

impl Core {
    pub(super) fn read_http(&mut self, index: usize, conn: &mut Conn, bytes: &[u8]) -> Next {
        let Role::HttpHead(head) = &mut conn.role else { return Next::Keep };
        let room = MAX_HEAD.saturating_sub(head.len());
        head.extend_from_slice(&bytes[..bytes.len().min(READ_AHEAD + room)]);
        match parse(head) {
            Request::Partial => Next::Keep,
            Request::Bad(status) => self.refuse(conn, status),
            Request::Get { path, host, protocol, cross_site, more, from }
                if conn.service == Service::Http =>
            {
                let Some((target, container)) = self.media_target(&path, &host) else {
                    return self.hand_off(conn);
                };
                if let Protocol::WebSocket(asked) = &protocol {
                    if let Err(refusal) = asked {
                        return self.refuse(conn, refusal.answer());
                    }
                    // Nothing may be sent before the answer is there (RFC 6455 4.1).
                    if more {
                        return self.refuse(conn, "400 Bad Request");
                    }
                }
                let fields = from.forwarded.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
                let client = self.server.settings().real_ip.client(conn.peer.ip(), fields);
                if !self.know_client(conn, client) {
                    return Next::Close(TOO_MANY.into());
                }
                let viewer = Viewer { container, protocol, cross_site, referer: from.referer };
                self.gate(index, conn, None, Wish::Http(target, viewer))
            }
            Request::Get { .. } | Request::Other => self.hand_off(conn),
        }
    }

    fn refuse(&self, conn: &mut Conn, status: &str) -> Next {
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: Close\r\nContent-Length: 0\r\nServer: {}\r\n\r\n",
            self.server.signature
        );
        conn.out.bytes.extend_from_slice(answer.as_bytes());
        let _ = conn.flush();
        Next::Close(status.lines().next().unwrap_or_default().into())
    }

    /// The stream that a path names by the mount of its vhost, and what the mount's ending says it is sent as.
    fn media_target(&self, path: &str, host: &str) -> Option<(Target, Container)> {
        let (path, param) = path.find('?').map_or((path, ""), |at| path.split_at(at));
        let settings = self.server.settings();
        let wanted = url::param(param, "vhost").unwrap_or(host);
        let vhost = settings.vhost(wanted)?;
        let mount = vhost.http_remux.as_deref()?;
        // Only a file has another place to start at.
        let container = Container::of_mount(mount).filter(|_| url::param(param, "start").is_none())?;
        let (app, stream) = mount::resolve(mount, path)?;
        let base = Target { vhost: vhost.name.clone(), app: app.to_owned(), ..Target::default() };
        url::check_name("app", app).ok()?;
        let target = base.with_stream(stream).ok()?;
        Some((Target { param: param.to_owned(), ..target }, container))
    }

    pub(super) fn play_http(
        &mut self,
        index: usize,
        conn: &mut Conn,
        target: &Target,
        viewer: Viewer,
    ) -> Next {
        let (source, policy) = match self.source_of(target) {
            Ok(found) => found,
            Err(reason) => return Next::Close(reason),
        };
        tracing::info!(cid = %conn.id, "HTTP {} plays {}", conn.peer, source.stat.url());
        let Viewer { container, protocol, cross_site, referer } = viewer;
        let server = &self.server.signature;
        let crossdomain = self.server.settings().http_server.as_ref().is_some_and(|http| http.crossdomain);
        let cors = if cross_site && crossdomain { mount::CORS } else { "" };
        let kind = container.content_type();
        let (framing, head) = match protocol {
            Protocol::WebSocket(upgrade) => {
                let fields = upgrade.map(|upgrade| upgrade.fields()).unwrap_or_default();
                let head = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}Server: {server}\r\n\r\n");
                // Without this a viewer that comes before the publisher could not say anything.
                conn.out.bytes.extend_from_slice(head.as_bytes());
                conn.role = Role::WebSocket(websocket::Reader::default());
                (Framing::WebSocket, None)
            }
            Protocol::Http11 => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Type: {kind}\r\nServer: {server}\r\n\
                     {cors}Transfer-Encoding: chunked\r\n\r\n"
                );
                (Framing::Chunked, Some(head))
            }
            Protocol::Http10 => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Type: {kind}\r\nServer: {server}\r\n\
                     {cors}\r\n"
                );
                (Framing::Plain, Some(head))
            }
        };
        if framing != Framing::WebSocket {
            conn.role = Role::HttpPlay;
        }
        // SRS calls all of them so.
        let connect = Connect { page_url: referer, ..Connect::default() };
        self.add_client(index, conn, &source, "flv-play", connect);
        let raw_time = policy.jitter == TimeJitter::Off;
        let head = head.map(|head| head.into_bytes().into_boxed_slice());
        let player = Player::new(0, Format { container, framing }, raw_time, head);
        let pulled = Arc::clone(&source);
        let next = self.start_playing(index, conn, player, source);
        self.pull_for(conn, &pulled, target, None);
        next
    }

    fn hand_off(&mut self, conn: &mut Conn) -> Next {
        let Role::HttpHead(head) = std::mem::replace(&mut conn.role, Role::HttpPlay) else {
            return Next::Keep;
        };
        if self.poll.registry().deregister(&mut conn.transport.socket).is_err() {
            return Next::Close("the connection broke".into());
        }
        // The socket has no other form than the one in `conn`: the handle is duplicated and the first one dropped.
        match duplicate(&conn.transport.socket) {
            Ok(stream) => {
                let (place, guest) = (conn.place.take(), conn.guest.take());
                let tls = conn.transport.tls.take();
                let handoff =
                    Handoff { stream, tls, peer: conn.peer, service: conn.service, head, place, guest };
                if self.server.http.send(handoff).is_err() {
                    tracing::error!("the API has ended");
                }
                Next::Gone
            }
            Err(error) => Next::Close(error.to_string()),
        }
    }
}

/// What may follow a head in the same read.
const READ_AHEAD: usize = 64 << 10;

fn duplicate(stream: &mio::net::TcpStream) -> std::io::Result<std::net::TcpStream> {
    use std::os::fd::AsFd as _;
    Ok(std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_told_apart() {
        let get = parse(b"GET /live/s.flv?a=1 HTTP/1.1\r\nHost: v.com:8080\r\n\r\n");
        assert_eq!(
            get,
            Request::Get {
                path: "/live/s.flv?a=1".into(),
                host: "v.com".into(),
                protocol: Protocol::Http11,
                cross_site: false,
                more: false,
                from: From::default()
            }
        );
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Request::Other);
        assert_eq!(parse(b"GET / HTT"), Request::Partial);
        assert!(matches!(parse(b"\x03\0\0\0\0\r\n\r\n"), Request::Bad(_)));
        let mut long = b"GET / HTTP/1.1\r\nA: ".to_vec();
        long.resize(MAX_HEAD, b'x');
        assert!(matches!(parse(&long), Request::Bad(_)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert!(matches!(parse(many.as_bytes()), Request::Bad(_)));
    }

    proptest! {
        #[test]
        fn arbitrary_heads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
