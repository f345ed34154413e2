//! `ingest`: ffmpeg that fetches a file or a stream and publishes it here or elsewhere.

use super::Program;
use crate::conf::{Directive, Fault, Settings};

/// `ingest NAME { … }` of a vhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    name: String,
    ffmpeg: String,
    /// Options before the input.
    before: Vec<String>,
    input: String,
    engines: Vec<Engine>,
}

/// `engine NAME { … }`: how the input is coded and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Engine {
    name: String,
    /// Options of the input's format.
    input: Vec<String>,
    /// Options behind the input.
    coding: Vec<String>,
    output: String,
}

impl Ingest {
    /// Reads the block; none when it is not enabled.
    pub fn read(block: &Directive) -> Result<Option<Self>, Fault> {
        if !block.on("enabled") {
            return Ok(None);
        }
        let name = block.arg().unwrap_or_default().to_owned();
        let fault = |line: usize, text: &str| Fault::new(line, format!("ingest {name:?}: {text}"));
        let ffmpeg =
            block.value("ffmpeg").ok_or_else(|| fault(block.line, "\"ffmpeg\" is missing"))?.to_owned();
        let input = block.get("input").ok_or_else(|| fault(block.line, "\"input\" is missing"))?;
        let before = match input.value("type") {
            // A file is read in its own time.
            None | Some("file") => vec!["-re".to_owned()],
            Some("stream") => Vec::new(),
            Some(_) => return Err(fault(input.line, "the input's type must be \"file\" or \"stream\"")),
        };
        let url = input.value("url").ok_or_else(|| fault(input.line, "the input has no \"url\""))?.to_owned();
        let engines = block.all("engine").map(Engine::read).collect::<Result<Vec<_>, _>>()?;
        if engines.is_empty() {
            return Err(fault(block.line, "an \"engine\" with an \"output\" is missing"));
        }
        Ok(Some(Ingest { name, ffmpeg, before, input: url, engines }))
    }
}

impl Engine {
    fn read(block: &Directive) -> Result<Self, Fault> {
        let name = block.arg().unwrap_or_default().to_owned();
        let output = block.value("output").filter(|output| !output.is_empty());
        let output = output
            .ok_or_else(|| Fault::new(block.line, format!("engine {name:?} has no \"output\"")))?
            .to_owned();
        let mut coding = Vec::new();
        let mut input = Vec::new();
        let codecs = (block.value("vcodec"), block.value("acodec"));
        let copied = !block.on("enabled") || codecs.0.is_none() || codecs.1.is_none();
        let (video, audio) =
            if copied { ("copy", "copy") } else { (codecs.0.unwrap_or("copy"), codecs.1.unwrap_or("copy")) };
        if !copied {
            let format = block.value("iformat").filter(|format| *format != "off");
            input.extend(format.into_iter().flat_map(|format| ["-f".to_owned(), format.to_owned()]));
            input.extend(options(block, "perfile"));
        }
        let number = |name: &str, option: &str, factor: u64| -> Vec<String> {
            let value = block.value(name).and_then(|value| value.parse::<u64>().ok());
            let value = value.filter(|value| *value > 0).map(|value| value.saturating_mul(factor));
            value.map_or_else(Vec::new, |value| vec![option.to_owned(), value.to_string()])
        };
        match video {
            "vn" => coding.push("-vn".to_owned()),
            "copy" => coding.extend(["-vcodec".to_owned(), "copy".to_owned()]),
            codec => {
                coding.extend(options(block, "vfilter"));
                coding.extend(["-vcodec".to_owned(), codec.to_owned()]);
                coding.extend(number("vbitrate", "-b:v", 1000));
                coding.extend(
                    block.value("vfps").into_iter().flat_map(|fps| ["-r".to_owned(), fps.to_owned()]),
                );
                if let (Some(width), Some(height)) = (block.value("vwidth"), block.value("vheight")) {
                    coding.extend(["-s".to_owned(), format!("{width}x{height}")]);
                }
                coding.extend(number("vthreads", "-threads", 1));
                for (name, option) in [("vprofile", "-profile:v"), ("vpreset", "-preset")] {
                    let value = block.value(name).map(|value| [option.to_owned(), value.to_owned()]);
                    coding.extend(value.into_iter().flatten());
                }
                coding.extend(options(block, "vparams"));
            }
        }
        match audio {
            "an" => coding.push("-an".to_owned()),
            "copy" => coding.extend(["-acodec".to_owned(), "copy".to_owned()]),
            codec => {
                coding.extend(["-acodec".to_owned(), codec.to_owned()]);
                coding.extend(number("abitrate", "-b:a", 1000));
                coding.extend(number("asample_rate", "-ar", 1));
                coding.extend(number("achannels", "-ac", 1));
            }
        }
        if !copied {
            coding.extend(options(block, "aparams"));
        }
        let format = if copied { "flv" } else { block.value("oformat").unwrap_or("flv") };
        if format != "off" {
            coding.extend(["-f".to_owned(), format.to_owned()]);
        }
        Ok(Engine { name, input, coding, output })
    }
}

/// `NAME { a b; c; }` as `-a b -c`.
fn options(block: &Directive, name: &str) -> Vec<String> {
    let children = block.get(name).map_or(&[][..], |inner| &inner.children);
    let options = children
        .iter()
        .flat_map(|child| std::iter::once(format!("-{}", child.name)).chain(child.args.iter().cloned()));
    options.collect()
}

/// What runs for a configuration; `port` is RTMP's.
pub fn programs(settings: &Settings, port: u16) -> Vec<Program> {
    let mut programs = Vec::new();
    for vhost in settings.vhosts.iter().filter(|vhost| vhost.enabled) {
        for ingest in &vhost.ingests {
            for engine in &ingest.engines {
                // What ffmpeg would draw for a terminal is no log.
                let mut argv = vec![ingest.ffmpeg.clone(), "-nostats".into(), "-loglevel".into()];
                argv.push(settings.ff_log_level.clone());
                argv.extend(ingest.before.iter().chain(&engine.input).cloned());
                argv.extend(["-i".to_owned(), ingest.input.clone()]);
                argv.extend(engine.coding.iter().cloned());
                let output =
                    engine.output.replace("[vhost]", &vhost.name).replace("[port]", &port.to_string());
                argv.extend(["-y".to_owned(), output]);
                let log = format!("ffmpeg-ingest-{}-{}-{}.log", vhost.name, ingest.name, engine.name);
                let stderr = Some(settings.ff_log_dir.join(log.replace('/', "_")));
                programs.push(Program { argv, stdout: None, stderr });
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::from_text;

    fn argv(ingest: &str) -> String {
        let text = format!(
            "listen 1935; vhost v {{ ingest livestream {{ enabled on; ffmpeg /bin/ffmpeg; {ingest} }} }}"
        );
        programs(&from_text(&text).unwrap(), 19350)[0].argv.join(" ")
    }

    #[test]
    fn a_file_is_copied_in_its_own_time() {
        assert_eq!(
            argv(
                "input { type file; url ./doc/source.flv; } \
                  engine { enabled off; output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/livestream; }"
            ),
            "/bin/ffmpeg -nostats -loglevel info -re -i ./doc/source.flv -vcodec copy -acodec copy -f flv \
             -y rtmp://127.0.0.1:19350/live?vhost=v/livestream"
        );
    }

    #[test]
    fn a_stream_is_coded_as_the_engine_says() {
        assert_eq!(
            argv(
                "input { type stream; url rtsp://camera/1; } \
                  engine sd { enabled on; perfile { rtsp_transport tcp; } vfilter { vf scale=2:2; } vcodec libx264; \
                  vbitrate 500; vfps 25; vwidth 768; vheight 320; vthreads 2; vprofile main; vpreset medium; \
                  vparams { g 100; } acodec aac; abitrate 45; asample_rate 44100; achannels 2; aparams { profile:a aac_low; } \
                  output rtmp://127.0.0.1/live/sd; }"
            ),
            "/bin/ffmpeg -nostats -loglevel info -rtsp_transport tcp -i rtsp://camera/1 -vf scale=2:2 -vcodec libx264 \
             -b:v 500000 -r 25 -s 768x320 -threads 2 -profile:v main -preset medium -g 100 -acodec aac -b:a 45000 \
             -ar 44100 -ac 2 -profile:a aac_low -f flv -y rtmp://127.0.0.1/live/sd"
        );
    }

    #[test]
    fn what_can_not_run_is_refused() {
        for (ingest, part) in [
            ("input { url a; } engine { output b; }", "\"ffmpeg\""),
            ("ffmpeg f; engine { output b; }", "\"input\""),
            ("ffmpeg f; input { type file; } engine { output b; }", "\"url\""),
            ("ffmpeg f; input { type tape; url a; } engine { output b; }", "\"stream\""),
            ("ffmpeg f; input { url a; }", "\"engine\""),
            ("ffmpeg f; input { url a; } engine { }", "\"output\""),
        ] {
            let fault =
                from_text(&format!("listen 1; vhost v {{ ingest {{ enabled on; {ingest} }} }}")).unwrap_err();
            assert!(fault.message.contains(part), "{ingest}: {}", fault.message);
        }
    }
}
