//! A stream as its client asked for it, and how that is asked of another server.

use crate::rtmp::client::Relay;
use crate::rtmp::session::{Connect, Identity};
use crate::rtmp::url::Target;

use super::Endpoint;
use super::endpoint::RTMP_PORT;
use crate::conf::settings::DEFAULT_VHOST;

/// What a client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The host of its URL.
    pub host: String,
    /// The vhost of the configuration.
    pub vhost: String,
    /// The app.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// Parameters with `?`, or nothing.
    pub param: String,
    /// Its tcUrl, to be told as it came where tokens are checked.
    pub tc_url: String,
    /// Its swfUrl.
    pub swf_url: String,
    /// Its pageUrl.
    pub page_url: String,
}

impl Route {
    /// Of a client; `vhost` is the name of the configuration. A client of HTTP has no connect.
    pub fn new(target: &Target, connect: Option<&Connect>, vhost: &str) -> Self {
        let connect = connect.cloned().unwrap_or_else(|| Connect {
            // The token of a player by HTTP stands behind the stream: RTMP's servers look for it in tcUrl.
            tc_url: format!("rtmp://{}/{}{}", target.vhost, target.app, target.param),
            ..Connect::default()
        });
        Route {
            host: target.host.clone(),
            vhost: vhost.to_owned(),
            app: target.app.clone(),
            stream: target.stream.clone(),
            param: target.param.clone(),
            tc_url: connect.tc_url,
            swf_url: connect.swf_url,
            page_url: connect.page_url,
        }
    }

    /// `vhost/app/stream`.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.vhost, self.app, self.stream)
    }

    /// Asks another server for the stream, with the fields of SRS. `vhost` is its name there: `[vhost]` stands for the
    /// one here.
    pub fn relay(&self, to: &Endpoint, vhost: &str, identity: Option<Identity>) -> Relay {
        let vhost = vhost.replace("[vhost]", &self.vhost);
        Relay {
            app: self.app.clone(),
            tc_url: tc_url(to, &self.app),
            stream: self.stream_with_query(&vhost),
            identity,
            ..Relay::default()
        }
    }

    /// Asks another server whether it lets this client in: its own connect, as it came.
    pub fn check(&self) -> Relay {
        Relay {
            app: self.app.clone(),
            tc_url: self.tc_url.clone(),
            swf_url: self.swf_url.clone(),
            page_url: self.page_url.clone(),
            stream: self.stream.clone(),
            identity: None,
        }
    }

    /// SRS's `srs_generate_stream_with_query`: a vhost that the other server could not guess is appended.
    fn stream_with_query(&self, vhost: &str) -> String {
        let mut query = self.param.trim_start_matches('?').to_owned();
        if !self.param.contains("vhost=") {
            let is_ip = self.host.is_empty() || self.host.parse::<std::net::IpAddr>().is_ok();
            let vhost = match vhost {
                DEFAULT_VHOST if is_ip => "",
                DEFAULT_VHOST => &self.host,
                other => other,
            };
            if !vhost.is_empty() {
                let separator = if query.is_empty() { "" } else { "&" };
                query = format!("{query}{separator}vhost={vhost}");
            }
        }
        match query.is_empty() {
            true => self.stream.clone(),
            false => format!("{}?{query}", self.stream),
        }
    }
}

/// `rtmp://HOST[:PORT]/APP`; RTMP's own port is left out, as SRS does.
pub fn tc_url(server: &Endpoint, app: &str) -> String {
    match (server.port, server.host.contains(':')) {
        (RTMP_PORT, false) => format!("rtmp://{}/{app}", server.host),
        (RTMP_PORT, true) => format!("rtmp://[{}]/{app}", server.host),
        _ => format!("rtmp://{server}/{app}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vhost_that_can_not_be_guessed_is_named() {
        for (host, vhost, param, there, expected) in [
            ("127.0.0.1", DEFAULT_VHOST, "", "[vhost]", "s"),
            ("127.0.0.1", DEFAULT_VHOST, "?token=a", "[vhost]", "s?token=a"),
            ("edge.example.com", DEFAULT_VHOST, "", "[vhost]", "s?vhost=edge.example.com"),
            ("edge.example.com", "edge.example.com", "?k=v", "[vhost]", "s?k=v&vhost=edge.example.com"),
            ("127.0.0.1", "a.com", "", "same.[vhost]", "s?vhost=same.a.com"),
            ("127.0.0.1", "a.com", "?vhost=a.com", "b.com", "s?vhost=a.com"),
        ] {
            let route = Route {
                host: host.into(),
                vhost: vhost.into(),
                app: "live".into(),
                stream: "s".into(),
                param: param.into(),
                ..Route::default()
            };
            let relay = route.relay(&Endpoint { host: "o".into(), port: 1935 }, there, None);
            assert_eq!(relay.stream, expected, "{host} {vhost} {param} {there}");
            assert_eq!(relay.tc_url, "rtmp://o/live");
        }
    }
}
