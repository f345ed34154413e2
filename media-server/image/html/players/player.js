// Plays HTTP-FLV, WebSocket-FLV and HTTP-TS (mpegts.js) and HLS (hls.js), and comes back by itself after any break.
//
// Query: SRS's server, port, schema, vhost, app, stream, autostart, or a whole `url`. Anything else (a token) is passed
// on to the stream.

import { bitrate, origin, query, server, setText } from "../console/common.js";

/** The waits between attempts, in milliseconds: doubled from the first to the last. */
const FIRST_WAIT = 500;
const LAST_WAIT = 10000;
/** Viewers who come back after a clean end are spread over so many milliseconds. */
const SOON = 200;
/** Without progress for so long, a connection counts as broken. */
const STALLED = 12000;
/** Playing for so long forgets earlier failures. */
const STEADY = 10000;
/** How far behind live a viewer may fall before playing faster, and before jumping, in seconds. */
const BEHIND = { target: 1.5, faster: 3, jump: 10 };
/** Parameters of the page; all others are the stream's. */
const OWN = new Set(["api", "app", "autostart", "buffer", "dir", "filename", "format", "host", "hostname", "http_port",
  "pathname", "port", "schema", "server", "stream", "url", "vhost"]);
const MIME = { flv: "flv", ws: "flv", ts: "mpegts" };

const $ = (id) => document.getElementById(id);
const video = $("video");

/** The URL that the query means. */
function wanted(at) {
  if (query.get("url")) return query.get("url");
  let stream = query.get("stream") || "livestream";
  const named = /\.(flv|m3u8|ts)$/.exec(stream);
  const format = query.get("format") || { flv: "flv", m3u8: "hls", ts: "ts" }[named?.[1]] || "flv";
  if (named) stream = stream.slice(0, named.index);
  const path = `${query.get("app") || "live"}/${stream}`.split("/").map(encodeURIComponent).join("/");
  const search = new URLSearchParams();
  const vhost = query.get("vhost");
  if (vhost && vhost !== "__defaultVhost__" && vhost !== query.get("server")) search.set("vhost", vhost);
  for (const [name, value] of query) if (!OWN.has(name)) search.append(name, value);
  const schema = format === "ws" ? at.schema.replace("http", "ws") : at.schema;
  const ending = { flv: "flv", ws: "flv", hls: "m3u8", ts: "ts" }[format] ?? "flv";
  return `${origin(schema, at.host, at.http)}/${path}.${ending}${search.size ? `?${search}` : ""}`;
}

/** The format that a URL shows; null when it says nothing. */
function formatOf(url) {
  if (/^wss?:/i.test(url)) return "ws";
  const path = url.split(/[?#]/)[0];
  return path.endsWith(".m3u8") ? "hls" : path.endsWith(".flv") ? "flv" : path.endsWith(".ts") ? "ts" : null;
}

/** The same stream in another format. */
function inFormat(url, format) {
  const [, base, rest] = /^([^?#]*)(.*)$/.exec(url);
  const ending = { flv: ".flv", ws: ".flv", hls: ".m3u8", ts: ".ts" }[format];
  const scheme = format === "ws" ? base.replace(/^http/i, "ws") : base.replace(/^ws/i, "http");
  return scheme.replace(/\.(flv|m3u8|ts)$/, ending) + rest;
}

const libraries = new Map();

/** Loads a library once, when the first stream needs it. */
function library(file, name) {
  if (!libraries.has(file)) {
    libraries.set(file, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(file, import.meta.url);
      script.onload = () => resolve(window[name]);
      script.onerror = () => {
        libraries.delete(file);
        reject(new Error(`${script.src} can't be loaded`));
      };
      document.head.append(script);
    }));
  }
  return libraries.get(file);
}

function show(state, text) {
  $("state").dataset.state = state;
  setText($("state"), text);
}

function hint(text) {
  $("hint").hidden = !text;
  setText($("hint"), text ?? "");
}

function stat(name, text) {
  setText(document.querySelector(`[data-stat=${name}]`), text);
}

/** One stream that is wanted, over as many connections as it takes. */
class Session {
  #url;
  #format;
  #engine = null;
  #timer = 0;
  #wait = FIRST_WAIT;
  #since = 0;
  #progress = { time: -1, at: 0 };
  #ended = false;
  #codecs = "";
  #speed = NaN;
  reconnects = 0;

  constructor(url, format) {
    this.#url = url;
    this.#format = format;
  }

  async start() {
    show("waiting", this.reconnects ? "Connecting again …" : "Connecting …");
    this.#since = performance.now();
    this.#progress = { time: -1, at: this.#since };
    try {
      const make = this.#format === "hls" ? this.#hls() : this.#mpegts();
      const engine = await make;
      if (this.#ended) engine.destroy();
      else this.#engine = engine;
    } catch (error) {
      this.broken(error.message);
    }
  }

  /** Takes a connection down and plans the next, the first one `soon`. */
  broken(why, soon = false) {
    if (this.#ended || this.#timer) return;
    this.#drop();
    const wait = soon && this.#wait === FIRST_WAIT ? Math.random() * SOON : this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LAST_WAIT);
    show("waiting", `${why}. Trying again in ${(wait / 1000).toFixed(wait < 10000 ? 1 : 0)} s …`);
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.reconnects += 1;
      this.start();
    }, wait);
  }

  /** What no new connection mends. */
  hopeless(why) {
    if (this.#ended) return;
    this.end();
    show("failed", why);
    buttons(false);
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  #drop() {
    const engine = this.#engine;
    this.#engine = null;
    try {
      engine?.destroy();
    } catch {
      // It was half made.
    }
    video.removeAttribute("src");
    video.load();
  }

  async #mpegts() {
    const mpegts = await library("js/mpegts.js", "mpegts");
    if (!mpegts.isSupported()) throw new Error("This browser has no Media Source Extensions");
    mpegts.LoggingControl.enableAll = false;
    const source = { type: MIME[this.#format], isLive: true, url: this.#url, cors: true };
    const player = mpegts.createPlayer(source, {
      enableStashBuffer: false,
      liveSync: true,
      liveSyncTargetLatency: BEHIND.target,
      liveSyncMaxLatency: BEHIND.faster,
      liveSyncPlaybackRate: 1.1,
      autoCleanupSourceBuffer: true,
    });
    player.on(mpegts.Events.ERROR, (kind, detail, info) => {
      if (detail === mpegts.ErrorDetails.MEDIA_CODEC_UNSUPPORTED || /codec|not supported/i.test(info?.msg ?? "")) this.#unsupported(info?.msg);
      else if (info?.code === 401 || info?.code === 403) this.broken(`The server refuses (HTTP ${info.code})`);
      else if (info?.code) this.broken(`The server answers HTTP ${info.code}`);
      else this.broken(kind === mpegts.ErrorTypes.NETWORK_ERROR ? "The connection broke" : `The stream can't be read (${detail})`);
    });
    // A server that goes ends its answers cleanly: another one goes on with the stream already.
    player.on(mpegts.Events.LOADING_COMPLETE, () => this.broken("The stream ended", true));
    player.on(mpegts.Events.MEDIA_INFO, (info) => {
      this.#codecs = [info.videoCodec, info.audioCodec].filter(Boolean).join(", ");
      this.#hevc(info.videoCodec);
    });
    player.on(mpegts.Events.STATISTICS_INFO, (info) => { this.#speed = info.speed * 8192; });
    player.attachMediaElement(video);
    player.load();
    begin();
    return player;
  }

  async #hls() {
    const Hls = await library("js/hls.min.js", "Hls");
    if (!Hls.isSupported()) {
      if (!video.canPlayType("application/vnd.apple.mpegurl")) throw new Error("This browser plays no HLS");
      const failed = () => this.broken("The stream can't be loaded");
      video.addEventListener("error", failed);
      video.src = this.#url;
      begin();
      return { destroy: () => video.removeEventListener("error", failed) };
    }
    const hls = new Hls({ liveSyncDurationCount: 2, maxLiveSyncPlaybackRate: 1.1, backBufferLength: 30 });
    hls.on(Hls.Events.ERROR, (_, error) => {
      if (!error.fatal) return;
      if (/codec/i.test(error.details)) this.#unsupported(error.error?.message);
      else if (error.response?.code >= 400) this.broken(`The server answers HTTP ${error.response.code}`);
      else this.broken(error.type === Hls.ErrorTypes.NETWORK_ERROR ? "The playlist can't be loaded" : `The stream can't be read (${error.details})`);
    });
    hls.on(Hls.Events.BUFFER_CODECS, (_, tracks) => {
      const codecs = [tracks.video, tracks.audio].map((track) => track?.codec).filter(Boolean);
      this.#codecs = codecs.join(", ");
      this.#hevc(tracks.video?.codec);
    });
    hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => {
      const { loading, total } = frag.stats;
      this.#speed = (total * 8000) / Math.max(1, loading.end - loading.start);
    });
    hls.loadSource(this.#url);
    hls.attachMedia(video);
    begin();
    return hls;
  }

  #hevc(codec) {
    if (/^(hvc1|hev1)/.test(codec ?? "")) hint("This stream is HEVC (H.265): it plays where the device decodes it, as in Safari, or Chrome and Edge with hardware support. No picture? Publish H.264, or open the URL in VLC or ffplay.");
  }

  #unsupported(message) {
    const text = message ? ` (${message})` : "";
    hint(`HEVC and AV1 play only where this device decodes them. Publish H.264 and AAC, or open the URL in VLC or ffplay.`);
    this.hopeless(`This browser can't decode the stream${text}.`);
  }

  /** Called every half second: progress, or the lack of it. */
  look() {
    const now = performance.now();
    const moved = video.currentTime !== this.#progress.time;
    if (moved && video.currentTime > 0) {
      this.#progress = { time: video.currentTime, at: now };
      show("playing", video.muted ? "Playing, muted" : "Playing");
      if (now - this.#since > STEADY) this.#wait = FIRST_WAIT;
    }
    const { buffered } = video;
    const end = buffered.length ? buffered.end(buffered.length - 1) : NaN;
    const behind = end - video.currentTime;
    // hls.js keeps its own distance; a stalled tab may still be far behind on a continuous stream.
    if (this.#format !== "hls" && behind > BEHIND.jump) video.currentTime = end - BEHIND.target;
    const waits = video.paused && video.readyState > 2;
    if (!waits && this.#engine && now - this.#progress.at > STALLED) this.broken("Nothing arrives");
    const quality = video.getVideoPlaybackQuality();
    stat("picture", video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : "–");
    stat("codecs", this.#codecs || "–");
    stat("frames", `${quality.totalVideoFrames} shown, ${quality.droppedVideoFrames} dropped`);
    stat("latency", Number.isFinite(behind) ? `${Math.max(0, behind).toFixed(1)} s` : "–");
    stat("speed", bitrate(this.#speed));
    stat("reconnects", String(this.reconnects));
  }
}

/** Browsers start a video with sound only after a click. */
async function begin() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError" || video.muted) return;
    video.muted = true;
    video.play().catch(() => {});
  }
}

let session = null;

function buttons(playing) {
  $("stop").disabled = !playing;
  $("play").textContent = playing ? "Restart" : "Play";
}

function play() {
  session?.end();
  hint(null);
  const url = $("url").value.trim();
  if (/^rtmp/i.test(url)) {
    session = null;
    show("failed", "Browsers do not play RTMP: open this URL in VLC or ffplay, or choose HTTP-FLV or HLS.");
    return;
  }
  session = new Session(url, $("format").value);
  buttons(true);
  session.start();
}

const at = await server();
$("url").value = wanted(at);
$("format").value = formatOf($("url").value) ?? (query.get("format") || "flv");
for (const link of document.querySelectorAll("nav a, .brand")) link.search = location.search;

$("url").addEventListener("input", () => {
  const format = formatOf($("url").value);
  if (format) $("format").value = format;
});
$("format").addEventListener("change", () => {
  $("url").value = inFormat($("url").value, $("format").value);
  if (session) play();
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  video.muted = false;
  play();
});
$("stop").addEventListener("click", () => {
  session?.end();
  session = null;
  buttons(false);
  show("idle", "Stopped");
});
setInterval(() => session?.look(), 500);
// Coming back from a sleep or from no network: at once, not when the wait is over.
addEventListener("online", () => { if (session) play(); });
if (query.get("autostart") === "true" || query.get("url") && query.get("autostart") !== "false") play();
