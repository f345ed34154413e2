// What the pages share: where the server is, how numbers read, and elements that are made without HTML.
// Names come from the network: they only ever become text nodes and attributes.

export const query = new URLSearchParams(location.search);

/** An element; `on…` props are listeners, children are nodes or text. */
export function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Changes a text only where it differs, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** An address as it stands in a URL: IPv6 in brackets. */
const bracketed = (host) => (host.includes(":") && !host.startsWith("[") ? `[${host}]` : host);

const port = (value) => (/^\d{1,5}$/.test(String(value ?? "")) && Number(value) > 0 && Number(value) < 65536 ? Number(value) : null);

/**
 * Host and ports of the media server: the query's (SRS's `server`, `port` unless `schema=rtmp`, `api`), else what the
 * server that sent this page says, else SRS's defaults. Served by an nginx beside it, only the first and last apply.
 */
export async function server() {
  let told = {};
  try {
    const answer = await fetch(new URL("server.json", import.meta.url), { cache: "no-store" });
    if (answer.ok) told = await answer.json();
  } catch {
    // Another server sent the page.
  }
  const here = bracketed(location.hostname || "localhost");
  const secure = location.protocol === "https:";
  const ported = port(query.get("port"));
  return {
    host: query.has("server") ? bracketed(query.get("server")) : here,
    http: port(query.get("http_port")) ?? (query.get("schema") === "rtmp" ? null : ported) ?? (secure ? port(told.https) : null) ?? port(told.http) ?? 8080,
    rtmp: (query.get("schema") === "rtmp" ? ported : null) ?? port(told.rtmp) ?? 1935,
    api: apiBase(told, here, secure),
    schema: /^https?$/.test(query.get("schema") ?? "") ? query.get("schema") : secure ? "https" : "http",
    version: told.version ?? null,
  };
}

function apiBase(told, here, secure) {
  const asked = query.get("api");
  if (asked && /^https?:\/\//.test(asked)) return asked.replace(/\/+$/, "");
  const host = query.has("server") ? bracketed(query.get("server")) : here;
  const chosen = port(asked);
  // The API's own port sent this page: the same origin, whatever a load balancer calls it.
  if (told.service === "api" && !chosen && !query.has("server")) return location.origin;
  return `${secure ? "https" : "http"}://${host}:${chosen ?? (secure ? port(told.api_https) : null) ?? port(told.api) ?? 1985}`;
}

/** `http://host:port`, without the port that the scheme has anyway. */
export function origin(schema, host, number) {
  const usual = { http: 80, ws: 80, https: 443, wss: 443, rtmp: 1935 }[schema];
  return `${schema}://${host}${number === usual ? "" : `:${number}`}`;
}

/** Asks the API; throws an Error whose message can be shown and whose `status` is HTTP's. */
export async function ask(base, path, options = {}) {
  let answer;
  try {
    answer = await fetch(base + path, { cache: "no-store", signal: AbortSignal.timeout(8000), ...options });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "no answer within 8 s" : "it can't be reached");
  }
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Refusals are plain text.
  }
  if (!answer.ok || (body && body.code !== 0)) {
    const error = new Error(body ? `code ${body.code}` : text.trim().slice(0, 200) || `HTTP ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return body;
}

/** `1.24 Mbps` from bits a second. */
export function bitrate(bits) {
  if (!Number.isFinite(bits) || bits < 0) return "–";
  if (bits >= 1e9) return `${(bits / 1e9).toFixed(2)} Gbps`;
  if (bits >= 1e6) return `${(bits / 1e6).toFixed(2)} Mbps`;
  return `${Math.round(bits / 1e3)} kbps`;
}

/** `12.3 MB` from bytes. */
export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** `2 d 3 h`, `5 min 12 s` from seconds. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([value]) => value > 0).map(([value, unit]) => `${value} ${unit}`).join(" ");
}

/** `H264 640×360`. */
export function video(stream) {
  const { video: has } = stream;
  if (!has) return "no video";
  return has.width ? `${has.codec} ${has.width}×${has.height}` : has.codec;
}

/** `AAC 44.1 kHz stereo`. */
export function audio(stream) {
  const { audio: has } = stream;
  if (!has) return "no audio";
  const channels = has.channel === 2 ? " stereo" : has.channel === 1 ? " mono" : "";
  return `${has.codec} ${has.sample_rate / 1000} kHz${channels}`;
}

/** A button that copies a text and says so. */
export function copyButton(what, text) {
  const button = element("button", { class: "small", type: "button", "aria-label": `Copy the ${what} URL` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      // Pages over plain HTTP may not write to the clipboard.
      button.textContent = "Select it";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}
