//! `hls_ctx`, which tells one viewer of HLS from the others: signed, so that every server with the same secret takes
//! it, whichever of them gave it.
//!
//! ```text
//! http_server {
//!     hls_ctx_secret_file  /run/secrets/hls/secret;     # or: hls_ctx_secret_env SRS_HLS_SECRET;
//! }
//! ```
//!
//! A context is `ID-TIME-SIGNATURE`: the viewer's id, which stands in logs, hooks and the API; when it was given, in
//! seconds of 1970; and the first half of an HMAC-SHA256 over both and the vhost, app and stream that it is for. Not
//! over the address: viewers change it, and so does what stands before pods. As with SRS, whoever is given a context
//! may play with it.
//!
//! Without a secret each process makes one of its own. Then a viewer must come to the same server each time: another
//! one, or the same after a restart, asks on_play again for what it does not know.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::Place;
use crate::conf::{Directive, Fault};
use crate::ids;
use crate::recorder::Names;

/// For so long a server that does not know a viewer takes its context instead of asking on_play: longer than most
/// shows and shorter than a day, for who was allowed yesterday may not be today.
pub(super) const LIFE: Duration = Duration::from_hours(12);
/// Servers' clocks differ by less.
const SKEW: Duration = Duration::from_mins(5);
/// How many bytes of the HMAC are the signature.
const SIGNATURE: usize = 16;
/// The longest context that is looked at; ours have 40 characters.
const MAX_LENGTH: usize = 64;
/// A shorter secret could be found by trying.
const SHORTEST: usize = 16;
/// The longest secret.
const LONGEST: usize = 4096;
const FILE: &str = "hls_ctx_secret_file";
const ENV: &str = "hls_ctx_secret_env";

/// Where `http_server { … }` says that the secret is; none where each process makes its own.
pub fn place(block: Option<&Directive>) -> Result<Option<Place>, Fault> {
    block.map_or(Ok(None), |block| Place::read(block, FILE, ENV))
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("http_server: the secret of hls_ctx can't be read from {place}: {source}")]
    Read {
        /// The file.
        place: Place,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it that could be a secret.
    #[error(
        "http_server: {place} holds no secret for hls_ctx: 16 to 4096 bytes are expected, the same on all servers \
         behind one address; `openssl rand -hex 32` makes one"
    )]
    Unusable {
        /// The file or the variable.
        place: Place,
    },
}

/// What contexts are signed with.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads it from where the configuration says.
    pub fn load(place: &Place) -> Result<Self, Error> {
        let bytes = place.load().map_err(|source| Error::Read { place: place.clone(), source })?;
        let usable = (SHORTEST..=LONGEST).contains(&bytes.len());
        let secret = usable.then(|| Secret::of(&bytes)).flatten();
        secret.ok_or_else(|| Error::Unusable { place: place.clone() })
    }

    /// HMAC takes keys of any length, and so there is none only in name.
    fn of(bytes: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(bytes).ok().map(Secret)
    }

    /// One that nobody knows.
    fn random() -> Self {
        let mut bytes = [0; 64];
        // The system's randomness fails only where there is none at all; what is left then is the hash maps' own.
        if getrandom::fill(&mut bytes).is_err() {
            for part in bytes.chunks_exact_mut(8) {
                part.copy_from_slice(&ids::random().to_le_bytes());
            }
        }
        Secret(Hmac::new(&bytes.into()))
    }

    fn sign(&self, id: &str, time: &str, names: &Names<'_>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in ["hls_ctx", id, time, names.vhost, names.app, names.stream] {
            // No part can be taken for the end of the one before.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// A context that a server with this secret gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    /// The viewer's id.
    pub(super) id: String,
    /// It is not too old to be taken by a server that does not know the viewer.
    pub(super) fresh: bool,
}

/// The contexts of a server.
#[derive(Debug)]
pub struct Contexts(RwLock<(Secret, bool)>);

impl Default for Contexts {
    fn default() -> Self {
        Contexts(RwLock::new((Secret::random(), false)))
    }
}

impl Contexts {
    /// Signs with this secret from now on, or, where none is configured, with one of its own.
    pub fn set(&self, secret: Option<Secret>) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match secret {
            Some(secret) => *now = (secret, true),
            // What this process gave goes on.
            None if !now.1 => {}
            None => *now = (Secret::random(), false),
        }
    }

    fn secret(&self) -> Secret {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// A context for a viewer of a stream.
    pub(super) fn give(&self, id: &str, names: &Names<'_>, now: SystemTime) -> String {
        let time = format!("{:x}", seconds(now));
        let signature = self.secret().sign(id, &time, names).finalize().into_bytes();
        format!("{id}-{time}-{}", URL_SAFE_NO_PAD.encode(&signature[..SIGNATURE]))
    }

    /// Reads a context of that stream; none when no server with this secret gave it.
    pub(super) fn read(&self, text: &str, names: &Names<'_>, now: SystemTime) -> Option<Context> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let (id, rest) = text.split_once('-')?;
        let (time, signature) = rest.split_once('-')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| bytes.len() == SIGNATURE)?;
        self.secret().sign(id, time, names).verify_truncated_left(&signature).ok()?;
        let given = u64::from_str_radix(time, 16).ok()?;
        let now = seconds(now);
        let fresh = given <= now + SKEW.as_secs() && now < given.saturating_add(LIFE.as_secs());
        Some(Context { id: id.to_owned(), fresh })
    }
}

/// The id that a context says, whoever gave it.
pub(super) fn id_of(text: &str) -> &str {
    text.split('-').next().unwrap_or(text)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'static> = Names { vhost: "v", app: "live", stream: "s" };

    fn contexts(secret: &str) -> Contexts {
        let contexts = Contexts::default();
        contexts.set(Secret::of(secret.as_bytes()));
        contexts
    }

    #[test]
    fn any_server_with_the_secret_takes_a_context() {
        let (one, other) = (contexts("the secret of both"), contexts("the secret of both"));
        let now = SystemTime::now();
        let text = one.give("ab12cd34", &NAMES, now);
        assert!(text.starts_with("ab12cd34-") && text.len() <= MAX_LENGTH, "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        let known = Context { id: "ab12cd34".into(), fresh: true };
        assert_eq!(other.read(&text, &NAMES, now), Some(known));
        assert_eq!(contexts("another secret, as long").read(&text, &NAMES, now), None);
        assert_eq!(Contexts::default().read(&text, &NAMES, now), None);
    }

    #[test]
    fn a_context_is_for_its_stream_and_viewer_alone() {
        let contexts = contexts("a secret of some length");
        let now = SystemTime::now();
        let text = contexts.give("ab12cd34", &NAMES, now);
        for names in [
            Names { vhost: "w", ..NAMES },
            Names { app: "live2", ..NAMES },
            Names { stream: "t", ..NAMES },
            Names { app: "lives", stream: "", ..NAMES },
        ] {
            assert_eq!(contexts.read(&text, &names, now), None, "{names:?}");
        }
        let (id, rest) = text.split_once('-').unwrap();
        let (time, signature) = rest.split_once('-').unwrap();
        for other in [
            format!("zz12cd34-{rest}"),
            format!("{id}-{time}0-{signature}"),
            format!("{id}-{time}-"),
            format!("{id}-{time}-{}", &signature[..20]),
            format!("{id}-{time}-{signature}AAAA"),
            format!("{id}-{time}"),
            "ab12cd34".to_owned(),
            String::new(),
            "-".repeat(40),
            "x".repeat(10_000),
        ] {
            assert_eq!(contexts.read(&other, &NAMES, now), None, "{other}");
        }
    }

    #[test]
    fn a_context_gets_old() {
        let contexts = contexts("a secret of some length");
        let now = UNIX_EPOCH + Duration::from_hours(500_000);
        let text = contexts.give("a", &NAMES, now);
        let fresh = |at| contexts.read(&text, &NAMES, at).unwrap().fresh;
        assert!(fresh(now) && fresh(now + LIFE - Duration::from_secs(1)) && fresh(now - SKEW));
        assert!(!fresh(now + LIFE) && !fresh(now - SKEW - Duration::from_secs(1)));
    }

    #[test]
    fn an_own_secret_stays_over_reloads() {
        let contexts = Contexts::default();
        let now = SystemTime::now();
        let text = contexts.give("a", &NAMES, now);
        contexts.set(None);
        assert!(contexts.read(&text, &NAMES, now).is_some());
        contexts.set(Secret::of(b"a secret of some length"));
        assert!(contexts.read(&text, &NAMES, now).is_none());
        assert_eq!(format!("{contexts:?}").matches("secret of").count(), 0);
    }

    #[test]
    fn a_secret_comes_from_a_file_or_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let place = Place::File(path.clone());
        assert!(Secret::load(&place).unwrap_err().to_string().contains(&path.display().to_string()));
        for (text, good) in [
            ("0123456789abcdef\n", true),
            ("  0123456789abcde \n", false),
            ("", false),
            (&*"x".repeat(4097), false),
        ] {
            std::fs::write(&path, text).unwrap();
            let loaded = Secret::load(&place);
            assert_eq!(loaded.is_ok(), good, "{text:?}");
            assert!(loaded.err().is_none_or(|error| text.is_empty() || !error.to_string().contains(text)));
        }
        let missing = Secret::load(&Place::Env("NO_SUCH_VARIABLE_HERE".into())).unwrap_err().to_string();
        assert!(missing.contains("$NO_SUCH_VARIABLE_HERE"), "{missing}");
        for (text, good) in [
            ("hls_ctx_secret_file x;", true),
            ("hls_ctx_secret_env X;", true),
            ("", true),
            ("hls_ctx_secret_file x; hls_ctx_secret_env X;", false),
        ] {
            let block = crate::conf::parse::parse(text).unwrap();
            assert_eq!(place_of(&block).is_ok(), good, "{text}");
        }
    }

    fn place_of(block: &Directive) -> Result<Option<Place>, Fault> {
        super::place(Some(block))
    }
}
