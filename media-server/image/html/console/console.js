// The console: what the API tells, every few seconds, changed in place so that focus and selection stay.

import { ask, audio, bitrate, duration, element, server, setText, size, video } from "./common.js";

const REFRESH = 3000;
/** How many samples a curve has: three minutes. */
const SAMPLES = 60;
const MOST_STREAMS = 200;
const MOST_CLIENTS = 500;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const value = (name) => document.querySelector(`[data-value=${name}]`);
const at = await server();
for (const link of document.querySelectorAll("nav a, .brand")) link.search = location.search;

/** A curve of the last samples; its title says the last value in words. */
class Spark {
  #samples = [];
  #path = document.createElementNS(SVG, "path");
  node = document.createElementNS(SVG, "svg");

  constructor() {
    this.node.setAttribute("class", "spark");
    this.node.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
    this.node.setAttribute("preserveAspectRatio", "none");
    this.node.setAttribute("aria-hidden", "true");
    this.node.append(this.#path);
  }

  add(sample) {
    if (!Number.isFinite(sample)) return;
    this.#samples = [...this.#samples, sample].slice(-SAMPLES);
    const most = Math.max(...this.#samples) || 1;
    const first = SAMPLES - this.#samples.length;
    this.#path.setAttribute("d", this.#samples.map((one, index) => `${index ? "L" : "M"}${first + index} ${(19 - (one / most) * 18).toFixed(2)}`).join(""));
  }
}

/** How fast a counter grows, by name. */
class Rates {
  #last = new Map();

  of(name, count, now) {
    const before = this.#last.get(name);
    this.#last.set(name, { count, now });
    if (!before || now <= before.now || count < before.count) return NaN;
    return ((count - before.count) * 1000) / (now - before.now);
  }

  keep(names) {
    for (const name of this.#last.keys()) if (!names.has(name)) this.#last.delete(name);
  }
}

/** Rows of a table by id: made once, then only their texts change. */
class Rows {
  #table;
  #rows = new Map();
  #make;

  constructor(table, make) {
    this.#table = table;
    this.#make = make;
  }

  show(items) {
    const ids = new Set(items.map((item) => item.id));
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) {
        row.node.remove();
        this.#rows.delete(id);
      }
    }
    for (const item of items) {
      let row = this.#rows.get(item.id);
      if (!row) {
        row = this.#make(item);
        this.#rows.set(item.id, row);
        this.#table.tBodies[0].append(row.node);
      }
      row.update(item);
    }
    this.#table.hidden = items.length === 0;
  }
}

const rates = new Rates();
const sparks = { cpu: new Spark(), memory: new Spark(), in: new Spark(), out: new Spark() };
for (const [name, spark] of Object.entries(sparks)) value(name).after(spark.node);

function cell(label, className) {
  const text = element("span");
  const small = element("small");
  const node = element("td", { "data-label": label, class: className }, element("span", {}, text, small));
  return { node, set(first, second = "") { setText(text, first); setText(small, second && ` ${second}`); } };
}

const streams = new Rows($("streams"), (stream) => {
  const name = element("th", { scope: "row" });
  const cells = {
    state: cell("State"), video: cell("Video"), audio: cell("Audio"), in: cell("In", "number"), out: cell("Out", "number"),
    clients: cell("Clients", "number"),
  };
  const spark = new Spark();
  const search = new URLSearchParams(location.search);
  search.set("app", stream.app);
  search.set("stream", stream.name);
  if (stream.vhostName !== "__defaultVhost__") search.set("vhost", stream.vhostName);
  search.set("autostart", "true");
  const watch = element("a", { class: "button small", href: `../players/?${search}`, "aria-label": `Watch ${stream.app}/${stream.name}` }, "Watch");
  const node = element("tr", {}, name, cells.state.node, cells.video.node, cells.audio.node, cells.in.node, cells.out.node,
    element("td", { "data-label": "Last minutes" }, spark.node), cells.clients.node, element("td", {}, watch));
  return {
    node,
    update(now) {
      const vhost = now.vhostName === "__defaultVhost__" ? "" : ` (${now.vhostName})`;
      setText(name, `${now.app}/${now.name}${vhost}`);
      cells.state.set(now.publish.active ? "live" : "idle", now.since === null ? "" : `for ${duration(now.since)}`);
      cells.video.set(video(now), now.publish.active && Number.isFinite(now.fps) ? `${now.fps.toFixed(0)} fps` : "");
      cells.audio.set(audio(now));
      cells.in.set(bitrate(now.inRate), size(now.recv_bytes));
      cells.out.set(bitrate(now.outRate), size(now.send_bytes));
      cells.clients.set(String(now.clients));
      spark.add(now.inRate);
    },
  };
});

const clients = new Rows($("clients"), (client) => {
  const name = element("th", { scope: "row" });
  const cells = { does: cell("Does"), stream: cell("Stream"), since: cell("Since", "number"), rate: cell("Rate", "number") };
  const kick = element("button", { type: "button", class: "small danger", "aria-label": `Disconnect ${client.ip}, ${client.id}` }, "Kick");
  kick.addEventListener("click", () => confirmKick(client));
  const node = element("tr", {}, name, cells.does.node, cells.stream.node, cells.since.node, cells.rate.node, element("td", {}, kick));
  return {
    node,
    update(now) {
      setText(name, `${now.ip} · ${now.id}`);
      cells.does.set(now.publish ? "publishes" : "plays", now.type);
      cells.stream.set(now.url.replace(/^\//, ""));
      cells.since.set(duration(now.alive));
      const kbps = now.publish ? now.kbps.recv_30s : now.kbps.send_30s;
      cells.rate.set(kbps ? bitrate(kbps * 1000) : "–");
    },
  };
});

let target = null;

function confirmKick(client) {
  target = client;
  setText($("kick-what"), `${client.ip} (${client.id}) ${client.publish ? "publishes" : "plays"} ${client.url.replace(/^\//, "")}. It may connect again.`);
  $("kick-dialog").returnValue = "";
  $("kick-dialog").showModal();
}

// A token is for the API that it was typed for: a link can name another one.
const TOKEN = `token@${at.api}`;
const token = () => sessionStorage.getItem(TOKEN);

async function kick(client) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  try {
    await ask(at.api, `/api/v1/clients/${encodeURIComponent(client.id)}`, { method: "DELETE", headers });
    setText($("kicked"), `${client.ip} (${client.id}) is disconnected.`);
    refresh();
  } catch (error) {
    if (error.status === 401) {
      setText($("kicked"), token() ? "The API refuses this token." : "The API wants a token.");
      openToken();
    } else {
      setText($("kicked"), `${client.ip} (${client.id}) is still connected: ${error.message}`);
    }
  }
}

function openToken() {
  setText($("token-title"), `Bearer token for ${at.api}`);
  $("token").value = "";
  $("token-dialog").returnValue = "";
  $("token-dialog").showModal();
}

$("kick-dialog").addEventListener("close", () => { if ($("kick-dialog").returnValue === "yes") kick(target); });
$("token-open").addEventListener("click", () => { target = null; openToken(); });
$("token-dialog").addEventListener("close", () => {
  if ($("token-dialog").returnValue !== "yes") return;
  if ($("token").value) sessionStorage.setItem(TOKEN, $("token").value);
  else sessionStorage.removeItem(TOKEN);
  $("token").value = "";
  if (target) kick(target);
});

function health(data, now) {
  const { self, system } = data;
  setText(value("cpu"), `${(self.cpu_percent * 100).toFixed(0)} %`);
  value("cpu").append(element("small", {}, `of one core; ${system.cpus} cores, ${(system.cpu_percent * 100).toFixed(0)} % busy`));
  setText(value("memory"), size(self.mem_kbyte * 1024));
  value("memory").append(element("small", {}, `of ${size(system.mem_ram_kbyte * 1024)}`));
  const rate = { in: rates.of("in", system.srs_recv_bytes, now) * 8, out: rates.of("out", system.srs_send_bytes, now) * 8 };
  setText(value("in"), bitrate(rate.in));
  setText(value("out"), bitrate(rate.out));
  setText(value("connections"), String(self.media_server?.connections ?? system.conn_srs));
  setText(value("uptime"), duration(self.srs_uptime));
  const own = self.media_server;
  setText(value("version"), `SRS ${self.version}`);
  value("version").append(element("small", {}, own ? `media-server ${own.version}` : "compatible"));
  const reloads = own?.reloads;
  if (reloads) {
    setText(value("config"), reloads.error ? "✕ refused" : "✓ good");
    value("config").className = reloads.error ? "bad-text" : "good";
    value("config").append(element("small", {}, `${reloads.succeeded} reloads, ${reloads.failed} refused`));
    $("reload-error").hidden = !reloads.error;
    if (reloads.error) setText($("reload-error"), `The last reload was refused and the old configuration stays: ${reloads.error}`);
  }
  sparks.cpu.add(self.cpu_percent);
  sparks.memory.add(self.mem_kbyte);
  sparks.in.add(rate.in);
  sparks.out.add(rate.out);
}

let running = false;

async function refresh() {
  if (document.hidden || running) return;
  running = true;
  try {
    const [summaries, vhosts, listed, connected] = await Promise.all([
      ask(at.api, "/api/v1/summaries"),
      ask(at.api, `/api/v1/vhosts/?count=${MOST_STREAMS}`),
      ask(at.api, `/api/v1/streams/?count=${MOST_STREAMS}`),
      ask(at.api, `/api/v1/clients/?count=${MOST_CLIENTS}`),
    ]);
    const now = performance.now();
    health(summaries.data, now);
    const names = new Map(vhosts.vhosts.map((vhost) => [vhost.id, vhost.name]));
    const alive = new Map(connected.clients.map((client) => [client.id, client.alive]));
    const seen = new Set(["in", "out"]);
    for (const stream of listed.streams) {
      for (const counter of ["recv", "send", "frames"]) seen.add(`${stream.id} ${counter}`);
      stream.vhostName = names.get(stream.vhost) ?? "__defaultVhost__";
      stream.inRate = rates.of(`${stream.id} recv`, stream.recv_bytes, now) * 8;
      stream.outRate = rates.of(`${stream.id} send`, stream.send_bytes, now) * 8;
      stream.fps = rates.of(`${stream.id} frames`, stream.frames, now);
      stream.since = alive.get(stream.publish.cid) ?? null;
    }
    rates.keep(seen);
    streams.show(listed.streams);
    clients.show(connected.clients);
    $("streams-none").hidden = listed.streams.length > 0;
    $("clients-none").hidden = connected.clients.length > 0;
    const many = (count, most) => (count < most ? String(count || "") : `the first ${most}`);
    setText($("streams-count"), many(listed.streams.length, MOST_STREAMS));
    setText($("clients-count"), many(connected.clients.length, MOST_CLIENTS));
    $("error").hidden = true;
    setText($("updated"), `Every ${REFRESH / 1000} s from ${at.api}`);
  } catch (error) {
    setText($("error"), `The API at ${at.api} does not answer: ${error.message}. Trying again every ${REFRESH / 1000} s; what stands below is old. ?api=PORT names another.`);
    $("error").hidden = false;
    setText($("updated"), "Out of date");
  } finally {
    running = false;
  }
}

refresh();
setInterval(refresh, REFRESH);
document.addEventListener("visibilitychange", refresh);
