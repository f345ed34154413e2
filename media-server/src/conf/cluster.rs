//! `cluster { … }` and `forward { … }` of a vhost.

use super::{Directive, Fault};
use crate::upstream::Endpoint;
use crate::upstream::endpoint::{API_PORT, HTTP_PORT, RTMP_PORT};

/// `cluster { mode remote; … }`: what is played or published here is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// `origin`: its servers.
    pub origins: Vec<Endpoint>,
    /// `origin_http`: where HLS is fetched, in the order of `origin`; port 8080 of the origins where it is not given.
    /// SRS has no such directive: there an edge serves no HLS.
    pub http: Vec<Endpoint>,
    /// `token_traverse`: origins are asked whether a client may connect.
    pub token_traverse: bool,
    /// `vhost`: the vhost's name at the origin; `[vhost]` stands for the name here.
    pub vhost: String,
    /// `debug_srs_upnode`: connect tells the origin who this server is.
    pub debug_srs_upnode: bool,
}

/// `cluster { … }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// What an edge needs; none for an origin.
    pub edge: Option<Edge>,
    /// `coworkers`, where `origin_cluster` is on.
    pub coworkers: Option<Vec<Endpoint>>,
}

impl Cluster {
    /// Reads the block.
    pub fn read(block: Option<&Directive>) -> Result<Self, Fault> {
        let Some(block) = block else { return Ok(Cluster::default()) };
        let remote = match block.value("mode") {
            None | Some("local") => false,
            Some("remote") => true,
            Some(other) => {
                let message = format!("mode is {other:?}: \"local\" or \"remote\" is expected");
                return Err(Fault::new(block.get("mode").map_or(block.line, |mode| mode.line), message));
            }
        };
        let edge = remote.then(|| Edge::read(block)).transpose()?;
        let coworkers = (!remote && block.on("origin_cluster"))
            .then(|| endpoints(block, "coworkers", API_PORT))
            .transpose()?;
        Ok(Cluster { edge, coworkers })
    }
}

impl Edge {
    fn read(block: &Directive) -> Result<Self, Fault> {
        let origins = endpoints(block, "origin", RTMP_PORT)?;
        let mut http = endpoints(block, "origin_http", HTTP_PORT)?;
        if http.is_empty() {
            http = origins.iter().map(|origin| Endpoint { port: HTTP_PORT, ..origin.clone() }).collect();
        }
        Ok(Edge {
            origins,
            http,
            token_traverse: block.on("token_traverse"),
            vhost: block.value("vhost").unwrap_or("[vhost]").to_owned(),
            debug_srs_upnode: block.not_off("debug_srs_upnode"),
        })
    }
}

/// The destinations of `forward`, where it is enabled.
pub fn forward(block: Option<&Directive>) -> Result<Vec<Endpoint>, Fault> {
    match block.filter(|block| block.on("enabled")) {
        Some(block) => endpoints(block, "destination", RTMP_PORT),
        None => Ok(Vec::new()),
    }
}

/// All servers that a directive names, each once.
fn endpoints(block: &Directive, name: &str, default_port: u16) -> Result<Vec<Endpoint>, Fault> {
    let mut found = Vec::new();
    for directive in block.all(name) {
        for text in &directive.args {
            let endpoint = Endpoint::parse(text, default_port).ok_or_else(|| {
                let message = format!("{text:?} in {name} is no server: HOST or HOST:PORT is expected");
                Fault::new(directive.line, message)
            })?;
            if !found.contains(&endpoint) {
                found.push(endpoint);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::from_text;

    fn vhost(text: &str) -> Result<crate::conf::settings::Vhost, Fault> {
        let settings = from_text(&format!("listen 1935; vhost __defaultVhost__ {{ {text} }}"))?;
        Ok(settings.vhost("any").unwrap().clone())
    }

    fn names(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_edge_has_origins() {
        let edge = vhost("cluster { mode remote; origin a b:1936 a; token_traverse on; }").unwrap();
        let edge = edge.cluster.edge.unwrap();
        assert_eq!(names(&edge.origins), ["a:1935", "b:1936"]);
        assert_eq!(names(&edge.http), ["a:8080", "b:8080"]);
        assert!(edge.token_traverse && edge.debug_srs_upnode && edge.vhost == "[vhost]");
        // SRS 1 and 2 wrote it without the block.
        let old = vhost("mode remote; origin a;").unwrap().cluster.edge.unwrap();
        assert_eq!(names(&old.origins), ["a:1935"]);
        assert_eq!(vhost("cluster { mode local; origin a; }").unwrap().cluster, Cluster::default());
    }

    #[test]
    fn origins_have_coworkers() {
        let origin = vhost("cluster { mode local; origin_cluster on; coworkers a:9091 b; }").unwrap();
        assert_eq!(names(&origin.cluster.coworkers.unwrap()), ["a:9091", "b:1985"]);
        assert_eq!(vhost("cluster { coworkers a; }").unwrap().cluster.coworkers, None);
    }

    #[test]
    fn destinations_of_forward() {
        for text in ["forward { enabled on; destination 127.0.0.1:1936 b; }", "forward 127.0.0.1:1936 b;"] {
            assert_eq!(names(&vhost(text).unwrap().forward), ["127.0.0.1:1936", "b:1935"], "{text}");
        }
        assert!(vhost("forward { enabled off; destination b; }").unwrap().forward.is_empty());
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "forward { enabled on; destination rtmp://a/b; }",
            "cluster { mode remote; origin a:0; }",
            "cluster { mode far; }",
            "cluster { origin_cluster on; coworkers http://a; }",
        ] {
            assert!(vhost(text).unwrap_err().message.contains("expected"), "{text}");
        }
    }
}
