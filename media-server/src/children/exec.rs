//! `exec`: programs that run as long as a stream is published.

use std::path::PathBuf;

use super::Program;
use crate::conf::{Directive, Fault, Settings};
use crate::rtmp::session::Connect;
use crate::rtmp::url::Target;
use crate::stat::StreamStat;

/// A command of `exec { publish …; }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    argv: Vec<String>,
    stdout: Option<String>,
    stderr: Option<String>,
}

/// What a command's variables stand for; what a client said about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// The vhost of the configuration.
    pub vhost: String,
    /// `[app]`.
    pub app: String,
    /// `[stream]`.
    pub stream: String,
    /// Parameters, with `?`.
    pub param: String,
    /// `[tcUrl]`.
    pub tc_url: String,
    /// `[pageUrl]`.
    pub page_url: String,
    /// `[swfUrl]`.
    pub swf_url: String,
}

impl Variables {
    /// Those of a stream, its publisher's target and what that said when it connected.
    pub fn new(stream: &StreamStat, target: &Target, connect: Option<&Connect>) -> Self {
        let text = |field: fn(&Connect) -> &String| connect.map(field).cloned().unwrap_or_default();
        Variables {
            vhost: stream.vhost.name.clone(),
            app: stream.app.clone(),
            stream: stream.name.clone(),
            param: target.param.clone(),
            tc_url: text(|connect| &connect.tc_url),
            page_url: text(|connect| &connect.page_url),
            swf_url: text(|connect| &connect.swf_url),
        }
    }
}

/// Reads the block; empty when it is not enabled.
pub fn read(block: Option<&Directive>) -> Result<Vec<Exec>, Fault> {
    let Some(block) = block.filter(|block| block.on("enabled")) else { return Ok(Vec::new()) };
    block.all("publish").map(command).collect()
}

/// A command; `>FILE`, `1>FILE` and `2>FILE` say where output and errors go, as in a shell.
fn command(directive: &Directive) -> Result<Exec, Fault> {
    let mut exec = Exec { argv: Vec::new(), stdout: None, stderr: None };
    let mut words = directive.args.iter();
    while let Some(word) = words.next() {
        let (slot, file) = match (word.strip_prefix("2>"), word.strip_prefix("1>").or(word.strip_prefix('>')))
        {
            (Some(file), _) => (&mut exec.stderr, file),
            (None, Some(file)) => (&mut exec.stdout, file),
            (None, None) => {
                exec.argv.push(word.clone());
                continue;
            }
        };
        let file = if file.is_empty() { words.next().cloned() } else { Some(file.to_owned()) };
        *slot =
            Some(file.ok_or_else(|| Fault::new(directive.line, format!("{word:?} needs a file behind it")))?);
    }
    match exec.argv.is_empty() {
        true => Err(Fault::new(directive.line, "publish needs a program")),
        false => Ok(exec),
    }
}

/// What runs for a stream.
pub fn programs(settings: &Settings, variables: &Variables, port: u16) -> Vec<Program> {
    let vhost = settings.vhosts.iter().find(|vhost| vhost.name == variables.vhost && vhost.enabled);
    let commands = vhost.map_or(&[][..], |vhost| &vhost.exec);
    commands.iter().filter_map(|command| program(command, settings, variables, port)).collect()
}

fn program(exec: &Exec, settings: &Settings, variables: &Variables, port: u16) -> Option<Program> {
    let fill = |template: &String| variables.fill(template, port);
    let mut argv = Vec::new();
    for template in &exec.argv {
        let argument = fill(template);
        // What a client says must not become an option of the program.
        if argument.starts_with('-') && !template.starts_with('-') || argument.contains('\0') {
            tracing::error!("{}/{}: no exec, {template} is {argument:?}", variables.app, variables.stream);
            return None;
        }
        argv.push(argument);
    }
    let log = format!("exec-{}-{}-{}.log", variables.vhost, variables.app, variables.stream);
    let log = settings.ff_log_dir.join(log.replace('/', "_"));
    Some(Program {
        argv,
        stdout: exec.stdout.as_ref().map(|file| PathBuf::from(fill(file))),
        stderr: Some(exec.stderr.as_ref().map_or(log, |file| PathBuf::from(fill(file)))),
    })
}

impl Variables {
    fn fill(&self, template: &str, port: u16) -> String {
        let vhost = match self.vhost.as_str() {
            crate::conf::settings::DEFAULT_VHOST => String::new(),
            name => format!("?vhost={name}"),
        };
        let param = self.param.trim_start_matches('?');
        let param = match (vhost.is_empty(), param.is_empty()) {
            (_, true) => vhost,
            (true, false) => format!("?{param}"),
            (false, false) => format!("{vhost}&{param}"),
        };
        let url = format!("rtmp://127.0.0.1:{port}/{}/{}{param}", self.app, self.stream);
        let port = port.to_string();
        let values = [
            ("[url]", &url),
            ("[vhost]", &self.vhost),
            ("[port]", &port),
            ("[app]", &self.app),
            ("[stream]", &self.stream),
            ("[tcUrl]", &self.tc_url),
            ("[swfUrl]", &self.swf_url),
            ("[pageUrl]", &self.page_url),
        ];
        // From left to right, so that a value is not looked through for variables.
        let mut text = String::new();
        let mut rest = template;
        while !rest.is_empty() {
            if let Some((name, value)) = values.iter().find(|(name, _)| rest.starts_with(name)) {
                text.push_str(value);
                rest = &rest[name.len()..];
                continue;
            }
            let next = rest[1..].find('[').map_or(rest.len(), |at| at + 1);
            text.push_str(&rest[..next]);
            rest = &rest[next..];
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::from_text;

    fn run(publish: &str, stream: &str) -> Vec<Program> {
        let text =
            format!("listen 1935; ff_log_dir /l; vhost v {{ exec {{ enabled on; publish {publish}; }} }}");
        let variables = Variables {
            vhost: "v".into(),
            app: "live".into(),
            stream: stream.into(),
            param: "?token=a".into(),
            tc_url: "rtmp://h/live".into(),
            ..Variables::default()
        };
        programs(&from_text(&text).unwrap(), &variables, 1935)
    }

    #[test]
    fn variables_and_redirections() {
        let programs = run("ffmpeg -i [url] -y ./[stream]-[app].flv >/tmp/[stream].out 2> /tmp/err", "a");
        let expected = ["ffmpeg", "-i", "rtmp://127.0.0.1:1935/live/a?vhost=v&token=a", "-y", "./a-live.flv"];
        assert_eq!(programs[0].argv, expected);
        assert_eq!(programs[0].stdout, Some("/tmp/a.out".into()));
        assert_eq!(programs[0].stderr, Some("/tmp/err".into()));
        assert_eq!(run("x", "a/b")[0].stderr, Some("/l/exec-v-live-a_b.log".into()));
    }

    #[test]
    fn a_client_can_not_add_options_words_or_variables() {
        assert_eq!(run("x [stream]", "a b;c $(d) [app]")[0].argv, ["x", "a b;c $(d) [app]"]);
        assert!(run("x [stream]", "-version").is_empty());
        assert_eq!(run("x -[stream]", "v")[0].argv, ["x", "-v"]);
        assert_eq!(run("x >[stream]", ">y")[0].argv, ["x"]);
    }

    #[test]
    fn what_can_not_run_is_refused() {
        for text in ["publish;", "publish x >;", "publish >y;"] {
            let text = format!("listen 1935; vhost v {{ exec {{ enabled on; {text} }} }}");
            assert!(from_text(&text).is_err(), "{text}");
        }
    }
}
