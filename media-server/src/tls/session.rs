//! One TLS connection of a client, sans-IO: records in, bytes out and back.
//!
//! Between calls it keeps what rustls needs (keys, a few hundred bytes), the beginning of a record that is still on
//! its way, and ciphertext that the socket did not take; an idle connection keeps neither. Everything else lives in
//! scratch space of the thread.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// A record's most plaintext.
const RECORD: usize = 16 << 10;
/// What a record's header, nonce and tag add, in all suites of TLS 1.2 and 1.3.
const RECORD_OVERHEAD: usize = 64;
/// Plaintext of one write: two records. A slow reader's connection keeps no more than their ciphertext.
const WRITE: usize = 2 * RECORD;
/// What headers, nonces and tags of a write's records may add, and a message of the handshake beside them.
const OVERHEAD: usize = 4 << 10;
/// The most ciphertext that waits for a client who asks and does not read.
const MAX_PENDING: usize = WRITE + OVERHEAD;
/// What is read from the socket at once; a record and its header fit in.
pub const READ: usize = 32 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Space that connections of a thread use one after the other.
#[derive(Default)]
struct Scratch {
    incoming: Vec<u8>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

/// A connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record.
    incoming: Vec<u8>,
    /// Ciphertext that waits for the socket, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    /// The client has said that it sends nothing more.
    ended: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("pending", &self.pending_len()).finish_non_exhaustive()
    }
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}"))
}

impl Session {
    /// A connection that starts with the handshake.
    pub fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(broken)?;
        Ok(Session { connection, incoming: Vec::new(), pending: Vec::new(), sent: 0, ended: false })
    }

    /// Ciphertext that waits for the socket.
    pub fn pending_len(&self) -> usize {
        self.pending.len() - self.sent
    }

    /// The handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The client has said that it sends nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads once from the socket by `read`, and gives what the client said to `sink`: no more than was read and
    /// the beginning of a record before. True when there may be more in the socket, or the end came. Answers of the
    /// handshake wait to be flushed, also beside an error: the client is told by an alert.
    ///
    /// `ErrorKind::WouldBlock` as the socket says it, `InvalidData` when it is not TLS or not acceptable.
    pub fn receive(
        &mut self,
        mut sink: impl FnMut(&[u8]),
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let buffer = &mut scratch.incoming;
            let kept = self.incoming.len();
            if buffer.len() < kept + READ {
                buffer.resize(kept + READ, 0);
            }
            let count = read(&mut buffer[kept..kept + READ])?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            buffer[..kept].copy_from_slice(&self.incoming);
            let used = self.process(&mut buffer[..kept + count], &mut sink)?;
            // No capacity is kept: most connections say something once.
            self.incoming = buffer[used..kept + count].to_vec();
            // A record is longer than that only when it is no record, which rustls has said.
            Ok(self.ended || count == READ)
        })
    }

    /// Works through records; gives how many bytes are done with.
    fn process(&mut self, data: &mut [u8], sink: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut data[used..]);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        sink(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    if self.pending.len() > MAX_PENDING {
                        return Err(broken("the client asks and does not read"));
                    }
                    append(&mut self.pending, 0, |out| match message.encode(out) {
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        other => other.map(Ok).map_err(broken),
                    })?;
                }
                // It is on its way: `pending` goes out before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    done = true;
                }
                // Early data are never asked for.
                Ok(_) => done = true,
                Err(error) => {
                    self.alert();
                    return Err(broken(error));
                }
            }
            used += discard;
            if done {
                return Ok(used);
            }
        }
    }

    /// After an error: what rustls wants the client to know.
    fn alert(&mut self) {
        for _ in 0..4 {
            let status = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut message)) = status.state else { return };
            let encoded = append(&mut self.pending, 0, |out| match message.encode(out) {
                Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                other => other.map(Ok).map_err(broken),
            });
            if encoded.is_err() {
                return;
            }
        }
    }

    /// Sends what waits; false when the socket takes no more.
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        while self.sent < self.pending.len() {
            match write(&self.pending[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.pending = Vec::new();
        self.sent = 0;
        Ok(true)
    }

    /// Encrypts and sends `parts`, one after the other, as far as the socket goes; gives how many of their bytes were
    /// taken. Taken bytes may still wait to be flushed.
    ///
    /// `ErrorKind::WouldBlock` when none were.
    pub fn send<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.flush(&mut write)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { plain, sealed, .. } = scratch;
            let mut taken = 0;
            let mut parts = parts.filter(|part| !part.is_empty());
            let mut part: &[u8] = &[];
            loop {
                plain.clear();
                while plain.len() < WRITE {
                    if part.is_empty() {
                        let Some(next) = parts.next() else { break };
                        part = next;
                    }
                    let (now, later) = part.split_at(part.len().min(WRITE - plain.len()));
                    plain.extend_from_slice(now);
                    part = later;
                }
                if plain.is_empty() {
                    return Ok(taken);
                }
                sealed.clear();
                self.seal(plain, sealed)?;
                taken += plain.len();
                let sent = write_some(sealed, &mut write)?;
                if sent < sealed.len() {
                    self.pending = sealed[sent..].to_vec();
                    return Ok(taken);
                }
            }
        })
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        // The handshake may have more to say first: tickets, new keys.
        for _ in 0..8 {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.incoming);
            match state.map_err(broken)? {
                ConnectionState::EncodeTlsData(mut message) => {
                    append(sealed, 0, |out| match message.encode(out) {
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        other => other.map(Ok).map_err(broken),
                    })?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let room = plain.len() + (plain.len() / RECORD + 1) * RECORD_OVERHEAD;
                    return append(sealed, room, |out| match traffic.encrypt(plain, out) {
                        Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        other => other.map(Ok).map_err(broken),
                    });
                }
                ConnectionState::PeerClosed => self.ended = true,
                _ => break,
            }
            self.incoming.drain(..discard);
        }
        Err(broken("nothing can be sent before the handshake is over"))
    }

    /// Adds a close_notify to what waits.
    pub fn close(&mut self) {
        let pending = &mut self.pending;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.connection.process_tls_records(&mut self.incoming).state
        {
            // Who has no room for the farewell does without.
            let _ = append(pending, 0, |out| match traffic.queue_close_notify(out) {
                Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                other => other.map(Ok).map_err(broken),
            });
        }
    }
}

/// Appends what `encode` writes, `room` bytes or so; it gives the size where that is not enough.
fn append(
    to: &mut Vec<u8>,
    mut room: usize,
    mut encode: impl FnMut(&mut [u8]) -> io::Result<Result<usize, usize>>,
) -> io::Result<()> {
    let at = to.len();
    loop {
        to.resize(at + room, 0);
        match encode(&mut to[at..])? {
            Ok(count) => {
                to.truncate(at + count);
                return Ok(());
            }
            Err(needed) => room = needed,
        }
    }
}

fn write_some(mut bytes: &[u8], write: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    let all = bytes.len();
    while !bytes.is_empty() {
        match write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(all - bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::collections::VecDeque;
    use std::io::{Read as _, Write as _};

    /// Both configurations, with a certificate of their own.
    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let https = crate::tls::Https {
            directive: "https",
            listen: "127.0.0.1:0".parse().unwrap(),
            key: dir.path().join("key"),
            cert: dir.path().join("cert"),
        };
        std::fs::write(&https.key, key.serialize_pem()).unwrap();
        std::fs::write(&https.cert, cert.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (https.load().unwrap().config, Arc::new(client))
    }

    fn client(config: Arc<ClientConfig>) -> ClientConnection {
        ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap()
    }

    /// A socket that takes and gives as many bytes at a time as `sizes` say, and nothing where they say 0.
    struct Wire<'a> {
        bytes: VecDeque<u8>,
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl<'a> Wire<'a> {
        fn new(sizes: &'a [usize]) -> Self {
            Wire { bytes: VecDeque::new(), sizes: sizes.iter().cycle() }
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.sizes.next().copied().unwrap_or(1).min(bytes.len()) {
                0 => Err(ErrorKind::WouldBlock.into()),
                count => {
                    self.bytes.extend(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.next().copied().unwrap_or(1);
            match size.min(into.len()).min(self.bytes.len()) {
                0 => Err(ErrorKind::WouldBlock.into()),
                count => {
                    for (slot, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
                        *slot = byte;
                    }
                    Ok(count)
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn everything_arrives_however_sockets_cut_it(
            mut up in prop::collection::vec(0usize..3000, 1..6),
            mut down in prop::collection::vec(0usize..50_000, 1..6),
            parts in prop::collection::vec(0usize..20_000, 1..12),
            asked in 1usize..60_000,
        ) {
            // Something must move at last.
            up.push(1);
            down.push(1000);
            let (server, config) = configs();
            let mut session = Session::new(server).unwrap();
            let mut client = client(config);
            let question: Vec<u8> = (0..asked).map(|number| number as u8).collect();
            let answer: Vec<u8> = (0..parts.iter().sum()).map(|number: usize| (number % 253) as u8).collect();
            let mut slices = Vec::new();
            let mut rest = &answer[..];
            for part in &parts {
                let (slice, after) = rest.split_at(*part);
                slices.push(slice);
                rest = after;
            }
            let (mut to_server, mut to_client) = (Wire::new(&up), Wire::new(&down));
            let (mut asked, mut heard, mut answered) = (Vec::new(), Vec::new(), 0);
            client.writer().write_all(&question).unwrap();
            let mut closed = false;
            for turn in 0.. {
                prop_assert!(turn < 200_000, "nothing moves any more");
                let mut records = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut records).unwrap();
                }
                to_server.bytes.extend(records);
                match session.receive(|bytes| asked.extend_from_slice(bytes), |into| to_server.read(into)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
                session.flush(|bytes| to_client.write(bytes)).unwrap();
                if asked.len() == question.len() && answered < answer.len() {
                    let mut skip = answered;
                    let left = slices.iter().map(|slice| {
                        let skipped = skip.min(slice.len());
                        skip -= skipped;
                        &slice[skipped..]
                    });
                    match session.send(left, |bytes| to_client.write(bytes)) {
                        Ok(count) => answered += count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => panic!("{error}"),
                    }
                    prop_assert!(session.pending_len() <= MAX_PENDING);
                }
                if answered == answer.len() && asked.len() == question.len() && !closed {
                    closed = true;
                    session.close();
                }
                let bytes: Vec<u8> = to_client.bytes.drain(..).collect();
                let mut input = &bytes[..];
                while !input.is_empty() {
                    client.read_tls(&mut input).unwrap();
                    client.process_new_packets().unwrap();
                    let mut part = vec![0; 1 << 16];
                    loop {
                        match client.reader().read(&mut part) {
                            Ok(0) | Err(_) => break,
                            Ok(count) => heard.extend_from_slice(&part[..count]),
                        }
                    }
                }
                // The end of the stream is told by close_notify.
                if closed && session.pending_len() == 0 && matches!(client.reader().read(&mut [0]), Ok(0)) {
                    break;
                }
            }
            prop_assert_eq!(asked, question);
            prop_assert_eq!(heard, answer);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 1..600)) {
            let (server, _) = configs();
            let mut session = Session::new(server).unwrap();
            let mut input = &bytes[..];
            let result = session.receive(|_| panic!("there is no plaintext"), |into| input.read(into));
            prop_assert!(result.is_ok() || result.is_err_and(|error| error.kind() == ErrorKind::InvalidData));
            let _ = session.flush(|bytes| Ok(bytes.len()));
            session.close();
        }
    }
}
