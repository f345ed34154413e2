// The front page: what is live, and the URLs to publish and play.

import { ask, audio, copyButton, element, origin, query, server, setText, video } from "./common.js";

const REFRESH = 5000;
const $ = (id) => document.getElementById(id);
const at = await server();

for (const link of document.querySelectorAll('a[href$="/"]')) link.search = location.search;
for (const name of ["app", "stream"]) {
  if (query.get(name)) $(name).value = query.get(name);
  $(name).addEventListener("input", showUrls);
}
$("api-link").href = `${at.api}/api/v1/summaries`;

/** The path of a name that somebody typed or published. */
const path = (text) => text.split("/").map(encodeURIComponent).join("/");

function showUrls() {
  const name = `${path($("app").value || "live")}/${path($("stream").value || "livestream")}`;
  const http = origin(at.schema, at.host, at.http);
  const rows = [
    ["Publish", `${origin("rtmp", at.host, at.rtmp)}/${name}`],
    ["RTMP", `${origin("rtmp", at.host, at.rtmp)}/${name}`],
    ["HTTP-FLV", `${http}/${name}.flv`],
    ["WebSocket-FLV", `${http.replace(/^http/, "ws")}/${name}.flv`],
    ["HLS", `${http}/${name}.m3u8`],
  ];
  $("urls").replaceChildren(...rows.map(([what, url]) =>
    element("div", {}, element("dt", {}, what), element("dd", {}, element("code", {}, url)), copyButton(what, () => url))));
}

function row(stream, vhosts) {
  const vhost = vhosts.get(stream.vhost) ?? "__defaultVhost__";
  const search = new URLSearchParams(location.search);
  search.set("app", stream.app);
  search.set("stream", stream.name);
  if (vhost !== "__defaultVhost__") search.set("vhost", vhost);
  search.set("autostart", "true");
  const name = `${stream.app}/${stream.name}`;
  return element("tr", {},
    element("th", { scope: "row" }, name),
    element("td", { "data-label": "Video" }, video(stream)),
    element("td", { "data-label": "Audio" }, audio(stream)),
    element("td", { "data-label": "Clients", class: "number" }, String(stream.clients)),
    element("td", { class: "number" }, element("a", { class: "button small", href: `players/?${search}`, "aria-label": `Play ${name}` }, "Play")));
}

async function refresh() {
  if (document.hidden) return;
  try {
    const [{ streams }, { vhosts }] = await Promise.all([ask(at.api, "/api/v1/streams/?count=50"), ask(at.api, "/api/v1/vhosts/?count=50")]);
    const live = streams.filter((stream) => stream.publish.active);
    const names = new Map(vhosts.map((vhost) => [vhost.id, vhost.name]));
    // What has the focus is not taken away.
    if (!$("live").contains(document.activeElement)) {
      $("live").tBodies[0].replaceChildren(...live.map((stream) => row(stream, names)));
    }
    $("live").hidden = live.length === 0;
    $("live-state").hidden = live.length > 0;
    setText($("live-state"), "Nothing is published at the moment.");
    setText($("live-count"), live.length ? String(live.length) : "");
  } catch (error) {
    $("live").hidden = true;
    $("live-state").hidden = false;
    setText($("live-count"), "");
    setText($("live-state"), `The API at ${at.api} does not answer (${error.message}), so the list is not known. ?api=PORT names another.`);
  }
}

showUrls();
refresh();
setInterval(refresh, REFRESH);
document.addEventListener("visibilitychange", refresh);
