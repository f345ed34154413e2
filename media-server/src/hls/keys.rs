//! AES-128 of segments (RFC 8216, 4.3.2.4): the whole file in CBC mode with PKCS #7 padding.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use aes::Aes128;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};

use crate::conf::{Directive, Fault, settings};
use crate::recorder::Names;

/// Bytes of a key and of a block.
const BLOCK: usize = 16;

/// `hls_keys on` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// `hls_fragments_per_key`.
    pub fragments: u64,
    /// `hls_key_file`: a key's name in the folder.
    pub file: String,
    /// `hls_key_file_path`: the folder.
    pub path: PathBuf,
    /// `hls_key_url`: where players find the folder; empty where keys lie beside the playlist.
    pub url: String,
}

impl Keys {
    /// Reads the directives of a `hls` block; none unless `hls_keys` is on. `path` is the block's `hls_path`.
    pub fn read(block: &Directive, path: &str) -> Result<Option<Self>, Fault> {
        if !block.on("hls_keys") {
            return Ok(None);
        }
        let text = |name: &str, default: &str| block.value(name).unwrap_or(default).to_owned();
        let fragments: u32 = settings::number(block, "hls_fragments_per_key", 5)?;
        if fragments == 0 {
            return Err(Fault::new(block.line, "hls_fragments_per_key must be more than 0"));
        }
        Ok(Some(Keys {
            fragments: fragments.into(),
            file: text("hls_key_file", "[app]/[stream]-[seq].key"),
            path: text("hls_key_file_path", path).into(),
            url: text("hls_key_url", ""),
        }))
    }

    /// A key's name as the path of its URL.
    pub fn url_path(&self) -> String {
        let path = match self.url.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => &self.url,
        };
        format!("{}/{}", path.trim_matches('/'), self.file)
    }

    /// A new key for segments from `sequence` on; `folder` is the playlist's with its slash.
    pub fn generate(&self, names: Names<'_>, sequence: u64, folder: &str) -> Result<Key, getrandom::Error> {
        let (mut key, mut iv) = ([0; BLOCK], [0; BLOCK]);
        getrandom::fill(&mut key)?;
        getrandom::fill(&mut iv)?;
        let name = names.path(&self.file).replace("[seq]", &sequence.to_string());
        let uri = match self.url.as_str() {
            // As segments are: relative to the playlist.
            "" => name.strip_prefix(folder).unwrap_or(&name).to_owned(),
            url => format!("{}/{name}", url.trim_end_matches('/')),
        };
        Ok(Key { key, shown: Arc::new(Shown { file: self.path.join(name), uri, iv }) })
    }
}

/// What a playlist says about a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its file.
    pub file: PathBuf,
    /// Where players find that.
    pub uri: String,
    /// Where each segment's chain of blocks begins.
    pub iv: [u8; BLOCK],
}

impl Shown {
    /// The line of a playlist, as SRS writes it.
    pub fn line(&self) -> String {
        let mut line = format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{}\",IV=0x", self.uri);
        for byte in self.iv {
            // Writing to a String can't fail.
            let _ = write!(line, "{byte:02x}");
        }
        line
    }
}

/// A key.
pub struct Key {
    key: [u8; BLOCK],
    /// What may be known of it.
    pub shown: Arc<Shown>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Key {
    /// The bytes of its file.
    pub fn bytes(&self) -> &[u8] {
        &self.key
    }

    /// Begins a segment.
    pub fn encryptor(&self) -> Encryptor {
        let cipher = cbc::Encryptor::new(&self.key.into(), &self.shown.iv.into());
        Encryptor { cipher, rest: Vec::new() }
    }
}

/// Encrypts one segment, part by part.
pub struct Encryptor {
    cipher: cbc::Encryptor<Aes128>,
    /// Less than a block.
    rest: Vec<u8>,
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor").finish_non_exhaustive()
    }
}

impl Encryptor {
    /// The blocks that more bytes complete.
    pub fn update(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.rest);
        out.extend_from_slice(bytes);
        self.rest = out.split_off(out.len() / BLOCK * BLOCK);
        for block in out.as_chunks_mut::<BLOCK>().0 {
            self.cipher.encrypt_block(block.into());
        }
        out
    }

    /// The last block, filled up.
    pub fn finish(mut self) -> Vec<u8> {
        let padding = BLOCK - self.rest.len();
        self.update(&[padding as u8; BLOCK][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cbc::cipher::BlockModeDecrypt as _;
    use cbc::cipher::block_padding::Pkcs7;
    use proptest::prelude::*;

    fn keys(text: &str) -> Keys {
        let block = crate::conf::parse::parse(&format!("hls_keys on; {text}")).unwrap();
        Keys::read(&block, "/html").unwrap().unwrap()
    }

    #[test]
    fn names_are_srs_s() {
        let names = Names { vhost: "v", app: "live", stream: "s" };
        let key = keys("").generate(names, 5, "live/").unwrap();
        assert_eq!(key.shown.file, std::path::Path::new("/html/live/s-5.key"));
        assert_eq!(key.shown.uri, "s-5.key");
        let key =
            keys("hls_key_url https://k; hls_key_file_path /keys;").generate(names, 5, "live/").unwrap();
        assert_eq!(key.shown.file, std::path::Path::new("/keys/live/s-5.key"));
        assert!(
            key.shown.line().starts_with("#EXT-X-KEY:METHOD=AES-128,URI=\"https://k/live/s-5.key\",IV=0x")
        );
        for (url, path) in [
            ("", "/[app]/[stream]-[seq].key"),
            ("hls_key_url https://k;", "/[app]/[stream]-[seq].key"),
            ("hls_key_url https://k/a/b/;", "a/b/[app]/[stream]-[seq].key"),
        ] {
            assert_eq!(keys(url).url_path(), path);
        }
        assert_eq!(key.shown.line().len() - key.shown.line().rfind("0x").unwrap(), 34);
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.bytes())), "keys are not logged");
    }

    proptest! {
        #[test]
        fn what_is_encrypted_in_parts_is_decrypted_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..8),
        ) {
            let key = keys("").generate(Names { vhost: "v", app: "a", stream: "s" }, 0, "").unwrap();
            let mut encryptor = key.encryptor();
            let mut bytes: Vec<u8> = parts.iter().flat_map(|part| encryptor.update(part)).collect();
            bytes.extend(encryptor.finish());
            let decryptor = cbc::Decryptor::<Aes128>::new(&key.key.into(), &key.shown.iv.into());
            let plain = decryptor.decrypt_padded::<Pkcs7>(&mut bytes).unwrap();
            prop_assert_eq!(plain, parts.concat());
        }
    }
}
