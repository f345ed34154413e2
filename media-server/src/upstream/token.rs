//! `token_traverse`: an origin, which knows tokens, is asked whether it takes a client's connect.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Endpoint;
use crate::ids;
use crate::resolve::Names;
use crate::rtmp::client::{Client, Event, Intent, Relay};

/// An origin that answers with so many bytes and no result has none.
const MAX_ANSWER: usize = 64 << 10;

/// Asks the first origin that can be reached; the reason when it refuses or none can be.
pub async fn check(
    names: &Names,
    origins: &[Endpoint],
    relay: &Relay,
    patience: Duration,
) -> Result<(), String> {
    let mut reason = "no origin is configured".to_owned();
    for origin in origins {
        let connecting = tokio::time::timeout(patience, connect(names, origin, patience)).await;
        match connecting.unwrap_or_else(|_| Err("it can't be reached in time".into())) {
            Ok(stream) => {
                let asking = tokio::time::timeout(patience, ask(stream, relay)).await;
                let asked = asking.unwrap_or_else(|_| Err("it does not answer in time".into()));
                return asked.map_err(|error| format!("{origin}: {error}"));
            }
            Err(error) => reason = format!("{origin}: {error}"),
        }
    }
    Err(reason)
}

async fn connect(names: &Names, origin: &Endpoint, patience: Duration) -> Result<TcpStream, String> {
    let addresses = names.lookup(&origin.host, origin.port, false, patience).await?;
    TcpStream::connect(&addresses[..]).await.map_err(|error| error.to_string())
}

async fn ask(mut stream: TcpStream, relay: &Relay) -> Result<(), String> {
    let mut out = Vec::new();
    let mut client = Client::relay(relay.clone(), Intent::Connect, ids::random(), &mut out);
    let mut buffer = vec![0; 4096];
    let mut total = 0;
    while total < MAX_ANSWER {
        stream.write_all(&out).await.map_err(|error| error.to_string())?;
        out.clear();
        let count = stream.read(&mut buffer).await.map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("refused: it closed the connection".into());
        }
        total += count;
        let mut input = &buffer[..count];
        while let Some(event) = client.read(&mut input, &mut out).map_err(|error| error.to_string())? {
            match event {
                Event::Connected(_) => return Ok(()),
                Event::Redirect(url) => return Err(format!("redirected to {url}")),
                Event::Started | Event::Media(..) | Event::Reconnect(_) => {}
            }
        }
    }
    Err(format!("no result of connect in {MAX_ANSWER} bytes"))
}
