//! Which directives SRS 3 and 4 know, and where.

use super::{Directive, Fault};

/// The names that may stand in a block, and the blocks among them. `*` takes any name.
struct Block {
    path: &'static str,
    names: &'static str,
}

/// Paths are the names of the blocks from the root.
const BLOCKS: &[Block] = &[
    Block {
        path: "",
        names: "listen pid chunk_size max_connections daemon work_dir asprocess utc_time pithy_print_ms srs_log_tank \
                srs_log_level srs_log_file ff_log_dir ff_log_level empty_ip_ok grace_start_wait grace_final_wait \
                force_grace_quit grace_deadline grace_handover disable_daemon_for_docker inotify_auto_reload \
                auto_reload_for_docker in_docker \
                server_id tcmalloc_release_rate query_latest_version first_wait_for_qlv circuit_breaker is_full \
                heartbeat stats http_api http_server stream_caster srt_server rtc_server vhost threads \
                max_streams_per_thread real_ip limits \
                srs_log_format srs_log_max_size srs_log_max_files",
    },
    // This server's own.
    Block { path: "real_ip", names: "trusted proxy_protocol x_forwarded_for" },
    Block { path: "limits", names: "connections_per_ip handshake_timeout send_timeout" },
    Block {
        path: "circuit_breaker",
        names: "enabled high_threshold high_pulse critical_threshold critical_pulse dying_threshold dying_pulse",
    },
    Block { path: "heartbeat", names: "enabled interval url device_id summaries" },
    Block { path: "stats", names: "enabled network disk" },
    Block { path: "http_api", names: "enabled listen crossdomain raw_api https auth" },
    // This server's own.
    Block { path: "http_api.auth", names: "enabled token_file token_env" },
    Block { path: "http_api.raw_api", names: "enabled allow_reload allow_query allow_update" },
    Block { path: "http_api.https", names: "enabled listen key cert" },
    Block {
        path: "http_server",
        names: "enabled listen dir crossdomain https hls_ctx_secret_file hls_ctx_secret_env",
    },
    Block { path: "http_server.https", names: "enabled listen key cert" },
    Block { path: "stream_caster", names: "*" },
    Block { path: "srt_server", names: "*" },
    Block { path: "rtc_server", names: "*" },
    Block { path: "threads", names: "*" },
    Block {
        path: "vhost",
        names: "enabled chunk_size min_latency tcp_nodelay in_ack_size out_ack_size cluster play publish http_remux \
                http_static hls dvr dash hds forward security refer exec ingest transcode bandcheck http_hooks rtc \
                srt",
    },
    Block {
        path: "vhost.cluster",
        names: "mode origin origin_http token_traverse vhost debug_srs_upnode origin_cluster coworkers",
    },
    Block {
        path: "vhost.play",
        names: "gop_cache queue_length time_jitter mix_correct atc atc_auto mw_latency mw_msgs send_min_interval \
                reduce_sequence_header",
    },
    Block { path: "vhost.publish", names: "mr mr_latency firstpkt_timeout normal_timeout parse_sps" },
    Block { path: "vhost.http_remux", names: "enabled mount fast_cache" },
    Block { path: "vhost.http_static", names: "enabled mount dir" },
    Block {
        path: "vhost.hls",
        names: "enabled hls_fragment hls_window hls_td_ratio hls_aof_ratio hls_path hls_m3u8_file hls_ts_file \
                hls_ts_floor hls_entry_prefix hls_acodec hls_vcodec hls_cleanup hls_dispose hls_nb_notify \
                hls_wait_keyframe hls_on_error hls_dts_directly hls_keys hls_fragments_per_key hls_key_file \
                hls_key_file_path hls_key_url hls_ctx hls_ts_ctx hls_storage hls_mount",
    },
    Block {
        path: "vhost.dvr",
        names: "enabled dvr_apply dvr_plan dvr_path dvr_duration dvr_wait_keyframe time_jitter",
    },
    Block {
        path: "vhost.dash",
        names: "enabled dash_fragment dash_update_period dash_timeshift dash_path dash_mpd_file",
    },
    Block { path: "vhost.hds", names: "enabled hds_fragment hds_window hds_path" },
    Block { path: "vhost.forward", names: "enabled destination" },
    Block { path: "vhost.security", names: "enabled allow deny seo" },
    Block { path: "vhost.refer", names: "enabled all publish play" },
    Block { path: "vhost.exec", names: "enabled publish" },
    Block { path: "vhost.ingest", names: "enabled input ffmpeg engine" },
    Block { path: "vhost.ingest.input", names: "type url" },
    Block { path: "vhost.ingest.engine", names: "*" },
    Block { path: "vhost.transcode", names: "enabled ffmpeg engine" },
    Block { path: "vhost.transcode.engine", names: "*" },
    Block { path: "vhost.bandcheck", names: "*" },
    Block {
        path: "vhost.http_hooks",
        names: "enabled on_connect on_close on_publish on_unpublish on_play on_stop on_dvr on_hls on_hls_notify",
    },
    Block { path: "vhost.rtc", names: "*" },
    Block { path: "vhost.srt", names: "*" },
];

/// Blocks that may stand several times.
const REPEATABLE: [&str; 5] = ["vhost", "stream_caster", "ingest", "transcode", "play"];

/// Every directive with the path of its block.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    BLOCKS.iter().flat_map(|block| block.names.split_whitespace().map(|name| (block.path, name)))
}

/// Refuses a directive that SRS would not know, with the nearest name that it does.
pub fn check(root: &Directive) -> Result<(), Fault> {
    check_block(root, "")
}

fn check_block(block: &Directive, path: &str) -> Result<(), Fault> {
    let Some(known) = BLOCKS.iter().find(|known| known.path == path) else { return Ok(()) };
    if known.names == "*" {
        return Ok(());
    }
    for child in &block.children {
        if !known.names.split_whitespace().any(|name| name == child.name) {
            return Err(Fault::new(child.line, unknown(&child.name, path, known.names)));
        }
        let inner = if path.is_empty() { child.name.clone() } else { format!("{path}.{}", child.name) };
        let is_block = BLOCKS.iter().any(|known| known.path == inner);
        if !is_block && !child.children.is_empty() && child.name != "scope" {
            return Err(Fault::new(child.line, format!("{:?} takes values, not a block", child.name)));
        }
        if is_block
            && child.children.is_empty()
            && !child.args.is_empty()
            && !REPEATABLE.contains(&&*child.name)
        {
            return Err(Fault::new(child.line, format!("{:?} takes a block, not values", child.name)));
        }
        check_block(child, &inner)?;
    }
    Ok(())
}

fn unknown(name: &str, path: &str, names: &str) -> String {
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in {path}") };
    let nearest = names
        .split_whitespace()
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match nearest {
        Some((_, nearest)) => format!("illegal directive {name:?} {place}: did you mean {nearest:?}?"),
        None => format!("illegal directive {name:?} {place}: is a \";\" missing before it?"),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("enabld", "enabled"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn every_block_is_named_where_it_stands() {
        for block in BLOCKS.iter().filter(|block| !block.path.is_empty()) {
            let (parent, name) = block.path.rsplit_once('.').unwrap_or(("", block.path));
            let parent = BLOCKS.iter().find(|candidate| candidate.path == parent).unwrap();
            assert!(parent.names.split_whitespace().any(|known| known == name), "{}", block.path);
        }
    }
}
