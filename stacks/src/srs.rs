//! What every SRS of these stacks has in common.

use stackctl::graph::build::Port;

/// The image that `stackctl image build` makes, unless a setting names another.
pub(crate) const IMAGE: &str = "ossrs/srs:4";

/// RTMP, publish and play.
pub(crate) const RTMP: Port = Port::tcp(1935);
/// SRS's HTTP API.
pub(crate) const HTTP_API: Port = Port::tcp(1985);
/// HTTP-FLV, HLS and the pages.
pub(crate) const HTTP: Port = Port::tcp(8080);
